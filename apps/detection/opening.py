"""Opening the data set of a detection command."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ...datasets import AnnotatedImages, DataError, Record
from ...datasets.regions import missing_region
from ..opening import Require, open_model_split, open_training_splits
from .options import EvaluateOptions, TrainOptions

_LISTED = 5
"""So many faults stand in one message."""


def open_for_training(options: TrainOptions, split_file: Path) -> dict[str, AnnotatedImages]:
    """Return the training and the validation split, with regions only where the head learns masks.

    Raises:
        DataError: Also if a split has no objects, or ``mask_rcnn`` is to learn from objects without regions.
    """
    prepare = _preparation(with_regions=options.head == "mask_rcnn")
    return open_training_splits(options, split_file, kind="objects", require=prepare)


def open_for_model(model: str, options: EvaluateOptions, *, with_regions: bool = False) -> AnnotatedImages:
    """Open the split to evaluate a model on.

    Args:
        model: Its folder.
        options: Of the evaluation.
        with_regions: Whether masks are evaluated.

    Raises:
        DataError: As ``open_model_split``; or masks are evaluated and an object has no region.
    """
    return open_model_split(model, options, kind="objects", require=_preparation(with_regions=with_regions))


def _preparation(*, with_regions: bool) -> Require:
    """Return what makes of a split what a head takes: the same for training and evaluation, whose data are compared."""

    def prepare(images: AnnotatedImages) -> AnnotatedImages:
        found = require_objects(images)
        return require_regions(found) if with_regions else without_regions(found)

    return prepare


def require_objects(images: AnnotatedImages) -> AnnotatedImages:
    """Return the split after a check that there is an object in it at all; pictures without any are negatives.

    Raises:
        DataError: If there is none.
    """
    if not any(record.targets["labels"] for record in images.records):
        raise DataError(
            f"{images.root}: no image of '{images.split}' has an object. Single images without objects are fine, as "
            "negatives; a split of nothing else teaches and measures nothing."
        )
    return images


def require_regions(images: AnnotatedImages) -> AnnotatedImages:
    """Return the split after a check that each of its objects that aren't ignored has a region.

    Raises:
        DataError: Naming those without, or saying that there are no regions at all.
    """
    found = [record.targets["objects"] for record in images.records]
    faults = [fault for each in found for place in each.learned if (fault := missing_region(each, place))]
    if faults and not any(each.regions for each in found):
        raise DataError(
            f"{images.root}: the objects of '{images.split}' have boxes and no regions, and --head mask_rcnn learns "
            "masks. COCO's JSON has them as 'segmentation'; otherwise take --head faster_rcnn."
        )
    if faults:
        more = f"\n... and {len(faults) - _LISTED:,} more" if len(faults) > _LISTED else ""
        raise DataError("\n".join(faults[:_LISTED]) + more)
    return images


def without_regions(images: AnnotatedImages) -> AnnotatedImages:
    """Return the data set without regions: masks that nobody reads would be decoded for every sample."""

    def strip(records: tuple[Record, ...]) -> tuple[Record, ...]:
        return tuple(
            replace(each, targets={**each.targets, "objects": each.targets["objects"].without_regions()})
            for each in records
        )

    def strip_all(splits: Mapping[str, tuple[Record, ...]]) -> dict[str, tuple[Record, ...]]:
        return {split: strip(records) for split, records in splits.items()}

    return replace(images, splits=strip_all(images.splits), found=strip_all(images.found))
