"""Evaluating a trained localizer."""

from ..card import Card
from ..commands import OpenedSplit, evaluate_split
from ..config import EvaluationOptions
from ..model_file import load_trained
from ..opening import Trained
from ..outputs import IMAGES, PREDICTIONS, RESULTS, output_folder
from ..task import Task
from .flips import use_flips
from .opening import open_for_model
from .options import EvaluateOptions


def run_evaluation(options: EvaluateOptions) -> Card:
    """Evaluate a model on a split; return its card.

    Raises:
        UserError: For a model or data that can't be used.
    """
    where = output_folder(options.output, RESULTS, IMAGES, *PREDICTIONS, overwrite=options.overwrite)
    assert options.model is not None
    task, backbone = load_trained(options.model, task="localization")
    use_flips(task, options)
    opened = open_evaluation(task, Trained.read(options.model), options)
    return evaluate_split(task, opened, options, where=where, backbone=backbone)


def open_evaluation(task: Task, trained: Trained, options: EvaluationOptions) -> OpenedSplit:
    """Open the split to evaluate a model on.

    Args:
        task: What is evaluated.
        trained: The data that it was trained on.
        options: The data set and the split.

    Raises:
        DataError: For data that can't be used.
    """
    return OpenedSplit(open_for_model(trained, options))
