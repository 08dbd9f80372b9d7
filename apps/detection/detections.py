"""What a detector found in a picture, in the pixels of its file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...datasets import Context
from ..outputs import plain_box
from .masks import Code, paste_masks


@dataclass(frozen=True)
class Detections:
    """What was found in one image, on the CPU.

    Attributes:
        boxes: float32 ``[N, 4]``, ``xyxy`` in pixels of the file, the upper bounds exclusive.
        scores: float32 ``[N]``, 0 to 1, descending.
        labels: int64 ``[N]``: the class's index, from 0.
        masks: float32 ``[N, m, m]`` where there are any: how likely each cell of a box belongs to the object.
        size: Height and width of the picture, where there are masks.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None = None
    size: tuple[int, int] = (0, 0)

    def select(self, places: Sequence[int] | NDArray[np.integer[Any]]) -> "Detections":
        """Return some of them, by their places."""
        chosen = torch.as_tensor(places)
        masks = None if self.masks is None else self.masks[chosen]
        return Detections(self.boxes[chosen], self.scores[chosen], self.labels[chosen], masks, self.size)

    def regions(self) -> list[Code]:
        """Return the pixels of each object, as COCO writes them; nothing where there are no masks."""
        return [] if self.masks is None else paste_masks(self.masks, self.boxes, self.size)

    def rows(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """Return a row an object, the surest first: plain values, bounds in hundredths of a pixel."""
        regions = None if self.masks is None else self.regions()
        return plain_objects(self.labels.tolist(), self.scores.tolist(), self.boxes.tolist(), classes, regions)


def detections_in_files(found: Sequence[Mapping[str, Tensor]], context: Context, *, first: int) -> list[Detections]:
    """Return what torchvision's post-processing found on the canvas, in pixels of the files.

    Args:
        found: For each image ``boxes`` ``[N, 4]`` on the canvas, ``scores`` and ``labels`` ``[N]``, perhaps ``masks``
            ``[N, 1, m, m]``.
        context: The batch's sizes.
        first: The label of the first class: 1 where 0 is the background.
    """
    scales = (context.original_sizes.cpu() / context.valid_sizes.cpu()).flip(-1).repeat(1, 2)
    largest = context.original_sizes.cpu().flip(-1).repeat(1, 2).float()
    rows = []
    for one, scale, most in zip(found, scales, largest, strict=True):
        order = torch.argsort(one["scores"].cpu(), descending=True, stable=True)
        boxes = torch.minimum((one["boxes"].float().cpu()[order] * scale).clamp(min=0), most)
        masks = one["masks"].float().cpu()[order, 0] if "masks" in one else None
        scores, labels = one["scores"].float().cpu()[order], one["labels"].cpu()[order] - first
        size = (int(most[1]), int(most[0]))
        rows.append(Detections(boxes, scores, labels, masks, size))
    return rows


def plain_objects(
    labels: Sequence[int],
    scores: Sequence[float],
    boxes: Sequence[Sequence[float]],
    classes: Sequence[str],
    regions: Sequence[Code] | None = None,
) -> list[dict[str, Any]]:
    """Return a row an object with its class, score and box, and its region as ``segmentation`` where there is one."""
    rows = [
        {"class": classes[label], "score": round(score, 6), "box": plain_box(box)}
        for label, score, box in zip(labels, scores, boxes, strict=True)
    ]
    if regions is None:
        return rows
    return [{**row, "segmentation": region} for row, region in zip(rows, regions, strict=True)]
