"""Fully convolutional networks (Long, Shelhamer and Darrell, 2015)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FCN(nn.Module):
    """Class scores on maps, deep ones doubled and added to shallower ones: FCN-32s, 16s and 8s by the number of maps.

    Scores start at zero: the paper found nothing better for the deepest map (section 4.3), and for the others a net
    then starts with the predictions of the coarser one (section 4.2). Unlike there, no convolutions stand before the
    scores, since a trunk ends with its last map, and the maps are the trunk's last of each stride (VGG: the
    convolution before a pool for the one after it).

    Args:
        channels: Of the maps, shallow to deep.
        num_outputs: Channels of the scores.
        dropout: Probability of dropping a value of the deepest map, where the classifiers of the paper have theirs.
    """

    def __init__(self, channels: Sequence[int], num_outputs: int, *, dropout: float) -> None:
        """See the class."""
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.ModuleList(nn.Conv2d(each, num_outputs, kernel_size=1) for each in reversed(channels))
        self.doublings = nn.ModuleList(Doubling(num_outputs) for _ in channels[1:])
        for parameter in self.scores.parameters():
            nn.init.zeros_(parameter)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return scores ``[B, num_outputs, h, w]`` at the shallowest map that is read.

        Args:
            maps: ``[B, C, h, w]``, shallow to deep, each with half the cells a side of the one before; any that come
                before those of ``channels`` are left aside.
        """
        deepest, *skips = reversed(maps[-len(self.scores) :])
        score: Tensor = self.scores[0](self.dropout(deepest))
        for index, skip in enumerate(skips):
            score = self.doublings[index](score) + self.scores[index + 1](skip)
        return score


class Doubling(nn.Module):
    """A transposed convolution that starts as bilinear interpolation by 2, and is learned (section 4.3).

    The outer cells are repeated first: without that a border would fade towards zero.
    """

    def __init__(self, channels: int) -> None:
        """Make the kernel that interpolates each channel by itself."""
        super().__init__()
        self.convolution = nn.ConvTranspose2d(channels, channels, kernel_size=4, stride=2, padding=3, bias=False)
        line = torch.tensor([0.25, 0.75, 0.75, 0.25])
        with torch.no_grad():
            self.convolution.weight.copy_(torch.eye(channels)[:, :, None, None] * torch.outer(line, line))

    def forward(self, scores: Tensor) -> Tensor:
        """Return ``[B, C, 2h, 2w]`` of ``[B, C, h, w]``."""
        doubled: Tensor = self.convolution(F.pad(scores, (1, 1, 1, 1), mode="replicate"))
        return doubled
