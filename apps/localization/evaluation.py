"""Evaluating a trained localizer."""

from ..card import Card
from ..commands import evaluate_split
from ..model_file import load_trained
from ..outputs import IMAGES, PREDICTIONS, RESULTS, output_folder
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
    images = open_for_model(options.model, options)
    return evaluate_split(task, images, options, where=where, backbone=backbone)
