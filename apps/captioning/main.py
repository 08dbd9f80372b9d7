"""The commands ``onetrunk captioning train|evaluate|predict``; their work is imported when one of them runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..cli import Command
from .options import EvaluateOptions, PredictOptions, TrainOptions

if TYPE_CHECKING:
    from ..card import Card


def train(options: TrainOptions) -> Card:
    """Fine-tune a trunk on images with captions; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    from ..repeats import repeat, wants_repeats
    from .training import run_training

    return repeat(train, "captioning", options) if wants_repeats(options) else run_training(options)


def evaluate(options: EvaluateOptions) -> Card:
    """Evaluate a model on a split; return its card.

    Raises:
        UserError: For a model or data that can't be used.
    """
    from .evaluation import run_evaluation

    return run_evaluation(options)


def predict(options: PredictOptions) -> list[dict[str, Any]]:
    """Say what images show; return a row for each with its caption, in sorted order.

    Raises:
        UserError: For a model or images that can't be used.
    """
    from .prediction import run_prediction

    return run_prediction(options)


COMMANDS = {
    "train": Command(train, TrainOptions, "fine-tune a trunk on images with captions"),
    "evaluate": Command(evaluate, EvaluateOptions, "evaluate a model: how near are its captions to what people say"),
    "predict": Command(predict, PredictOptions, "say what images show, and draw where it looked at each word"),
}
