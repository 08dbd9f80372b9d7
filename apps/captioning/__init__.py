"""Image captioning: a picture in, a sentence out.

    image -> trunk -> maps [B, C, h, w] -> cells [B, S, width] -> decoder --training--> tokens -> cross-entropy
                                                                        --use------> beams  -> caption -> CIDEr, BLEU

``from onetrunk.apps import captioning`` gives the three commands as functions that take the same options as the command
line: ``captioning.train(captioning.TrainOptions(data="flickr8k", backbone="resnet50", head="lstm_attention"))``.
"""

from .main import evaluate, predict, train
from .options import EvaluateOptions, PredictOptions, TrainOptions

__all__ = ["EvaluateOptions", "PredictOptions", "TrainOptions", "evaluate", "predict", "train"]
