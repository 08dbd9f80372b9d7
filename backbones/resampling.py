"""Maps on the grid that dense heads expect."""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

from .spec import FeatureSpec


def resample(
    features: Mapping[str, Tensor],
    specs: Mapping[str, FeatureSpec],
    levels: Sequence[str],
    canvas: tuple[int, int],
    *,
    strides: Mapping[str, int] | None = None,
) -> dict[str, Tensor]:
    """Return ``levels``, each with exactly ``ceil(canvas / stride)`` cells.

    Decoders add and concatenate maps of neighbouring levels and fail on 13 against 12 cells. LeNet, AlexNet and
    Inception have unpadded layers, so that theirs don't have the nominal size (``FeatureSpec.is_exact``); what has it
    already is returned as it is. Interpolation is bilinear, edge to edge (``align_corners=False``).

    Args:
        features: Maps ``[B, C, h, w]`` of a trunk, at least one.
        specs: Of the levels that ``features`` holds. A level that isn't among them (``c1`` of a trunk whose first map
            has stride 4) becomes a map of the right size without channels: decoders only ask it for its size.
        levels: What to return, in this order.
        canvas: Height and width of the pictures, in pixels.
        strides: Of levels that shall not have their nominal ``2**K``: DeepLab and PAN want ``c5`` at 16 or 8. A dilated
            trunk has it there already, another one's is interpolated.
    """
    strides = strides or {}
    example = next(iter(features.values()))
    maps = {}
    for level in levels:
        stride = strides.get(level, 2 ** int(level.removeprefix("c")))
        height, width = (-(-side // stride) for side in canvas)
        if level in specs:
            maps[level] = resize(features[level], (height, width))
        else:
            maps[level] = example.new_zeros(example.shape[0], 0, height, width)
    return maps


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return ``[B, C, h, w]`` at ``size`` cells, bilinear; itself if it has that size."""
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)
