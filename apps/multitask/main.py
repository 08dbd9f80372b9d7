"""The commands ``onetrunk multitask join|add|take-out|predict``; their work is imported when one of them runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..cli import Command
from .options import AddOptions, EvaluateOptions, JoinOptions, PredictOptions, TakeOutOptions, TrainOptions

if TYPE_CHECKING:
    from pathlib import Path

    from .card import MultiTaskCard


def train(options: TrainOptions) -> MultiTaskCard:
    """Train heads of several apps on one trunk; return the card with a row for each.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
        Interrupted: If a signal stopped the run; its message says how to go on.
    """
    from .together import run_training

    return run_training(options)


def evaluate(options: EvaluateOptions) -> MultiTaskCard:
    """Evaluate all heads of a model in one pass over each data set; return the card with a row for each.

    Raises:
        UserError: For a model or data that can't be used.
    """
    from .evaluation import run_evaluation

    return run_evaluation(options)


def join(options: JoinOptions) -> Path:
    """Make one model of several that were trained on the same frozen trunk; return its folder.

    Raises:
        UserError: For models that can't share a trunk, or a folder that can't be used; nothing was written over.
    """
    from .joining import run_join

    return run_join(options)


def add(options: AddOptions) -> Path:
    """Put one more head into a model, trained before or now; return its folder.

    The trunk and the other heads stay as they are, to the bit.

    Raises:
        UserError: For models that can't share a trunk, a head that can't be trained, or a folder that can't be used;
            nothing was written over.
    """
    from .joining import run_add

    return run_add(options)


def take_out(options: TakeOutOptions) -> Path:
    """Write one head and its trunk as an ordinary model of its app; return its folder.

    Raises:
        UserError: For a model without such a head, or a folder that can't be used; nothing was written over.
    """
    from .joining import run_take_out

    return run_take_out(options)


def predict(options: PredictOptions) -> list[dict[str, Any]]:
    """Run all heads over images; return a row for each with what every task says, in the order of the sorted paths.

    Raises:
        UserError: For a model or images that can't be used.
    """
    from .prediction import run_prediction

    return run_prediction(options)


COMMANDS = {
    "train": Command(train, TrainOptions, "train heads of several apps together on one trunk"),
    "evaluate": Command(evaluate, EvaluateOptions, "evaluate all heads of a model in one pass"),
    "join": Command(join, JoinOptions, "make one model of several that were trained on the same frozen trunk"),
    "add": Command(add, AddOptions, "put one more head into a model; the others don't move by a bit"),
    "take-out": Command(take_out, TakeOutOptions, "write one head as an ordinary model of its app"),
    "predict": Command(predict, PredictOptions, "run all heads over images, each of which the trunk sees once"),
}
