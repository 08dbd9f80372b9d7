"""Opening the data set of a detection command."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from ...datasets import AnnotatedImages, DataError, Record
from ...datasets.regions import missing_region
from ..config import EvaluationOptions
from ..opening import Trained, open_model_split

_LISTED = 5
"""So many faults stand in one message."""


def open_for_model(trained: Trained, options: EvaluationOptions, *, with_regions: bool = False) -> AnnotatedImages:
    """Open the split to evaluate a model on.

    Args:
        trained: The data that the model was trained on.
        options: Of the evaluation.
        with_regions: Whether masks are evaluated.

    Raises:
        DataError: As ``open_model_split``; or masks are evaluated and an object has no region.
    """
    return open_model_split(trained, options, kind="objects", require=partial(prepare, with_regions=with_regions))


def prepare(images: AnnotatedImages, *, with_regions: bool) -> AnnotatedImages:
    """Return what a head takes of a split: the same for training and evaluation, whose data are compared.

    Args:
        images: The split.
        with_regions: Whether masks are learned or evaluated.

    Raises:
        DataError: If there are no objects, or masks are wanted and an object has no region.
    """
    found = require_objects(images)
    return require_regions(found) if with_regions else without_regions(found)


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
