"""Image classification: one label an image.

    image -> trunk -> embedding [B, D] -> head (linear | mlp) -> logits [B, C] -> cross-entropy
                                                                             -> top-1, top-5, macro F1

``from onetrunk.apps import classification`` gives the three commands as functions that take the same options as the
command line: ``classification.train(classification.TrainOptions(data="pets/", backbone="resnet50"))``.
"""

from .main import evaluate, predict, train
from .options import EvaluateOptions, PredictOptions, TrainOptions

__all__ = ["EvaluateOptions", "PredictOptions", "TrainOptions", "evaluate", "predict", "train"]
