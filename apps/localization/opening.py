"""Opening the data set of a localization command."""

from ...datasets import AnnotatedImages, DataError, require_labels
from ..config import EvaluationOptions
from ..opening import Trained, open_model_split
from .options import TrainOptions


def refuse_one_class(train: AnnotatedImages, options: TrainOptions) -> None:
    """Refuse a training split with one class for a head that learns from labels alone.

    It will do for ``--head regression``: what is learned is where it is.

    Raises:
        DataError: Naming the class.
    """
    if options.head == "cam" and len(train.classes) == 1:
        raise DataError(
            f"{options.data}: there is one class only, '{train.classes[0]}', and --head cam learns from telling "
            "classes apart. Use --head regression, which learns from the boxes."
        )


def open_for_model(trained: Trained, options: EvaluationOptions) -> AnnotatedImages:
    """Open the split to evaluate a model on.

    Raises:
        DataError: As ``open_model_split``.
    """
    return open_model_split(trained, options, kind="boxes", require=require_boxes)


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
