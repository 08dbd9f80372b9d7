"""Cutting regions out of a pyramid: RoIAlign (He 2017, section 3), each region out of the level that suits its size."""

from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from .head import Maps, Pyramid

#: Points a side that a cell of a region is the mean of.
_POINTS = 2


class RegionPool(MultiScaleRoIAlign):  # type: ignore[misc]  # torchvision has no types
    """Torchvision's, which where nothing is trained takes an eighth of the time on a CPU.

    Torchvision reads its points channel by channel. Here a cell is a weighted sum of rows, one a map's cell with all
    channels side by side, as the channels-last memory format has them; and all levels and pictures are one table.
    Cells are the same up to rounding.

    Args:
        pyramid: Regions come from all levels but those above the trunk's.
        cells: Of a region a side.
    """

    def __init__(self, pyramid: Pyramid, cells: int) -> None:
        """See the class."""
        levels = list(pyramid.specs)[: len(pyramid.levels)]
        super().__init__(levels, output_size=cells, sampling_ratio=_POINTS)
        # Torchvision guesses the strides from the first batch's pictures, and wrongly where they fill little of the
        # canvas; ours are known.
        strides = [pyramid.specs[level].stride for level in levels]
        self.scales = [1 / stride for stride in strides]
        # Lin 2017, equation 1: a region of 224 pixels a side, ImageNet's, is cut out of the level of stride 16
        self.map_levels = initLevelMapper(*(stride.bit_length() - 1 for stride in (strides[0], strides[-1])))
        self._cells = cells

    def forward(self, x: Maps, boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Return the regions, ``[K, C, cells, cells]``.

        Args:
            x: The maps by level, float32 ``[B, C, h, w]``.
            boxes: Of each picture ``[M, 4]`` on the canvas: left, top, right, bottom.
            image_shapes: Not looked at: the strides are known.
        """
        maps = [x[name] for name in self.featmap_names]
        if self.training or torch.is_grad_enabled() or maps[0].device.type != "cpu" or not sum(map(len, boxes)):
            found: Tensor = super().forward(x, boxes, image_shapes)
            return found
        return self._sum_rows(maps, boxes)

    def _sum_rows(self, maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
        heights, widths = ([each.shape[side] for each in maps] for side in (-2, -1))
        starts = [0, *accumulate(len(each) * each.shape[-2] * each.shape[-1] for each in maps)]
        levels = self.map_levels(boxes) if len(maps) > 1 else torch.zeros(sum(map(len, boxes)), dtype=torch.int64)
        picture = torch.repeat_interleave(torch.arange(len(boxes)), torch.tensor([len(each) for each in boxes]))
        scaled = torch.cat(boxes) * torch.tensor(self.scales)[levels, None]
        height, width = torch.tensor(heights)[levels], torch.tensor(widths)[levels]
        rows, of_rows = self._neighbours(scaled[:, 1], scaled[:, 3], height)
        columns, of_columns = self._neighbours(scaled[:, 0], scaled[:, 2], width)
        first = torch.tensor(starts)[levels] + picture * height * width
        places = (rows * width[:, None, None])[:, :, None, :, None] + columns[:, None, :, None, :]
        places += first[:, None, None, None, None]
        weights = of_rows[:, :, None, :, None] * of_columns[:, None, :, None, :]
        each = (-1, (2 * _POINTS) ** 2)
        table = torch.cat([level.permute(0, 2, 3, 1).flatten(0, 2) for level in maps])
        found = embedding_bag(places.view(each), table, per_sample_weights=weights.view(each), mode="sum")
        return found.view(len(levels), self._cells, self._cells, -1).permute(0, 3, 1, 2)

    def _neighbours(self, low: Tensor, high: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """Return along one axis the map's cells around each point, and their weights: both ``[K, cells, 2 * points]``.

        A point up to one cell outside counts as one on the border, others count nothing; regions are one cell at least.

        Args:
            low: Where the regions begin, in cells of the map, ``[K]``.
            high: Where they end.
            size: Cells of their map.
        """
        middles = torch.arange(self._cells)[:, None] + (torch.arange(_POINTS) + 0.5) / _POINTS
        points = low[:, None, None] + middles / self._cells * (high - low).clamp(min=1)[:, None, None]
        last = (size - 1)[:, None, None]
        counts = (points >= -1) & (points <= size[:, None, None])
        points = points.clamp(min=0)
        before = points.long().clamp(max=last)
        after = (before + 1).clamp(max=last)
        share = (points - before).clamp(max=1) * counts / _POINTS
        weights = torch.stack([counts / _POINTS - share, share], dim=-1)
        return torch.stack([before, after], dim=-1).flatten(2), weights.flatten(2)
