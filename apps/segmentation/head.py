"""The head of segmentation: a decoder on the trunk's maps, a class for each pixel."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.models.segmentation.fcn import FCNHead

from ...datasets import Context
from ..task import Head
from ..views import View
from .decoders import Decoder
from .losses import MaskLoss
from .readout import Readout, full_masks, logits_of, probabilities


class TrainingOutput(NamedTuple):
    """What the head gives in training where it has an auxiliary head; both ``[B, K', H, W]``."""

    logits: Tensor
    auxiliary: Tensor


Output = Tensor | TrainingOutput | list[Tensor]
"""Logits ``[B, K', H, W]`` on the canvas; of pictures that were read in windows a list of ``[K', h, w]``, as large as
the pictures."""


class SegmentationHead(Head):
    """Segmentation from the maps of a trunk.

    Args:
        decoder: From ``build_decoder``.
        classes: The class names, in the order of mask values.
        readout: How classes come from the logits.
        criterion: The training loss; nothing for a head that is only used.
        auxiliary: The level that the auxiliary head reads, with its channels; nothing for none.
    """

    def __init__(
        self,
        decoder: Decoder,
        classes: Sequence[str],
        *,
        readout: Readout,
        num_outputs: int,
        criterion: MaskLoss | None = None,
        auxiliary: tuple[str, int] | None = None,
    ) -> None:
        """See the class."""
        super().__init__()
        self.classes = tuple(classes)
        self.readout: Readout = readout
        self.criterion = criterion or MaskLoss(readout)
        self.decoder = decoder
        self.auxiliary_level = auxiliary[0] if auxiliary else None
        self.auxiliary = FCNHead(auxiliary[1], num_outputs) if auxiliary else None
        extra = () if auxiliary is None or auxiliary[0] in decoder.levels else (auxiliary[0],)
        self.levels = (*decoder.levels, *extra)

    def forward(self, features: Mapping[str, Tensor], context: Context) -> Output:
        """Return logits on the canvas."""
        logits: Tensor = self.decoder(features, context.canvas)
        if self.auxiliary is None or self.auxiliary_level is None or not self.training:
            return logits
        small = self.auxiliary(features[self.auxiliary_level])
        return TrainingOutput(logits, interpolate(small, size=context.canvas, mode="bilinear", align_corners=False))

    def loss(self, output: Output, context: Context, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the parts of the loss of the output with ``targets["mask"]``; see ``MaskLoss``.

        Of pictures that were read in windows it is the mean over pictures.
        """
        if isinstance(output, list):
            parts = [
                self.criterion(plane[None].float(), mask[None].to(plane.device))
                for plane, mask in zip(output, targets["mask"], strict=True)
            ]
            return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
        if isinstance(output, TrainingOutput):
            auxiliary = self.criterion(output.auxiliary.float(), targets["mask"])
            weighted = [getattr(self.criterion.options, name) * part for name, part in auxiliary.items()]
            return {**self.criterion(output.logits.float(), targets["mask"]), "auxiliary": torch.stack(weighted).sum()}
        found: dict[str, Tensor] = self.criterion(output.float(), targets["mask"])
        return found

    def join_windows(self, outputs: Iterable[Tensor], context: Context) -> list[Tensor]:
        """Return for each picture logits ``[K', h, w]`` as large as it is, from those of windows ``[T, K', H, W]``.

        Where windows overlap their probabilities are averaged, each weighted by how far from its window's border it is:
        the trunk sees little of what is around a border.
        """
        assert context.windows is not None
        windows = context.windows.tolist()
        planes: dict[int, tuple[Tensor, Tensor]] = {}
        row = 0
        for found in (probabilities(output, self.readout) for output in outputs):
            weight = _tent(*context.canvas).to(found)
            for one in found:
                place, top, left = windows[row]
                if place not in planes:
                    size = _plane_size(windows, place, context.canvas)
                    planes[place] = found.new_zeros((found.shape[1], *size)), found.new_zeros(size)
                total, weights = planes[place]
                area = (slice(top, top + context.canvas[0]), slice(left, left + context.canvas[1]))
                total[:, area[0], area[1]] += weight * one
                weights[area] += weight
                row += 1
        joined = [(planes[place][0] / planes[place][1]) for place in sorted(planes)]
        sizes = context.valid_sizes.tolist()
        return [
            logits_of(plane[:, :height, :width], self.readout)
            for plane, (height, width) in zip(joined, sizes, strict=True)
        ]

    def merge_views(self, outputs: Sequence[Tensor], views: Sequence[View], context: Context) -> Tensor:
        """Return logits ``[B, K', H, W]`` of the mean probabilities, on the canvas of the batch."""
        found = []
        for output, view in zip(outputs, views, strict=True):
            straight = output.flip(-1) if view.is_mirrored else output
            chances = probabilities(straight, self.readout)
            if tuple(chances.shape[-2:]) != context.canvas:
                chances = interpolate(chances, size=context.canvas, mode="bilinear", align_corners=False)
            found.append(chances)
        return logits_of(torch.stack(found).mean(dim=0), self.readout)

    def predict(self, output: Output, context: Context) -> list[dict[str, Any]]:
        """Return for each picture the share of its pixels of each class that occurs, the largest first, and its mask.

        ``mask`` is a uint8 array ``[h, w]``, or ``[K, h, w]`` for sigmoid.
        """
        assert not isinstance(output, TrainingOutput)
        rows = []
        for mask in full_masks(output, context, self.readout):
            holds = mask if self.readout == "sigmoid" else torch.stack([mask == k for k in range(len(self.classes))])
            shares = holds.float().mean(dim=(1, 2)).tolist()
            order = sorted(range(len(shares)), key=lambda place: -shares[place])
            found = [{"class": self.classes[k], "share": round(shares[k], 6)} for k in order if shares[k]]
            rows.append({"classes": found, "mask": mask.cpu().numpy()})
        return rows


def _plane_size(windows: Sequence[Sequence[int]], place: int, canvas: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width that the windows of a picture cover."""
    corners = [window[1:] for window in windows if window[0] == place]
    return max(top for top, _ in corners) + canvas[0], max(left for _, left in corners) + canvas[1]


def _tent(height: int, width: int) -> Tensor:
    """Return weights ``[H, W]`` that fall linearly from the middle to the border, where they are small but not 0."""
    down, across = (1 - (2 * (torch.arange(side) + 0.5) / side - 1).abs() * 0.98 for side in (height, width))
    return down[:, None] * across
