"""What segmentation asks of a data set."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ...datasets import BACKGROUND, AnnotatedImages, DataError, DrawnMask, MaskFile, Record
from ..opening import open_model_split, open_training_splits
from .options import EvaluateOptions, TrainOptions


def open_for_training(options: TrainOptions, split_file: Path) -> dict[str, AnnotatedImages]:
    """Return the training and the validation split, with masks of the kind that the options or the data say.

    Raises:
        DataError: Naming the first image without a mask; or if there is nothing to tell apart, or masks are of another
            kind.
    """

    def require(images: AnnotatedImages) -> AnnotatedImages:
        is_multi_label = options.labels == "multi" or (options.labels == "auto" and gives_class_masks(images))
        return with_masks(images, is_multi_label=is_multi_label)

    splits = open_training_splits(options, split_file, kind="masks", require=require)
    classes = splits["train"].classes
    if len(classes) == 1 and not gives_class_masks(splits["train"]):
        raise DataError(f"{options.data}: there is one class only, '{classes[0]}'; there is nothing to tell apart.")
    return splits


def open_for_model(model: str, options: EvaluateOptions, *, is_multi_label: bool) -> AnnotatedImages:
    """Open the split to evaluate a model on, with masks of the kind that the model gives.

    Raises:
        DataError: As ``open_model_split``.
    """
    return open_model_split(
        model, options, kind="masks", require=lambda images: with_masks(images, is_multi_label=is_multi_label)
    )


def gives_class_masks(images: AnnotatedImages) -> bool:
    """Whether pixels of the data set may be of several classes."""
    masks = [record.targets["mask"] for record in images.everything if "mask" in record.targets]
    if any(isinstance(mask, DrawnMask) for mask in masks):
        return all(isinstance(mask, DrawnMask) and mask.is_multi_label for mask in masks)
    return bool(masks) and not any(isinstance(mask, MaskFile) for mask in masks)


def with_masks(images: AnnotatedImages, *, is_multi_label: bool) -> AnnotatedImages:
    """Return the data set with masks of one kind.

    Raises:
        DataError: They are of the other.
    """
    drawn = any(isinstance(record.targets["mask"], DrawnMask) for record in images.everything)
    if is_multi_label and drawn:
        return _keep_overlaps(images)
    if is_multi_label != gives_class_masks(images):
        is_now, other = ("one class", "any number") if is_multi_label else ("any number of classes", "one")
        hint = "a folder of masks for each class" if is_multi_label else "one mask a picture"
        raise DataError(
            f"{images.root}: the masks give each pixel {is_now}, and {other} is asked for. That takes {hint}; or leave "
            "--labels out."
        )
    return images


def _keep_overlaps(images: AnnotatedImages) -> AnnotatedImages:
    """Return drawn masks whose pixels keep all of their classes, of which ``background`` is none."""

    def convert(record: Record) -> Record:
        mask = replace(record.targets["mask"], is_multi_label=True)
        labels = tuple(name for name in record.targets["labels"] if name != BACKGROUND)
        return replace(record, targets={**record.targets, "mask": mask, "labels": labels})

    def convert_all(splits: Mapping[str, tuple[Record, ...]]) -> dict[str, tuple[Record, ...]]:
        return {split: tuple(map(convert, records)) for split, records in splits.items()}

    classes = tuple(name for name in images.classes if name != BACKGROUND)
    return replace(images, classes=classes, splits=convert_all(images.splits), found=convert_all(images.found))
