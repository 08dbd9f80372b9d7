"""Single-object localization: one label an image, and a box around what it names (ILSVRC's second task).

    image -> trunk -> map [B, C, h, w] --+-> mean ---------> linear -> logits [B, K] --------> cross-entropy
                                         |
                    --head regression:   +-> 1x1, grid ----> MLP ----> box [B, 4] ------------> smooth L1 + GIoU
                    --head cam:          +-> class maps [B, K, h, w] -> largest bright region -> box, learned from
                                                                                                labels alone

``from onetrunk.apps import localization`` gives the three commands as functions that take the same options as the
command line: ``localization.train(localization.TrainOptions(data="birds.csv", backbone="resnet50"))``.
"""

from .main import evaluate, predict, train
from .options import EvaluateOptions, PredictOptions, TrainOptions

__all__ = ["EvaluateOptions", "PredictOptions", "TrainOptions", "evaluate", "predict", "train"]
