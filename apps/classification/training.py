"""Training a classifier, from the options to the card."""

from typing import Any

import torch

from ...datasets import (
    AnnotatedImages,
    Mixing,
    ResumableLoader,
    Transform,
    balanced_weights,
    class_weights,
    train_transform,
)
from ..card import Card, print_card
from ..config import canvas_of
from ..data_check import check_data
from ..fit import FitData, fit
from ..inputs import InputRecipe, make_loader, make_recipe
from ..model_file import holds_model
from ..run_folder import open_run
from ..task import Task
from ..trunk import build_trunk
from .opening import open_for_training
from .options import AugmentOptions, TrainOptions
from .task import build_task, keep_matching_rows


def run_training(options: TrainOptions) -> Card:
    """Fine-tune a trunk on a labelled data set; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    run = open_run("classification", options)
    if options.resume and run.is_finished:
        card = Card.read(run.card)
        print_card(card, where=run.card)
        return card
    torch.manual_seed(options.seed)
    backbone = build_trunk(options, (options.head_options.level,))
    splits = open_for_training(options, run.split)
    inputs = make_recipe(backbone.preprocessing, canvas_of(options.image_size), options.resize)
    task = build_task(
        backbone,
        splits["train"].classes,
        inputs=inputs,
        head=options.head,
        head_options=options.head_options,
        label_smoothing=options.loss.label_smoothing,
        class_weights=class_weights(splits["train"]) if options.loss.class_weights == "balanced" else None,
    )
    if options.augment.mixup or options.augment.cutmix:
        task.mixing = Mixing(
            options.augment.mixup, options.augment.cutmix, num_classes=len(splits["train"].classes), seed=options.seed
        )
    if holds_model(options.weights):
        print(keep_matching_rows(task, options.weights))
    _describe(task, splits, options)
    return fit(task, _fit_data(splits, inputs, options), options, run)


def _fit_data(splits: dict[str, AnnotatedImages], inputs: InputRecipe, options: TrainOptions) -> FitData:
    """Check the data, and return their loaders with what the run keeps of them.

    Raises:
        DataError: Naming every image that can't be read, unless such are to be skipped.
    """
    fingerprints = check_data(splits, options)
    train = splits["train"]

    def loader(split: str, transform: Transform, **settings: Any) -> ResumableLoader:
        records = splits[split].records
        return make_loader(records, transform, options, channels=inputs.channels, classes=train.classes, **settings)

    weights = balanced_weights(train.records) if options.sampling == "balanced" else None
    augmentation = _augmentation(inputs, options.augment)
    return FitData(
        train=loader("train", augmentation, seed=options.seed, shuffle=True, sample_weights=weights),
        val=loader("val", inputs.transform()),
        train_fingerprint=fingerprints["train"],
        val_fingerprint=fingerprints["val"],
        facts={"path": options.data, "split_origin": train.split_origin},
        cut_split=train.splits if train.is_cut else None,
    )


def _augmentation(inputs: InputRecipe, options: AugmentOptions) -> Transform:
    return train_transform(
        inputs.canvas,
        inputs.interpolation,
        min_scale=options.min_scale,
        flip=options.flip,
        vertical_flip=options.vertical_flip,
        color_jitter=options.color_jitter,
        policy=options.policy,
        erasing=options.erasing,
    )


def _describe(task: Task, splits: dict[str, AnnotatedImages], options: TrainOptions) -> None:
    """Print what is about to be trained."""
    parameters = list(task.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    counts = ", ".join(f"{len(images):,} {split}" for split, images in splits.items())
    height, width = task.description["inputs"]["canvas"]
    print(
        f"{options.backbone} ({options.weights}, freeze {options.freeze}) + {options.head} head: "
        f"{trained:,} of {sum(p.numel() for p in parameters):,} parameters are trained\n"
        f"{options.data}: {len(splits['train'].classes)} classes, {counts} images "
        f"(split: {splits['train'].split_origin}); canvas {height}x{width}"
    )
