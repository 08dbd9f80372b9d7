"""Training a segmentation model, from the options to the card."""

import torch
from torch import Tensor

from ...backbones import Backbone, find_specs
from ...backbones.errors import UserError
from ...datasets import AnnotatedImages, median_frequency_weights, positive_pixel_weights
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
from .losses import MaskLoss
from .metrics import SegmentationEvaluator
from .opening import gives_class_masks, open_for_training
from .options import TrainOptions
from .readout import readout_of
from .requirements import choose_output_stride, levels_read, refusal
from .task import auxiliary_level, build_task


def run_training(options: TrainOptions) -> Card:
    """Fine-tune a trunk on images with masks; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    run = open_run("segmentation", options)
    if options.resume and run.is_finished:
        return show_finished(run)
    torch.manual_seed(options.seed)
    backbone = _build_trunk(options)
    inputs = make_recipe(backbone.preprocessing, canvas_of(options.image_size), options.resize)
    splits = open_for_training(options, run.split)
    task = _build(backbone, splits, inputs, options)
    print(describe_training(task, splits, options, head=options.head))
    identities = check_data(splits, options)
    return fit(task, make_fit_data(splits, identities, inputs, options, augment=options.augment), options, run)


def _build_trunk(options: TrainOptions) -> Backbone:
    """Return the trunk with the levels that the head reads, dilated where that is asked for and can be done.

    Raises:
        UserError: It can't carry the head; no weights were looked for.
    """
    stride = choose_output_stride(options.head, options.backbone, options.head_options.output_stride)
    specs = find_specs(
        options.backbone,
        in_channels=options.channels,
        output_stride=stride,
        image_size=canvas_of(options.image_size),
    )
    canvas = canvas_of(options.image_size)
    if reason := refusal(options.head, specs, canvas, output_stride=options.head_options.output_stride):
        raise UserError(f"--head {options.head} on {options.backbone}: {reason}")
    levels = dict.fromkeys(levels_read(options.head, specs))
    if options.head_options.auxiliary:
        levels[auxiliary_level(specs)] = None
    return build_trunk(options, tuple(levels), output_stride=stride)


def _build(backbone: Backbone, splits: dict[str, AnnotatedImages], inputs: InputRecipe, options: TrainOptions) -> Task:
    """Return the task that the options and the data ask for.

    Raises:
        UserError: For a metric that these data don't go with.
    """
    train = splits["train"]
    readout = readout_of(train.classes, is_multi_label=gives_class_masks(train))
    weights: Tensor | None = None
    if options.loss.class_weights == "balanced":
        weights = positive_pixel_weights(train) if readout == "sigmoid" else median_frequency_weights(train)
    return build_task(
        backbone,
        inputs=inputs,
        head=options.head,
        head_options=options.head_options,
        evaluator=SegmentationEvaluator(train.classes, readout=readout, primary=options.select),
        criterion=MaskLoss(readout, options.loss, weights),
    )
