"""The feature pyramid: maps of several strides, all of one width, each knowing what the deeper ones know."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import (
    ExtraFPNBlock,
    FeaturePyramidNetwork,
    LastLevelMaxPool,
    LastLevelP6P7,
)

from .resampling import resample
from .spec import FeatureSpec

ExtraLevels = Literal["none", "pool", "convolutions"]


class FeaturePyramid(nn.Module):
    """Torchvision's feature pyramid network on the maps of a trunk (Lin 2017, Feature Pyramid Networks).

    Specs in, specs out: to what stands on it, it is a trunk. Level ``pK`` has stride ``2**K``, as ``cK`` has.

    Args:
        specs: Of the trunk's levels, at least those that are read.
        levels: What it reads, shallow to deep without a gap.
        width: Channels of each of its maps; 256 in the paper.
        extra: Maps above the deepest: ``pool``, one, every second cell of it (for Faster R-CNN); ``convolutions``, two,
            by strided convolutions of the first of them (for RetinaNet and FCOS).
    """

    specs: Mapping[str, FeatureSpec]

    def __init__(
        self, specs: Mapping[str, FeatureSpec], *, levels: Sequence[str], width: int = 256, extra: ExtraLevels = "none"
    ) -> None:
        """See the class."""
        super().__init__()
        self.levels = tuple(levels)
        self._read = {level: specs[level] for level in levels}
        self.fpn = FeaturePyramidNetwork(
            [specs[level].channels for level in levels], width, extra_blocks=_extra_blocks(extra, width)
        )
        powers = [int(level.removeprefix("c")) for level in levels]
        powers += range(powers[-1] + 1, powers[-1] + 1 + {"none": 0, "pool": 1, "convolutions": 2}[extra])
        self.specs = {f"p{power}": FeatureSpec(width, 2**power) for power in powers}

    def forward(self, features: Mapping[str, Tensor], canvas: tuple[int, int]) -> "OrderedDict[str, Tensor]":
        """Return the maps of the pyramid, each ``[B, width, ceil(H / 2**K), ceil(W / 2**K)]``, shallow to deep.

        Args:
            features: Maps of the trunk.
            canvas: Height and width of the pictures, in pixels.
        """
        maps = self.fpn(OrderedDict(resample(features, self._read, self.levels, canvas)))
        return OrderedDict(zip(self.specs, maps.values(), strict=True))


def _extra_blocks(extra: ExtraLevels, width: int) -> ExtraFPNBlock | None:
    if extra == "none":
        return None
    return LastLevelMaxPool() if extra == "pool" else LastLevelP6P7(width, width)
