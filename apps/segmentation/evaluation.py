"""Evaluating a trained segmentation model."""

from ..card import Card
from ..commands import OpenedSplit, evaluate_split
from ..config import EvaluationOptions
from ..model_file import load_trained
from ..opening import Trained
from ..outputs import IMAGES, PREDICTIONS, RESULTS, output_folder
from ..task import Task
from .opening import open_for_model
from .options import EvaluateOptions
from .task import use_views


def run_evaluation(options: EvaluateOptions) -> Card:
    """Evaluate a model on a split, in the pixels of the files; return its card.

    Raises:
        UserError: For a model or data that can't be used.
    """
    assert options.model is not None
    where = output_folder(options.output, RESULTS, IMAGES, *PREDICTIONS, overwrite=options.overwrite)
    task, backbone = load_trained(options.model, task="segmentation")
    opened = open_evaluation(task, Trained.read(options.model), options)
    use_views(task, options)
    return evaluate_split(task, opened, options, where=where, backbone=backbone)


def open_evaluation(task: Task, trained: Trained, options: EvaluationOptions) -> OpenedSplit:
    """Open the split to evaluate a model on, with masks of the kind that it gives.

    Args:
        task: What is evaluated.
        trained: The data that it was trained on.
        options: The data set and the split.

    Raises:
        DataError: For data that can't be used.
    """
    is_multi_label = task.description["readout"] == "sigmoid"
    return OpenedSplit(open_for_model(trained, options, is_multi_label=is_multi_label))
