"""The commands ``onetrunk classification train|evaluate|predict``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...backbones.errors import UserError
from ..cli import Command
from ..config import canvas_of
from .options import AugmentOptions, EvaluateOptions, PredictOptions, TrainOptions

if TYPE_CHECKING:
    from ...datasets import AnnotatedImages, Record, Transform
    from ..card import Card
    from ..inputs import InputRecipe
    from ..task import Task


def train(options: TrainOptions) -> Card:
    """Fine-tune a trunk on a labelled data set; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    import torch

    from ...datasets import Mixing, balanced_weights, class_weights
    from ..card import Card, print_card
    from ..data_check import check_data
    from ..fit import FitData, fit
    from ..inputs import make_loader, make_recipe
    from ..model_file import holds_model
    from ..run_folder import open_run
    from ..trunk import build_trunk
    from .task import build_task, keep_matching_rows

    run = open_run("classification", options)
    if options.resume and run.is_finished:
        card = Card.read(run.card)
        print_card(card, where=run.card)
        return card
    torch.manual_seed(options.seed)
    backbone = build_trunk(options, (options.head_options.level,))
    splits = _open_splits(options, run.split)
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

    fingerprints = check_data(splits, options)

    def loader(split: str, transform: Transform, **settings: Any) -> Any:
        return make_loader(
            splits[split].records,
            transform,
            options,
            channels=inputs.channels,
            classes=splits[split].classes,
            **settings,
        )

    weights = balanced_weights(splits["train"].records) if options.sampling == "balanced" else None
    augmentation = _augmentation(inputs, options.augment)
    data = FitData(
        train=loader("train", augmentation, seed=options.seed, shuffle=True, sample_weights=weights),
        val=loader("val", inputs.transform()),
        train_fingerprint=fingerprints["train"],
        val_fingerprint=fingerprints["val"],
        facts={"path": options.data, "split_origin": splits["train"].split_origin},
        cut_split=splits["train"].splits if splits["train"].is_cut else None,
    )
    return fit(task, data, options, run)


def evaluate(options: EvaluateOptions) -> Card:
    """Evaluate a model, or a trunk's own ImageNet classifier, on a split; return its card.

    Raises:
        UserError: For a model, weights or data that can't be used.
    """
    from ..commands import evaluate_command
    from ..inputs import InputRecipe, check_images, make_loader
    from ..outputs import PREDICTIONS, RESULTS, output_folder

    where = output_folder(options.output, RESULTS, *PREDICTIONS, overwrite=options.overwrite)
    if options.model is not None:
        task, backbone = _trained(options.model)
        images = _open_for_model(options.model, options)
        records = images.records
    else:
        task, backbone = _pretrained(options)
        images = _open_split(options)
        records = _with_imagenet_names(images)
    check_images(records, options)
    inputs = InputRecipe.from_dict(task.description["inputs"])
    loader = make_loader(
        records, inputs.transform(), options, channels=inputs.channels, classes=task.description["classes"]
    )
    facts = {"path": options.data, "fingerprint": images.fingerprint(), "split_origin": images.split_origin}
    return evaluate_command(task, loader, options, where=where, backbone=backbone, data=facts)


def predict(options: PredictOptions) -> list[dict[str, Any]]:
    """Label images; return a row for each with its most probable classes, in the order of the sorted paths.

    Raises:
        UserError: For a model or images that can't be used.
    """
    from ...datasets import list_pictures
    from ..commands import predict_command
    from ..inputs import InputRecipe, check_images, make_loader
    from ..model_file import load_model
    from ..outputs import PREDICTIONS, output_folder

    where = output_folder(options.output, *PREDICTIONS, overwrite=options.overwrite)
    task = load_model(options.model)
    inputs = InputRecipe.from_dict(task.description["inputs"])
    records = list_pictures(options.images)
    check_images(records, options)
    loader = make_loader(records, inputs.transform(), options, channels=inputs.channels)
    return predict_command(task, loader, options, where=where)


def _open_splits(options: TrainOptions, split_file: Path) -> dict[str, AnnotatedImages]:
    """Return the training and the validation split; a run that goes on reads the split it was started with."""
    from ...datasets import DataError, open_dataset, require_labels

    goes_on = options.resume and split_file.is_file()
    opened = open_dataset(
        options.data,
        "train",
        split_seed=options.split_seed,
        val_fraction=options.val_fraction,
        split_file=split_file if goes_on else None,
    )
    if options.fold is not None and not goes_on:
        assert options.folds is not None
        opened = opened.with_fold(options.fold, folds=options.folds, seed=options.split_seed)
    for note in opened.notes:
        print(note)
    if len(opened.classes) < 2:
        only = opened.classes[0]
        raise DataError(f"{options.data}: there is one class only, '{only}'; there is nothing to tell apart.")
    splits = {"train": opened, "val": opened.select("val")}
    for images in splits.values():
        require_labels(images)
    return splits


def _augmentation(inputs: InputRecipe, options: AugmentOptions) -> Transform:
    from ...datasets import train_transform

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


def _trained(model: str) -> tuple[Task, dict[str, Any]]:
    """Return a trained task, and its trunk's facts for the card."""
    from ..model_file import load_model, read_description

    task = load_model(model)
    trunk = read_description(model)[1]["backbone"]
    facts = {
        "name": trunk["name"],
        "weights": trunk["weights"],
        "fingerprint_before": trunk["fingerprint_after"],
        "fingerprint_after": task.backbone.fingerprint(),
    }
    return task, facts


def _open_for_model(model: str, options: EvaluateOptions) -> AnnotatedImages:
    """Open the split; where a model was trained on a cut of these very data, the cut that it was trained with.

    Raises:
        DataError: Also for data that have no splits of their own and aren't those that the model was trained on.
    """
    from ...datasets import DataError, open_dataset, require_labels
    from ..model_file import read_description

    folder, description = read_description(model)
    cut = folder / "split.csv"
    if not cut.is_file() or options.split == "all":
        return _open_split(options)
    try:
        images = open_dataset(options.data, options.split, split_file=cut)
        is_own = images.select("val").fingerprint() == description["data"]["fingerprint"]
    except DataError:  # it lacks images of the cut
        is_own = False
    if not is_own:
        return _open_split(options)
    require_labels(images)
    print(f"{options.split} is the split that the model was trained with ({cut})")
    return images


def _open_split(options: EvaluateOptions) -> AnnotatedImages:
    """Open a split that the data set has; one is never cut for an evaluation.

    Raises:
        DataError: If there is no such split, or the images have no labels.
    """
    from ...datasets import DataError, open_dataset, require_labels

    images = open_dataset(options.data, options.split)
    if images.is_cut:
        raise DataError(f"{options.data}: there is no split '{options.split}'. To evaluate everything: --split all")
    require_labels(images)
    for note in images.notes:
        print(note)
    return images


def _pretrained(options: EvaluateOptions) -> tuple[Task, dict[str, Any]]:
    """Return the ImageNet classifier of a trunk's weights as a task, and the trunk's facts."""
    from ...backbones import build_backbone
    from ..inputs import make_recipe
    from .task import pretrained_task

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
    from ...backbones import imagenet_classes

    return [f"{wordnet_id} {names[0]}" for wordnet_id, names in imagenet_classes()]


def _with_imagenet_names(images: AnnotatedImages) -> tuple[Record, ...]:
    """Return the records under ImageNet's names of their classes; a part of the thousand will do."""
    from ...backbones import match_imagenet_classes

    places = match_imagenet_classes(images.classes)
    full_name = {name: _imagenet_names()[place] for name, place in zip(images.classes, places, strict=True)}
    return tuple(
        replace(record, targets={**record.targets, "label": full_name[record.targets["label"]]})
        for record in images.records
    )


COMMANDS = {
    "train": Command(train, TrainOptions, "fine-tune a trunk on labelled images"),
    "evaluate": Command(evaluate, EvaluateOptions, "evaluate a model, or the ImageNet classifier of a trunk's weights"),
    "predict": Command(predict, PredictOptions, "label images with a trained model"),
}
