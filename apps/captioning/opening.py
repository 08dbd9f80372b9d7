"""Opening the data set of a captioning command."""

from collections.abc import Sequence

from ...datasets import AnnotatedImages, DataError
from ..config import EvaluationOptions
from ..opening import Trained, open_model_split


def open_for_model(trained: Trained, options: EvaluationOptions) -> AnnotatedImages:
    """Open the split to evaluate a model on.

    Raises:
        DataError: As ``open_model_split``.
    """
    return open_model_split(trained, options, kind="captions", require=require_captions)


def require_captions(images: AnnotatedImages) -> AnnotatedImages:
    """Return the split after a check that every image has a caption.

    Raises:
        DataError: Naming the first image that hasn't.
    """
    for record in images.records:
        if not record.targets.get("captions"):
            raise DataError(
                f"{record.path}: the image has no caption; {images.root} gives it none. Captioning needs at least one "
                "for each image; leave out those without."
            )
    return images


def captions_of(images: AnnotatedImages) -> Sequence[tuple[str, ...]]:
    """Return the captions of each image of the split."""
    return [record.targets["captions"] for record in images.records]
