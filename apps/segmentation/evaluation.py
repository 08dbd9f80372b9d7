"""Evaluating a trained segmentation model."""

from ..card import Card
from ..commands import evaluate_split
from ..model_file import load_trained
from ..outputs import IMAGES, PREDICTIONS, RESULTS, output_folder
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
    images = open_for_model(options.model, options, is_multi_label=task.description["readout"] == "sigmoid")
    use_views(task, options)
    return evaluate_split(task, images, options, where=where, backbone=backbone)
