"""Heads of several apps on one trunk, which sees each picture once.

                                  +--> classification head --> label
    image --> trunk --> levels ---+--> segmentation head ----> mask
              (once)              +--> detection head -------> boxes
                                  +--> captioning, localization, vqa heads ...

The heads are the apps' own. Each was trained on the same frozen trunk, can be put in without moving the others by one
bit, and can be taken out and used alone.

``from onetrunk.apps import multitask`` gives the commands as functions that take the same options as the command line:
``multitask.join(multitask.JoinOptions(models=["runs/labels", "runs/masks"], output="both"))``.
"""

from .main import add, join, predict, take_out
from .options import AddOptions, JoinOptions, PredictOptions, TakeOutOptions

__all__ = ["AddOptions", "JoinOptions", "PredictOptions", "TakeOutOptions", "add", "join", "predict", "take_out"]
