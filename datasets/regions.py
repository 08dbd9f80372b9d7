"""The regions of objects, as COCO files say them: polygons, or run lengths, compressed or not."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .objects import Objects
from .run_lengths import check_runs, decode_runs

_LEAST_NUMBERS = 6
"""Of a polygon: two a corner."""


def encode_region(shape: Any, size: tuple[int, int]) -> str:
    """Return the compressed run lengths of what COCO calls ``segmentation``.

    Args:
        shape: A list of polygons, each a list of x and y in turn; or run lengths with their ``counts``.
        size: Height and width of the picture.

    Raises:
        KeyError: There are neither corners nor counts.
        ValueError: A polygon has too few corners, or run lengths aren't those of the picture.
        Exception: What else pycocotools can't read.
    """
    from pycocotools import mask as coco_mask

    height, width = size
    if isinstance(shape, list):
        if not shape or any(len(ring) < _LEAST_NUMBERS for ring in shape):
            raise ValueError("a polygon has at least three corners")
        code = coco_mask.merge(coco_mask.frPyObjects(shape, height, width))
    elif isinstance(shape["counts"], list):
        check_runs(shape["counts"], size, shape)
        code = coco_mask.frPyObjects(shape, height, width)
    else:
        check_runs(decode_runs(shape["counts"]), size, shape)
        code = shape
    counts = code["counts"]
    return counts.decode() if isinstance(counts, bytes) else str(counts)


def draw_regions(objects: Objects, size: tuple[int, int]) -> Tensor:
    """Return the masks of the sound objects in their order, uint8 ``[M, H, W]``, 1 inside.

    An ignored object without a region has an empty mask.

    Args:
        objects: Of a picture.
        size: Height and width of the picture.

    Raises:
        ValueError: A region is missing or can't be read; a full sentence that names the annotation.
    """
    from pycocotools import mask as coco_mask

    masks = torch.zeros((len(objects.sound), *size), dtype=torch.uint8)
    for row, place in enumerate(objects.sound):
        if fault := missing_region(objects, place):
            raise ValueError(fault)
        if not objects.regions or objects.regions[place] is None:
            continue
        try:
            code = {"size": list(size), "counts": encode_region(objects.regions[place], size)}
            masks[row] = torch.from_numpy(np.ascontiguousarray(coco_mask.decode(code)))
        except KeyError as error:
            raise ValueError(f"{objects.where(place)} has no counts or corners in its segmentation.") from error
        except Exception as error:  # pycocotools raises plain ones
            raise ValueError(f"{objects.where(place)}: its segmentation can't be read ({error}).") from error
    return masks


def missing_region(objects: Objects, place: int) -> str | None:
    """Return what is wrong with an object that is to be learned and has no region, or None."""
    has_region = bool(objects.regions) and objects.regions[place] is not None
    if has_region or (objects.ignored and objects.ignored[place]):
        return None
    return (
        f"{objects.where(place)} has a box and no region, so its mask can't be learned or measured. Draw its region, "
        "mark it as a crowd, or take --head faster_rcnn."
    )
