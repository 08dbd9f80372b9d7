"""Heads of several apps on one trunk, which sees each picture once.

                                  +--> classification head --> label
    image --> trunk --> levels ---+--> segmentation head ----> mask
              (once)              +--> detection head -------> boxes
                                  +--> captioning, localization, vqa heads ...

The heads are the apps' own, trained together, or each by itself on the same frozen trunk. One that was trained on a
frozen trunk can be put in without moving the others by one bit; each can be taken out and used alone.

``from onetrunk.apps import multitask`` gives the commands as functions that take the same options as the command line:
``multitask.join(multitask.JoinOptions(models=["runs/labels", "runs/masks"], output="both"))``.
"""

from .main import add, evaluate, join, predict, take_out, train
from .options import AddOptions, EvaluateOptions, JoinOptions, PredictOptions, TakeOutOptions, TrainOptions

__all__ = [
    "AddOptions",
    "EvaluateOptions",
    "JoinOptions",
    "PredictOptions",
    "TakeOutOptions",
    "TrainOptions",
    "add",
    "evaluate",
    "join",
    "predict",
    "take_out",
    "train",
]
