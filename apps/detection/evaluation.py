"""Evaluating a trained detector."""

from collections.abc import Sequence
from pathlib import Path

from ...backbones.errors import did_you_mean
from ...datasets import AnnotatedImages, DataError
from ...datasets.coco_numbers import number_classes
from ..card import Card
from ..commands import OpenedSplit, evaluate_split
from ..config import EvaluationOptions
from ..evaluation import Evaluation
from ..model_file import load_trained
from ..opening import Trained
from ..outputs import IMAGES, PREDICTIONS, RESULTS, output_folder
from ..shell import quoted
from ..task import Task
from .coco_results import COCO_RESULTS, write_results
from .metrics import DetectionEvaluator
from .opening import open_for_model
from .options import EvaluateOptions

_NAMED = 10
"""So many classes stand in a message."""


def run_evaluation(options: EvaluateOptions) -> Card:
    """Evaluate a model on a split; return its card.

    Raises:
        UserError: For a model or data that can't be used.
    """
    where = output_folder(options.output, RESULTS, IMAGES, *PREDICTIONS, COCO_RESULTS, overwrite=options.overwrite)
    assert options.model is not None
    task, backbone = load_trained(options.model, task="detection")
    opened = open_evaluation(task, Trained.read(options.model), options)
    return evaluate_split(task, opened, options, where=where, backbone=backbone)


def open_evaluation(task: Task, trained: Trained, options: EvaluationOptions) -> OpenedSplit:
    """Open the split to evaluate a model on, and let the evaluator measure what the data say.

    Args:
        task: What is evaluated.
        trained: The data that it was trained on.
        options: The data set and the split.

    Raises:
        DataError: For data that can't be used.
    """
    has_masks = task.description["head"]["name"] == "mask_rcnn"
    images = open_for_model(trained, options, with_regions=has_masks)
    assert isinstance(task.evaluator, DetectionEvaluator)
    if any(record.targets["objects"].sets for record in images.records):
        task.evaluator.measures_wider = True  # of a model that was trained without the lists, or on other data
    ids = number_classes(task.description["classes"], images.numbers or task.description["numbers"])
    _refuse_unknown(images, task.description["classes"], options)

    def write(folder: Path, evaluation: Evaluation) -> None:
        write_results(folder, evaluation.predictions, images, ids)

    return OpenedSplit(images, write=write)


def _refuse_unknown(images: AnnotatedImages, classes: Sequence[str], options: EvaluationOptions) -> None:
    """Refuse data with objects of classes that a model can't find.

    Raises:
        DataError: Naming all of them.
    """
    there = {name for record in images.records for name in record.targets["labels"]}
    unknown = sorted(there - set(classes))
    if not unknown:
        return
    noun = "a class" if len(unknown) == 1 else f"{len(unknown)} classes"
    raise DataError(
        f"{options.data} has {noun} that the model doesn't know: {', '.join(map(repr, unknown[:_NAMED]))}. It knows "
        f"{', '.join(classes[:_NAMED])}.{did_you_mean(unknown[0], classes)} Rename them in the data, or train on these "
        f"data from this model's trunk: --weights {quoted(str(options.model))}"
    )
