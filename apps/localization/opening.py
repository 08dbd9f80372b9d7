"""Opening the data set of a localization command."""

from pathlib import Path

from ...datasets import AnnotatedImages, DataError, require_labels
from ..opening import open_model_split, open_training_splits
from .options import EvaluateOptions, TrainOptions


def open_for_training(options: TrainOptions, split_file: Path) -> dict[str, AnnotatedImages]:
    """Return the training and the validation split.

    One class alone will do for ``--head regression``: what is learned is where it is.

    Raises:
        DataError: Also if labels are all there is to learn from, and they are all the same.
    """
    splits = open_training_splits(options, split_file, kind="boxes", require=require_boxes)
    classes = splits["train"].classes
    if options.head == "cam" and len(classes) == 1:
        raise DataError(
            f"{options.data}: there is one class only, '{classes[0]}', and --head cam learns from telling classes "
            "apart. Use --head regression, which learns from the boxes."
        )
    return splits


def open_for_model(model: str, options: EvaluateOptions) -> AnnotatedImages:
    """Open the split to evaluate a model on.

    Raises:
        DataError: As ``open_model_split``.
    """
    return open_model_split(model, options, kind="boxes", require=require_boxes)


def require_boxes(images: AnnotatedImages) -> AnnotatedImages:
    """Return the split after a check that every image has one class and at least one box.

    Raises:
        DataError: Naming the first image that hasn't.
    """
    require_labels(images)
    for record in images.records:
        if not record.targets.get("boxes"):
            raise DataError(
                f"{record.path}: the image has no box; {images.root} gives it none. Localization needs at least one "
                "for each image; leave out those without."
            )
    return images
