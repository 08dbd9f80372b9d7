"""Semantic segmentation: the class of every pixel.

image -> trunk -> c1 .. c5 -> decoder (unet | deeplabv3plus | ...) -> logits [B, K, H, W] -> cross-entropy, Dice ...
                                                                                         -> mean IoU, in original pixels

``from onetrunk.apps import segmentation`` gives the three commands as functions that take the same options as the
command line: ``segmentation.train(segmentation.TrainOptions(data="camvid/", backbone="resnet50"))``.
"""

from .main import evaluate, predict, train
from .options import EvaluateOptions, PredictOptions, TrainOptions

__all__ = ["EvaluateOptions", "PredictOptions", "TrainOptions", "evaluate", "predict", "train"]
