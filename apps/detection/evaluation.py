"""Evaluating a trained detector."""

from pathlib import Path

from ...datasets.coco_numbers import number_classes
from ..card import Card
from ..commands import evaluate_split
from ..evaluation import Evaluation
from ..model_file import load_trained
from ..outputs import IMAGES, PREDICTIONS, RESULTS, output_folder
from .coco_results import COCO_RESULTS, write_results
from .metrics import DetectionEvaluator
from .opening import open_for_model
from .options import EvaluateOptions


def run_evaluation(options: EvaluateOptions) -> Card:
    """Evaluate a model on a split; return its card.

    Raises:
        UserError: For a model or data that can't be used.
    """
    where = output_folder(options.output, RESULTS, IMAGES, *PREDICTIONS, COCO_RESULTS, overwrite=options.overwrite)
    assert options.model is not None
    task, backbone = load_trained(options.model, task="detection")
    has_masks = task.description["head"]["name"] == "mask_rcnn"
    images = open_for_model(options.model, options, with_regions=has_masks)
    assert isinstance(task.evaluator, DetectionEvaluator)
    if any(record.targets["objects"].sets for record in images.records):
        task.evaluator.measures_wider = True  # of a model that was trained without the lists, or on other data
    ids = number_classes(task.description["classes"], images.numbers or task.description["numbers"])

    def write(folder: Path, evaluation: Evaluation) -> None:
        write_results(folder, evaluation.predictions, images, ids)

    return evaluate_split(task, images, options, where=where, backbone=backbone, write=write)
