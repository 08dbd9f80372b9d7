"""Evaluating a trained captioner."""

from pathlib import Path

from ...backbones.errors import UserError
from ...datasets import AnnotatedImages
from ..card import Card
from ..commands import OpenedSplit, evaluate_split
from ..config import EvaluationOptions
from ..evaluation import Evaluation
from ..model_file import load_trained
from ..opening import Trained
from ..outputs import IMAGES, PREDICTIONS, RESULTS, output_folder
from ..run_folder import replace_json
from ..task import Task
from .head import CaptionHead
from .java_metrics import java_fault
from .metrics import CaptionEvaluator
from .opening import open_for_model
from .options import EvaluateOptions

COCO_CAPTIONS = "captions.json"
"""The captions in the format of COCO's results, for its server and for other tools."""


def run_evaluation(options: EvaluateOptions) -> Card:
    """Evaluate a model on a split; return its card.

    Raises:
        UserError: For a model or data that can't be used, or a figure that can't be computed on this machine.
    """
    where = output_folder(options.output, RESULTS, IMAGES, *PREDICTIONS, COCO_CAPTIONS, overwrite=options.overwrite)
    java = (*(["ptb"] if options.tokenizer == "ptb" else []), *(options.also or ()))
    for name in java:
        if fault := java_fault(name):
            raise UserError(fault)
    assert options.model is not None
    task, backbone = load_trained(options.model, task="captioning")
    assert isinstance(task.head, CaptionHead)
    assert isinstance(task.evaluator, CaptionEvaluator)
    task.head.say_with(options)
    task.evaluator.java = java
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
    images = open_for_model(trained, options)

    def write(folder: Path, evaluation: Evaluation) -> None:
        replace_json(folder / COCO_CAPTIONS, _coco_results(images, evaluation))

    return OpenedSplit(images, write=write)


def _coco_results(images: AnnotatedImages, evaluation: Evaluation) -> list[dict[str, int | str]]:
    """Return the captions with the numbers of their images in COCO's files, or their names where they have none."""
    numbers = {record.name: record.targets.get("image_id", record.name) for record in images.records}
    return [
        {"image_id": numbers[row["image"]], "caption": row["caption"]}
        for row in evaluation.predictions
        if "caption" in row
    ]
