"""Heads that give a class and a box."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss
from torchvision.ops import generalized_box_iou_loss

from ...datasets import Context
from ..classification.averaging import mean_softmax
from ..classification.losses import ClassLoss
from ..classification.readout import best_classes, probabilities, top_row
from ..outputs import plain_box
from ..pooling import pool_valid
from ..task import Head
from ..views import View
from .baselines import Shares
from .boxes import Output, class_boxes
from .options import HeadOptions

#: Where the smooth L1 loss turns from a square into a line. Fast R-CNN's 1 is for offsets that were brought to unit
#: variance (Girshick 2015, section 2.3); sides in shares of the picture vary about ten times less.
_BETA = 0.1


class LocalizationHead(Head):
    """What both heads share: logits are read as in classification, and each image gets a box.

    Args:
        level: What it reads.
        classes: The class names, in the order of the logits.
        criterion: The loss of the logits; nothing for a head that is only used.
    """

    def __init__(self, level: str, classes: Sequence[str], criterion: ClassLoss | None = None) -> None:
        """See the class."""
        super().__init__()
        self.levels = (level,)
        self.classes = tuple(classes)
        self.criterion = criterion or ClassLoss("softmax")

    def predict(self, output: Output, context: Context) -> list[dict[str, Any]]:
        """Return for each image the most probable class, its box in pixels of the file, and the five best classes.

        Where each class has a box of its own it stands in ``top`` too.
        """
        found, top = best_classes(probabilities(output["logits"], "softmax"))
        boxes = class_boxes(output, top, context).tolist()
        rows = []
        for indices, each, own in zip(top.tolist(), found.tolist(), boxes, strict=True):
            entries = top_row(indices, each, self.classes)
            if "maps" in output:
                entries = [{**entry, "box": plain_box(box)} for entry, box in zip(entries, own, strict=True)]
            rows.append(
                {
                    "predicted": entries[0]["class"],
                    "probability": entries[0]["probability"],
                    "box": plain_box(own[0]),
                    "top": entries,
                }
            )
        return rows

    def merge_views(self, outputs: Sequence[Output], views: Sequence[View], context: Context) -> Output:
        """Return the mean probabilities, and the mean of boxes or maps, those of mirror images mirrored back."""
        logits = mean_softmax([output["logits"] for output in outputs])
        places = [
            self.mirrored(output, context) if view.is_mirrored else output
            for output, view in zip(outputs, views, strict=True)
        ]
        key = "maps" if "maps" in outputs[0] else "boxes"
        return {**outputs[0], "logits": logits, key: torch.stack([output[key] for output in places]).mean(dim=0)}

    @abstractmethod
    def mirrored(self, output: Output, context: Context) -> Output:
        """Return the output with the places of the mirrored picture."""


class RegressionHead(LocalizationHead):
    """Learns the box from boxes: the map in a grid of cells, which keep positions, through a hidden layer.

    The class is read from the mean of the map, or the embedding, by a linear layer.

    Args:
        level: What it reads.
        in_channels: Of the level, a map or a vector.
        classes: The class names, in the order of the logits.
        options: Grid, widths, dropout.
        start: The box that it gives before it has learned anything; training moves it from there.
        criterion: The loss of the logits; nothing for a head that is only used.
    """

    def __init__(
        self,
        level: str,
        in_channels: int,
        classes: Sequence[str],
        options: HeadOptions,
        *,
        start: Shares = (0.25, 0.25, 0.75, 0.75),
        criterion: ClassLoss | None = None,
    ) -> None:
        """See the class."""
        super().__init__(level, classes, criterion)
        self.grid = options.grid
        self.classifier = nn.Linear(in_channels, len(self.classes))
        self.reduce: nn.Module | None = None
        if level != "embedding":
            self.reduce = nn.Sequential(nn.Conv2d(in_channels, options.width, 1), nn.ReLU())
        cells = in_channels if self.reduce is None else options.width * options.grid**2
        self.box = nn.Sequential(
            # maps of trunks differ in scale by a factor of a hundred; unnormalised, large ones saturate the sigmoid
            nn.LayerNorm(cells),
            nn.Linear(cells, options.hidden),
            nn.ReLU(),
            nn.Dropout(options.dropout),
            _last_layer(options.hidden, start),
        )

    def forward(self, features: Mapping[str, Tensor], context: Context) -> dict[str, Tensor]:
        """Return ``logits`` ``[B, K]`` and ``boxes`` float32 ``[B, 4]`` on the canvas."""
        level = features[self.levels[0]]
        if self.reduce is None:
            pooled = cells = level
        else:
            pooled = pool_valid(level, context, 1).flatten(1)
            cells = pool_valid(self.reduce(level), context, self.grid).flatten(1)
        middle, size = torch.sigmoid(self.box(cells).float()).chunk(2, dim=1)
        shares = torch.cat([middle - size / 2, middle + size / 2], dim=1)
        boxes = shares * _box_scale(context.valid_sizes)
        return {"logits": self.classifier(pooled), "boxes": boxes}

    def loss(self, output: Output, context: Context, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return ``classification``, and of the largest true box ``smooth_l1`` (the sum over its sides) and ``giou``.

        Both compare shares of the picture.
        """
        scale = _box_scale(context.valid_sizes)
        truths = torch.stack([boxes[0] for boxes in targets["boxes"]]) / scale
        found = output["boxes"] / scale
        distances = smooth_l1_loss(found, truths, beta=_BETA, reduction="none") / _BETA
        return {
            "classification": self.criterion(output["logits"].float(), targets["label"]),
            "smooth_l1": distances.sum(dim=1).mean(),
            "giou": generalized_box_iou_loss(found, truths, reduction="mean"),
        }

    def mirrored(self, output: Output, context: Context) -> Output:
        """Return the output with left and right of its boxes exchanged."""
        left, top, right, bottom = output["boxes"].unbind(dim=1)
        width = context.valid_sizes[:, 1]
        return {**output, "boxes": torch.stack([width - right, top, width - left, bottom], dim=1)}


class CamHead(LocalizationHead):
    """Learns labels only; where a class's activation map is bright is its box (Zhou 2016).

    A linear layer reads the mean of the map. Its weights for a class, times the map, say how much each cell speaks for
    that class (equations 1 and 2): the class activation map.

    Args:
        level: The map it reads.
        in_channels: Of that.
        classes: The class names, in the order of the logits.
        threshold: The share of a class map's maximum above which a cell belongs to the object.
        criterion: The loss of the logits; nothing for a head that is only used.
    """

    threshold: Tensor

    def __init__(
        self,
        level: str,
        in_channels: int,
        classes: Sequence[str],
        *,
        threshold: float = 0.2,
        criterion: ClassLoss | None = None,
    ) -> None:
        """See the class."""
        super().__init__(level, classes, criterion)
        self.classifier = nn.Linear(in_channels, len(self.classes))
        self.register_buffer("threshold", torch.tensor(threshold), persistent=False)

    def forward(self, features: Mapping[str, Tensor], context: Context) -> dict[str, Tensor]:
        """Return ``logits`` ``[B, K]``; in evaluation also ``maps`` ``[B, K, h, w]`` and the threshold."""
        level = features[self.levels[0]]
        logits = self.classifier(pool_valid(level, context, 1).flatten(1))
        if self.training:
            return {"logits": logits}
        maps = torch.einsum("kc,bchw->bkhw", self.classifier.weight, level).float()
        return {"logits": logits, "maps": maps, "threshold": self.threshold}

    def loss(self, output: Output, context: Context, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return ``classification``; boxes aren't looked at."""
        return {"classification": self.criterion(output["logits"].float(), targets["label"])}

    def mirrored(self, output: Output, context: Context) -> Output:
        """Return the output with left and right of its maps exchanged."""
        return {**output, "maps": output["maps"].flip(-1)}


def _last_layer(hidden: int, start: Shares) -> nn.Linear:
    """Return the layer that gives logits of centre and size, at first those of one box whatever it reads."""
    left, top, right, bottom = start
    layer = nn.Linear(hidden, 4)
    nn.init.zeros_(layer.weight)
    centre_and_size = torch.tensor([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
    with torch.no_grad():
        layer.bias.copy_(torch.logit(centre_and_size, eps=0.02))  # a sigmoid at its end hardly moves
    return layer


def _box_scale(valid_sizes: Tensor) -> Tensor:
    """Return float32 ``[B, 4]``, by which shares of the picture become ``xyxy`` on the canvas."""
    return valid_sizes.flip(-1).repeat(1, 2).float()
