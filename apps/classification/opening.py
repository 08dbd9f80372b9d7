"""Opening the data set of a classification command."""

from functools import partial
from pathlib import Path

from ...datasets import AnnotatedImages, DataError, require_label_sets, require_labels
from ..model_file import read_description
from ..opening import open_model_split, open_named_split, open_training_splits
from .options import EvaluateOptions, TrainOptions


def open_for_training(options: TrainOptions, split_file: Path) -> dict[str, AnnotatedImages]:
    """Return the training and the validation split with the kind of labels that the options or the data say.

    Raises:
        DataError: Also if there is nothing to tell apart.
    """

    def require(images: AnnotatedImages) -> AnnotatedImages:
        is_multi_label = options.labels == "multi" or (options.labels == "auto" and gives_label_sets(images))
        return _with_labels(images, is_multi_label=is_multi_label)

    splits = open_training_splits(options, split_file, kind="labels", require=require)
    train = splits["train"]
    only = train.classes[0]
    if len(train.classes) == 1 and train.class_counts()[only] == len(train):
        raise DataError(f"{options.data}: there is one class only, '{only}'; there is nothing to tell apart.")
    return splits


def gives_label_sets(images: AnnotatedImages) -> bool:
    """Whether the data set gives its images any number of labels."""
    return any("labels" in record.targets for record in images.everything)


def _with_labels(images: AnnotatedImages, *, is_multi_label: bool) -> AnnotatedImages:
    """Return the data set with the kind of labels that a task needs.

    Raises:
        DataError: Naming the first image that has others or none.
    """
    if is_multi_label:
        return require_label_sets(images)
    require_labels(images)
    return images


def open_for_model(model: str, options: EvaluateOptions) -> AnnotatedImages:
    """Open the split to evaluate a model on, with the kind of labels that the model gives.

    Raises:
        DataError: As ``open_model_split``.
    """
    is_multi_label = read_description(model)[1]["readout"] == "sigmoid"
    require = partial(_with_labels, is_multi_label=is_multi_label)
    return open_model_split(model, options, kind="labels", require=require)


def open_split(options: EvaluateOptions) -> AnnotatedImages:
    """Open a split that the data set has, with one label an image.

    Raises:
        DataError: As ``open_named_split``.
    """
    return open_named_split(options, kind="labels", require=partial(_with_labels, is_multi_label=False))
