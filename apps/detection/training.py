"""Training a detector, from the options to the card."""

from dataclasses import replace

import torch

from ...backbones import Backbone, find_specs
from ...backbones.errors import UserError
from ...datasets import AnnotatedImages, balanced_weights
from ..card import Card
from ..config import canvas_of
from ..data_check import check_data
from ..fit import fit, show_finished
from ..inputs import InputRecipe, make_recipe
from ..run_folder import open_run
from ..task import Task
from ..trainer import describe_training
from ..training_data import make_fit_data
from ..trunk import build_trunk
from .anchors import Anchors, fitted_anchors, usual_anchors
from .box_sides import box_sides
from .detector_weights import DetectorWeights, find_detector
from .head import DetectionHead
from .metrics import make_evaluator
from .opening import open_for_training
from .options import ANCHORED, HeadOptions, TrainOptions
from .requirements import levels_read, refusal
from .task import build_task, pyramid_strides


def run_training(options: TrainOptions) -> Card:
    """Fine-tune a trunk on images with objects; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    run = open_run("detection", options)
    if options.resume and run.is_finished:
        return show_finished(run)
    torch.manual_seed(options.seed)
    backbone, head_options, detector = _build_trunk(options)
    inputs = make_recipe(backbone.preprocessing, canvas_of(options.image_size), options.resize)
    splits = open_for_training(options, run.split)
    task = _build(backbone, splits["train"], inputs, head_options, options)
    if detector is not None:
        assert isinstance(task.head, DetectionHead)
        print(detector.load(task.head))
    print(describe_training(task, splits, options, head=options.head))
    identities = check_data(splits, options)
    weights = balanced_weights(splits["train"].records) if options.sampling == "balanced" else None
    data = make_fit_data(splits, identities, inputs, options, augment=options.augment, sample_weights=weights)
    return fit(task, data, options, run)


def _build_trunk(options: TrainOptions) -> tuple[Backbone, HeadOptions, DetectorWeights | None]:
    """Return the trunk with the levels that the head reads, and the head's options with all of them set.

    Also the values of the head, where the weights are those of a whole detector.

    Raises:
        UserError: It can't carry the head, and no weights were looked for; or they don't go with the head.
    """
    canvas = canvas_of(options.image_size)
    specs = find_specs(options.backbone, in_channels=options.channels, image_size=canvas)
    given = options.head_options
    if reason := refusal(options.head, specs, canvas, given.levels):
        raise UserError(f"--head {options.head} on {options.backbone}: {reason}")
    levels = levels_read(options.head, specs, given.levels)
    detector = find_detector(options)
    if detector is not None:
        given = detector.settle(given)
    settled = replace(given, levels=levels, width=given.width or 128, hidden=given.hidden or 512)
    backbone = build_trunk(options, levels, weights=None if detector is None else detector.trunk)
    return backbone, settled, detector


def _build(
    backbone: Backbone, train: AnnotatedImages, inputs: InputRecipe, head_options: HeadOptions, options: TrainOptions
) -> Task:
    """Return the task that the options and the data ask for.

    Raises:
        UserError: For a metric that there isn't with these data.
    """
    return build_task(
        backbone,
        make_evaluator(
            train.classes,
            numbers=train.numbers,
            max_detections=head_options.max_detections,
            measures_wider=any(record.targets["objects"].sets for record in train.everything),
            measures_masks=options.head == "mask_rcnn",
            select=options.select,
        ),
        inputs=inputs,
        head=options.head,
        head_options=head_options,
        anchors=_anchors(train, inputs, head_options, options),
        loss_weights=vars(options.loss),
    )


def _anchors(
    train: AnnotatedImages, inputs: InputRecipe, head_options: HeadOptions, options: TrainOptions
) -> Anchors | None:
    if options.head not in ANCHORED:
        return None
    assert head_options.levels is not None
    strides = pyramid_strides(options.head, head_options.levels)
    if head_options.anchors == "data":
        octaves = 2 if options.head == "retinanet" else 1
        anchors = fitted_anchors(box_sides(train.records, inputs), strides, octaves=octaves)
        sizes = ", ".join(f"{size:g}" for level in anchors.sizes for size in level)
        ratios = ", ".join(f"{ratio:g}" for ratio in anchors.ratios)
        print(f"anchors    {sizes} pixels; heights over widths {ratios}")
        return anchors
    return usual_anchors(head_options.anchors, strides, octaves=3 if options.head == "retinanet" else 1)
