"""Object detection: any number of boxes in an image, each with a class and a score; faces are a data set of it.

    image -> trunk -> c2..c5 -> feature pyramid p2.. --+-> proposals -> regions -> class, box     --head faster_rcnn
                                                       |                      +-> mask            --head mask_rcnn
                                                       +-> class and box of every anchor          --head retinanet
                                                       +-> class and sides of every cell          --head fcos
                      c3, c4 -> smaller and smaller maps -> class and box of default boxes        --head ssd

``from onetrunk.apps import detection`` gives the three commands as functions that take the same options as the command
line: ``detection.train(detection.TrainOptions(data="coco", backbone="resnet50"))``.
"""

from .main import evaluate, predict, train
from .options import EvaluateOptions, PredictOptions, TrainOptions

__all__ = ["EvaluateOptions", "PredictOptions", "TrainOptions", "evaluate", "predict", "train"]
