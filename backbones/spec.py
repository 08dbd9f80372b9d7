"""What a trunk promises about its maps: level names, channels, strides."""

from collections.abc import Sequence
from dataclasses import dataclass

LEVELS = ("c0", "c1", "c2", "c3", "c4", "c5")
"""``cK`` is the last map before the next reduction; its nominal stride is ``2**K`` input pixels."""

PREPOOL = "prepool"
"""The map whose mean the ImageNet classifier reads: ``c5``, or what a last convolution makes of it in EfficientNets."""


@dataclass(frozen=True)
class FeatureSpec:
    """One map of a trunk.

    Attributes:
        channels: Number of channels.
        stride: Input pixels per cell, as measured. A dilated ``c5`` keeps its name and says 8 or 16.
        is_exact: Whether the map has ``canvas / stride`` cells on every canvas whose sides are multiples of 32.
            LeNet, AlexNet and Inception have unpadded layers and say False: resample their maps before a dense head.
    """

    channels: int
    stride: int
    is_exact: bool = True


def level_of_stride(stride: float) -> str | None:
    """Return the level whose nominal stride this is, or None if no level has it."""
    return next((level for power, level in enumerate(LEVELS) if stride == 2**power), None)


def sorted_levels(levels: Sequence[str]) -> list[str]:
    """Return the ``cK`` among ``levels``, shallow to deep."""
    return [level for level in LEVELS if level in levels]
