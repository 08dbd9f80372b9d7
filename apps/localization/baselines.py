"""Boxes that anyone can guess without a network: what a model's figures are to be held against."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...datasets import AnnotatedImages, Context, DataError
from ...datasets.images import picture_size

BASELINES = ("mean_box", "centre_box")
#: Headers that are read for the mean; its sides are then known to about 0.003 of the picture.
_MOST_PICTURES = 10_000

Shares = tuple[float, float, float, float]
"""A box ``xyxy`` in shares of a picture's width and height."""

CENTRE_BOX: Shares = (0.25, 0.25, 0.75, 0.75)
"""The middle of the picture, half as wide and half as high: what one says who knows no box at all."""


def mean_box(images: AnnotatedImages) -> Shares:
    """Return the mean of the sides of the largest boxes of a split, of at most 10,000 pictures evenly chosen.

    Pictures that can't be read are left out.

    Raises:
        DataError: If none can be read.
    """
    step = -(-len(images) // _MOST_PICTURES)
    found = []
    for record in images.records[::step]:
        try:
            height, width = picture_size(record.path)
        except DataError:
            continue
        found.append(np.clip(np.divide(record.targets["boxes"][0], (width, height, width, height)), 0, 1))
    if not found:
        raise DataError(f"{images.root}: no picture of the split '{images.split}' can be read.")
    left, top, right, bottom = (round(float(side), 6) for side in np.mean(found, axis=0))
    return left, top, right, bottom


def in_pixels(boxes: Sequence[Shares], context: Context) -> Tensor:
    """Return boxes as they lie in each picture of a batch, float64 ``[B, N, 4]`` in pixels of the file."""
    scale = context.original_sizes.cpu().flip(-1).repeat(1, 2).double()
    return torch.tensor(boxes, dtype=torch.float64) * scale[:, None]
