"""What segmentation asks of a data set."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from ...datasets import BACKGROUND, AnnotatedImages, DataError, DrawnMask, MaskFile, Record
from ..config import EvaluationOptions
from ..opening import Trained, open_model_split


def require_kind(images: AnnotatedImages, kind: Literal["auto", "single", "multi"]) -> AnnotatedImages:
    """Return the data set with masks that give each pixel one class, or any number of them.

    Args:
        images: The data set.
        kind: Which of the two; ``auto``: as the masks are.

    Raises:
        DataError: The masks are of the other kind.
    """
    is_multi_label = kind == "multi" or (kind == "auto" and gives_class_masks(images))
    return with_masks(images, is_multi_label=is_multi_label)


def refuse_one_class(train: AnnotatedImages, data: str) -> None:
    """Refuse masks all of whose pixels are of the one class that there is.

    Raises:
        DataError: Naming ``data``, as it was given, and the class.
    """
    if len(train.classes) == 1 and not gives_class_masks(train):
        raise DataError(f"{data}: there is one class only, '{train.classes[0]}'; there is nothing to tell apart.")


def open_for_model(trained: Trained, options: EvaluationOptions, *, is_multi_label: bool) -> AnnotatedImages:
    """Open the split to evaluate a model on, with masks of the kind that the model gives.

    Raises:
        DataError: As ``open_model_split``.
    """
    return open_model_split(
        trained, options, kind="masks", require=lambda images: with_masks(images, is_multi_label=is_multi_label)
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
