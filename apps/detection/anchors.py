"""Anchors: the boxes of every cell of a pyramid's maps from which detectors start."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.cluster.vq import kmeans2
from torchvision.models.detection.anchor_utils import AnchorGenerator

from .options import AnchorName

Sizes = tuple[tuple[float, ...], ...]
"""The sides of square anchors in pixels of the canvas, a tuple a level."""

#: Heights over widths (Ren 2015, section 3.1.1).
_RATIOS = (0.5, 1.0, 2.0)
#: A face is hardly ever wider than high; the mean of WIDER FACE's is 1.25 times as high as wide.
_FACE_RATIOS = (1.0, 1.5)
#: Of fitted proportions; longer boxes are found from shorter anchors.
_LONGEST = 4.0


class Anchors:
    """The sizes and proportions of anchors.

    Attributes:
        sizes: A tuple a level.
        ratios: Heights over widths, the same on every level.
    """

    def __init__(self, sizes: Sequence[Sequence[float]], ratios: Sequence[float]) -> None:
        """See the class."""
        self.sizes: Sizes = tuple(tuple(map(float, level)) for level in sizes)
        self.ratios = tuple(map(float, ratios))

    def generator(self) -> AnchorGenerator:
        """Return torchvision's generator of them."""
        return AnchorGenerator(self.sizes, (self.ratios,) * len(self.sizes))

    def to_dict(self) -> dict[str, list[list[float]] | list[float]]:
        """Return plain values for the model file."""
        return {"sizes": [list(level) for level in self.sizes], "ratios": list(self.ratios)}


def usual_anchors(name: AnchorName, strides: Sequence[int], *, octaves: int = 1) -> Anchors:
    """Return anchors that don't depend on the data.

    Args:
        name: ``usual``: eight cells wide, 32 to 512 pixels on strides of 4 to 64 (Lin 2017, section 4.1);
            ``small``: four cells wide, for faces in crowds.
        strides: Of the levels.
        octaves: How many sizes a level has, a part of an octave apart (3 in RetinaNet, Lin 2017, section 4).
    """
    if name == "small":
        return Anchors([_octaves(4 * stride, octaves) for stride in strides], _FACE_RATIOS)
    # 8 cells where strides begin at 4 or 8; RetinaNet takes 4 of them, 32 pixels on a stride of 8
    cells = 8 if octaves == 1 else 4
    return Anchors([_octaves(cells * stride, octaves) for stride in strides], _RATIOS)


def _octaves(size: float, number: int) -> list[float]:
    # whole pixels, as torchvision rounds them
    return [float(int(size * 2 ** (place / number))) for place in range(number)]


def fitted_anchors(
    boxes: Iterable[tuple[float, float]], strides: Sequence[int], *, octaves: int = 1, ratios: int = 3
) -> Anchors:
    """Return anchors that fit boxes of a data set: one size a level, or more, and some proportions.

    An anchor's shorter side is at least the stride, so that anchors leave no gaps: of an object that none overlaps
    torchvision's matching would take all for equally good.

    Sizes, the square roots of areas, and proportions are clustered on a logarithmic scale, as Redmon & Farhadi 2017
    (YOLO9000, section 2, "Dimension Clusters") cluster boxes.

    Args:
        boxes: Widths and heights on the canvas, at least one.
        strides: Of the levels of the pyramid, in pixels.
        octaves: How many sizes a level has, a part of an octave apart.
        ratios: How many proportions at most, from 1 to 4 up to 4 to 1.
    """
    sides = np.array(sorted(boxes), dtype=np.float64)
    sizes = _clusters(np.log(sides.prod(axis=1)) / 2, len(strides))
    most = math.log(_LONGEST)
    shapes = _clusters(np.log(sides[:, 1] / sides[:, 0]).clip(-most, most), ratios)
    longer = math.exp(max(map(abs, shapes)) / 2)
    # fewer clusters than levels: the largest stays the largest further up
    filled = [math.exp(sizes[min(place, len(sizes) - 1)]) for place in range(len(strides))]
    floored = [max(size, math.ceil(stride * longer)) for size, stride in zip(filled, strides, strict=True)]
    steps = [2 ** (place / octaves) for place in range(octaves)]
    return Anchors(
        [[round(size * step, 1) for step in steps] for size in floored],
        [round(math.exp(shape), 3) for shape in shapes],
    )


def _clusters(values: "np.typing.NDArray[np.float64]", number: int) -> list[float]:
    """Return the sorted means of at most ``number`` clusters of values."""
    distinct = np.unique(values.round(3))
    if len(distinct) <= number:
        return [float(value) for value in distinct]
    # started at quantiles: the same boxes give the same anchors
    start = np.quantile(values, (np.arange(number) + 0.5) / number)
    middles, labels = kmeans2(values, start, iter=50, minit="matrix", missing="warn")
    return sorted(float(middles[label]) for label in np.unique(labels))
