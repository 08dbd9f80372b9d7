"""Boxes from what a head gives, in pixels of the picture's file, and how well they fit.

All boxes are ``xyxy``, the upper bounds exclusive.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label
from torch import Tensor
from torch.nn.functional import interpolate

from ...datasets import Context

Output = Mapping[str, Tensor]
"""What a head gives for a batch: ``logits`` ``[B, K]``; with them either ``boxes`` float32 ``[B, 4]`` on the canvas,
whatever the class, or ``maps`` float32 ``[B, K, h, w]``, one a class, and the ``threshold`` that cuts the object out of
one, a scalar."""


def class_boxes(output: Output, classes: Tensor, context: Context) -> Tensor:
    """Return a box for each of some classes of each image, inside the picture and in the pixels of its file.

    Args:
        output: A head's.
        classes: int64 ``[B, N]``.
        context: The batch's sizes.

    Returns:
        float32 ``[B, N, 4]`` on the CPU.
    """
    if "boxes" in output:
        boxes = output["boxes"].detach().float().cpu()[:, None].expand(-1, classes.shape[1], -1)
    else:
        boxes = _boxes_of_maps(output, classes, context)
    scale = (context.original_sizes.cpu() / context.valid_sizes.cpu()).flip(-1).repeat(1, 2)
    largest = context.original_sizes.cpu().flip(-1).repeat(1, 2).float()
    return torch.minimum((boxes * scale[:, None]).clamp(min=0), largest[:, None])


def _boxes_of_maps(output: Output, classes: Tensor, context: Context) -> Tensor:
    """Return float32 ``[B, N, 4]`` on the canvas: the box of each class's map."""
    maps, threshold = output["maps"].detach().float().cpu(), float(output["threshold"])
    found = []
    for one, size, wanted in zip(maps, context.valid_sizes.tolist(), classes.tolist(), strict=True):
        # enlarged to the canvas, whose upper left part is the picture
        large = interpolate(one[None, wanted], size=context.canvas, mode="bilinear", align_corners=False)[0]
        picture = large[:, : size[0], : size[1]].numpy()
        found.append([map_box(each, threshold) for each in picture])
    return torch.tensor(found, dtype=torch.float32)


def map_box(activation: NDArray[np.floating[Any]], threshold: float) -> tuple[int, int, int, int]:
    """Return the tightest box around the largest bright region of a class activation map.

    Zhou 2016 (Learning deep features for discriminative localization, section 3.2): the largest connected component of
    what is above a share of the map's maximum. A map without anything above 0 tells nothing: all of it is the box then.

    Args:
        activation: ``[h, w]``.
        threshold: The share of the maximum.
    """
    height, width = activation.shape
    highest = float(activation.max())
    if highest <= 0:
        return 0, 0, width, height
    regions, _ = label(activation > threshold * highest)
    sizes = np.bincount(regions.ravel())[1:]
    rows, columns = find_objects(regions)[int(sizes.argmax())]
    return columns.start, rows.start, columns.stop, rows.stop


def best_overlap(boxes: Tensor, truths: Tensor) -> Tensor:
    """Return the largest intersection over union of each box with any of the true ones.

    Args:
        boxes: ``[..., 4]``.
        truths: ``[M, 4]``, at least one.

    Returns:
        float64 ``[...]``; nothing is lost where an overlap is exactly one half.
    """
    one, other = boxes[..., None, :].double(), truths.double()
    low, high = torch.maximum(one[..., :2], other[:, :2]), torch.minimum(one[..., 2:], other[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    area_of_one, area_of_other = ((each[..., 2:] - each[..., :2]).prod(dim=-1) for each in (one, other))
    return (shared / (area_of_one + area_of_other - shared)).amax(dim=-1)
