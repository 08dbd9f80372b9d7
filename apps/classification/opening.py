"""Opening the data set of a classification command."""

from functools import partial
from typing import Literal

from ...datasets import AnnotatedImages, DataError, require_label_sets, require_labels
from ..config import EvaluationOptions
from ..opening import Trained, open_model_split, open_named_split
from .options import EvaluateOptions


def require_kind(images: AnnotatedImages, kind: Literal["auto", "single", "multi"]) -> AnnotatedImages:
    """Return the data set with one label an image, or with any number of them.

    Args:
        images: The data set.
        kind: Which of the two; ``auto``: as the data set gives them.

    Raises:
        DataError: Naming the first image that has others or none.
    """
    is_multi_label = kind == "multi" or (kind == "auto" and gives_label_sets(images))
    return _with_labels(images, is_multi_label=is_multi_label)


def refuse_one_class(train: AnnotatedImages, data: str) -> None:
    """Refuse a training split all of whose images are of the one class that there is.

    Raises:
        DataError: Naming ``data``, as it was given, and the class.
    """
    only = train.classes[0]
    if len(train.classes) == 1 and train.class_counts()[only] == len(train):
        raise DataError(f"{data}: there is one class only, '{only}'; there is nothing to tell apart.")


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


def open_for_model(trained: Trained, options: EvaluationOptions) -> AnnotatedImages:
    """Open the split to evaluate a model on, with the kind of labels that the model gives.

    Raises:
        DataError: As ``open_model_split``.
    """
    is_multi_label = trained.description["readout"] == "sigmoid"
    require = partial(_with_labels, is_multi_label=is_multi_label)
    return open_model_split(trained, options, kind="labels", require=require)


def open_split(options: EvaluateOptions) -> AnnotatedImages:
    """Open a split that the data set has, with one label an image.

    Raises:
        DataError: As ``open_named_split``.
    """
    return open_named_split(options, kind="labels", require=partial(_with_labels, is_multi_label=False))
