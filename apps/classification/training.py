"""Training a classifier, from the options to the card."""

from collections.abc import Collection
from dataclasses import replace

import torch

from ...backbones import Backbone
from ...backbones.errors import UserError
from ...datasets import (
    AnnotatedImages,
    DataError,
    Mixing,
    balanced_weights,
    class_weights,
    positive_weights,
)
from ..card import Card
from ..config import canvas_of
from ..data_check import check_data
from ..fit import FitData, fit, show_finished
from ..inputs import InputRecipe, make_recipe
from ..model_file import holds_model
from ..run_folder import open_run
from ..task import Task
from ..trainer import describe_training
from ..training_data import make_fit_data
from ..trunk import build_trunk
from .binary import choose_positive
from .calibration import calibrate
from .losses import ClassLoss, readout_of
from .metrics import ClassEvaluator, make_evaluator
from .opening import gives_label_sets, open_for_training
from .options import TrainOptions
from .subjects import judge_by_subject
from .task import build_task, keep_matching_rows


def run_training(options: TrainOptions) -> Card:
    """Fine-tune a trunk on a labelled data set; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    run = open_run("classification", options)
    if options.resume and run.is_finished:
        return show_finished(run)
    torch.manual_seed(options.seed)
    backbone = build_trunk(options, (options.head_options.level,))
    splits = open_for_training(options, run.split)
    inputs = make_recipe(backbone.preprocessing, canvas_of(options.image_size), options.resize)
    task = _build(backbone, splits, inputs, options)
    evaluator = task.evaluator
    assert isinstance(evaluator, ClassEvaluator)
    if options.by_subject:
        judge_by_subject(task, splits["train"], splits["val"])
    if options.augment.mixup or options.augment.cutmix:
        task.mixing = Mixing(
            options.augment.mixup, options.augment.cutmix, num_classes=len(splits["train"].classes), seed=options.seed
        )
    if holds_model(options.weights):
        print(keep_matching_rows(task, options.weights))
    print(describe_training(task, splits, options, head=options.head))
    finish = calibrate if options.calibrate else None
    return fit(task, _fit_data(splits, inputs, options, evaluator), options, run, finish=finish)


def _build(backbone: Backbone, splits: dict[str, AnnotatedImages], inputs: InputRecipe, options: TrainOptions) -> Task:
    """Return the task that the options and the data ask for.

    Raises:
        UserError: For a loss, a positive class or a metric that these data don't go with.
    """
    train, val = splits["train"], splits["val"]
    is_multi_label = gives_label_sets(train)
    if is_multi_label and options.positive is not None:
        raise UserError("--positive is for one label an image, and these have any number. Leave it out.")
    weights = None
    if options.loss.class_weights == "balanced":
        weights = positive_weights(train) if is_multi_label else class_weights(train)
    readout = readout_of(options.loss, is_multi_label=is_multi_label)
    positive = None if is_multi_label else choose_positive(_deciding_counts(train, val, options), options.positive)
    evaluator = make_evaluator(train.classes, readout=readout, positive=positive, select=options.select)
    return build_task(
        backbone,
        train.classes,
        inputs=inputs,
        head=options.head,
        head_options=options.head_options,
        criterion=ClassLoss(readout, options.loss, weights),
        evaluator=evaluator,
    )


def _deciding_counts(train: AnnotatedImages, val: AnnotatedImages, options: TrainOptions) -> dict[str, int]:
    """Return the images of each class that say which of two is the rarer one.

    Those of the training split; of a fold also those it validates on, together all that were cut into folds: nearly
    balanced classes would otherwise be the rarer one in turns, and the folds' figures could not be put together.
    """
    counts = train.class_counts()
    if options.fold is None:
        return counts
    return {name: count + val.class_counts()[name] for name, count in counts.items()}


def _refuse_undefined(
    evaluator: ClassEvaluator, val: AnnotatedImages, unreadable: Collection[str], options: TrainOptions
) -> None:
    """Refuse a metric that has no value on the images of the validation split that can be read.

    Raises:
        DataError: Saying so.
    """
    records = tuple(record for record in val.records if record.name not in unreadable)
    counts = replace(val, splits={**val.splits, val.split: records}).class_counts()
    if reason := evaluator.undefined(list(counts.values()), len(records)).get(evaluator.primary):
        left_out = len(val) - len(records)
        unread = f", and {left_out} of its images can't be read" if left_out else ""
        raise DataError(
            f"{options.data}: '{evaluator.primary}' can't choose the checkpoint: the split 'val' doesn't hold images "
            f"both with and without a class ({reason}{unread}). Choose another metric with --select, or another split."
        )


def _fit_data(
    splits: dict[str, AnnotatedImages], inputs: InputRecipe, options: TrainOptions, evaluator: ClassEvaluator
) -> FitData:
    """Check the data, and return their loaders with what the run keeps of them.

    Raises:
        DataError: Naming every image that can't be read, unless such are to be skipped; and if those that can be read
            leave the metric undefined that chooses the checkpoint.
    """
    identities = check_data(splits, options)
    _refuse_undefined(evaluator, splits["val"], identities["val"].unreadable, options)
    weights = balanced_weights(splits["train"].records) if options.sampling == "balanced" else None
    return make_fit_data(splits, identities, inputs, options, augment=options.augment, sample_weights=weights)
