"""A trunk's maps as a sequence of cells, for heads that look around in a picture."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..datasets import Context


class Cells(NamedTuple):
    """The cells of the maps that a head reads, level by level and row by row."""

    values: Tensor
    """float ``[B, S, width]``."""
    is_picture: Tensor
    """bool ``[B, S]``: whether any of the cell is picture; padding isn't to be looked at."""


class Grid(nn.Module):
    """Brings maps to one width and puts their cells in a row, each with where it lies.

    A cell is normalised (layer norm) before it is projected, because trunks differ in the size of their numbers by
    orders of magnitude. Where it lies is told by sines and cosines of its place (Vaswani 2017, section 3.5), half of
    them for the row, half for the column, in shares of the canvas, so that maps of several levels agree. Cells of
    padding come out as zeros, whatever lies there. A vector, such as the embedding, is a map of one cell.

    Args:
        levels: The maps it reads.
        in_channels: Of each.
        width: Of a cell that comes out; a multiple of 4.
        dropout: The probability of dropping a value of a cell.
    """

    def __init__(self, levels: Sequence[str], in_channels: Sequence[int], width: int, *, dropout: float = 0.0) -> None:
        """See the class."""
        super().__init__()
        self.levels = tuple(levels)
        self.width = width
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for channels in in_channels)
        self.projections = nn.ModuleList(nn.Linear(channels, width) for channels in in_channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Mapping[str, Tensor], context: Context) -> Cells:
        """Return the cells of a batch's maps ``[B, C, h, w]``, or of its vectors ``[B, C]``."""
        values, masks = [], []
        for level, norm, projection in zip(self.levels, self.norms, self.projections, strict=True):
            cells = features[level].flatten(2) if features[level].dim() > 2 else features[level][..., None]
            height, width = _shape(features[level])
            places = _places(height, width, self.width).to(cells.device)
            masks.append(_is_picture(context, height, width))
            found = projection(norm(cells.transpose(1, 2)))
            values.append((found + places).masked_fill(~masks[-1][..., None], 0))
        return Cells(self.dropout(torch.cat(values, dim=1)), torch.cat(masks, dim=1))


def cell_counts(features: Mapping[str, Tensor], levels: Sequence[str]) -> list[tuple[int, int]]:
    """Return the height and width of each level's map, by which cells are put back into maps."""
    return [_shape(features[level]) for level in levels]


def _shape(level: Tensor) -> tuple[int, int]:
    """Return the height and width of a map; a vector is one cell."""
    return (level.shape[-2], level.shape[-1]) if level.dim() > 2 else (1, 1)


def mean_cell(cells: Cells) -> Tensor:
    """Return the mean over the cells that are picture, ``[B, width]``."""
    weights = cells.is_picture[..., None].to(cells.values.dtype)
    return (cells.values * weights).sum(dim=1) / weights.sum(dim=1)


def _is_picture(context: Context, height: int, width: int) -> Tensor:
    """Return which cells of a map show any of the picture, bool ``[B, height * width]``."""
    sizes = context.valid_sizes
    rows = torch.arange(height, device=sizes.device) * context.canvas[0] < sizes[:, :1] * height
    columns = torch.arange(width, device=sizes.device) * context.canvas[1] < sizes[:, 1:] * width
    return (rows[:, :, None] & columns[:, None, :]).flatten(1)


def _places(height: int, width: int, channels: int) -> Tensor:
    """Return what tells each cell's place, float32 ``[height * width, channels]``."""
    quarter = channels // 4
    rates = torch.exp(torch.arange(quarter) * (-math.log(1000.0) / quarter)) * 100
    rows = ((torch.arange(height) + 0.5) / height)[:, None] * rates
    columns = ((torch.arange(width) + 0.5) / width)[:, None] * rates
    of_rows = torch.cat([rows.sin(), rows.cos()], dim=1)[:, None, :].expand(-1, width, -1)
    of_columns = torch.cat([columns.sin(), columns.cos()], dim=1)[None, :, :].expand(height, -1, -1)
    return torch.cat([of_rows, of_columns], dim=2).reshape(height * width, 4 * quarter)
