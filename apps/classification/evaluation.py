"""Evaluating a trained classifier, or the one that comes with a trunk's weights."""

from dataclasses import replace
from typing import Any

from ...backbones import build_backbone, imagenet_classes, match_imagenet_classes
from ...backbones.errors import UserError
from ...datasets import AnnotatedImages, Record
from ..card import Card
from ..commands import OpenedSplit, evaluate_split
from ..config import EvaluationOptions, canvas_of
from ..inputs import make_recipe
from ..model_file import load_trained
from ..opening import Trained
from ..outputs import IMAGES, PREDICTIONS, RESULTS, output_folder
from ..task import Task
from ..views import make_views
from .opening import open_for_model, open_split
from .options import EvaluateOptions
from .subjects import judge_by_subject
from .task import pretrained_task


def run_evaluation(options: EvaluateOptions) -> Card:
    """Evaluate a model, or a trunk's own ImageNet classifier, on a split; return its card.

    Raises:
        UserError: For a model, weights or data that can't be used.
    """
    where = output_folder(options.output, RESULTS, IMAGES, *PREDICTIONS, overwrite=options.overwrite)
    if options.model is not None:
        task, backbone = load_trained(options.model, task="classification")
        opened = open_evaluation(task, Trained.read(options.model), options)
    else:
        task, backbone = _pretrained(options)
        images = open_split(options)
        opened = OpenedSplit(images, _with_imagenet_names(images))
    task.views = make_views(options)
    if options.by_subject:
        judge_by_subject(task, opened.images)
    return evaluate_split(task, opened, options, where=where, backbone=backbone)


def open_evaluation(task: Task, trained: Trained, options: EvaluationOptions) -> OpenedSplit:
    """Open the split to evaluate a model on, with the kind of labels that it gives.

    Args:
        task: What is evaluated.
        trained: The data that it was trained on.
        options: The data set and the split.

    Raises:
        DataError: For data that can't be used.
    """
    return OpenedSplit(open_for_model(trained, options))


def _pretrained(options: EvaluateOptions) -> tuple[Task, dict[str, Any]]:
    """Return the ImageNet classifier of a trunk's weights as a task, and the trunk's facts."""
    assert options.backbone is not None
    canvas, weights = canvas_of(options.image_size), options.weights or "imagenet"
    backbone = build_backbone(options.backbone, weights=weights, levels=("logits",), image_size=canvas)
    classes = _imagenet_names()
    if backbone.num_logits != len(classes):
        raise UserError(f"{options.backbone} has {backbone.num_logits} logits, not ImageNet's {len(classes)}.")
    fingerprint = backbone.fingerprint()
    facts = {"name": options.backbone, "weights": weights}
    facts |= {"fingerprint_before": fingerprint, "fingerprint_after": fingerprint}
    return pretrained_task(backbone, classes, make_recipe(backbone.preprocessing, canvas)), facts


def _imagenet_names() -> list[str]:
    """Return the thousand classes as ``n02219486 ant``: the id is unique, the name is for people."""
    return [f"{wordnet_id} {names[0]}" for wordnet_id, names in imagenet_classes()]


def _with_imagenet_names(images: AnnotatedImages) -> tuple[Record, ...]:
    """Return the records under ImageNet's names of their classes; a part of the thousand will do."""
    places = match_imagenet_classes(images.classes)
    full_name = {name: _imagenet_names()[place] for name, place in zip(images.classes, places, strict=True)}
    return tuple(
        replace(record, targets={**record.targets, "label": full_name[record.targets["label"]]})
        for record in images.records
    )
