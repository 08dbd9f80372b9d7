"""Visual question answering: a picture and a question in words -> one of the answers that training saw most often.

    image --> trunk --> embedding, or a map's cells --+
                                                      +--> fusion --> logits [Q, K] --> cross-entropy, or one binary
    questions --> words --> lstm | transformer -------+                                cross-entropy an answer

    --head product:            vector x vector, then two layers (Antol 2015)
    --head stacked_attention:  the question looks for its cells, twice (Yang 2016)

An image comes once with all its questions, so that the trunk runs once for them.

``from onetrunk.apps import vqa`` gives the three commands as functions that take the same options as the command line:
``vqa.train(vqa.TrainOptions(data="questions.csv", backbone="resnet50"))``.
"""

from .main import evaluate, predict, train
from .options import EvaluateOptions, PredictOptions, TrainOptions

__all__ = ["EvaluateOptions", "PredictOptions", "TrainOptions", "evaluate", "predict", "train"]
