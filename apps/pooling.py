"""Averages over the part of a map that is picture."""

import torch
from torch import Tensor

from ..datasets import Context


def pool_valid(maps: Tensor, context: Context, grid: int) -> Tensor:
    """Return maps averaged into ``grid`` x ``grid`` equal parts of the picture, whatever is padded around it.

    Each part is the exact mean over its area, cells at its border counting with the share of them that lies inside. A
    map of fewer cells is repeated, as torch's adaptive pooling does; unlike that it works on a picture that fills no
    whole number of cells, and its gradient is deterministic on a GPU.

    Args:
        maps: float ``[B, C, h, w]``, which span the canvas from edge to edge.
        context: Says how much of the canvas is picture.
        grid: Parts a side.

    Returns:
        float ``[B, C, grid, grid]``.
    """
    shares = valid_shares(context).to(maps.device)
    rows = _overlaps(shares[:, 0], maps.shape[-2], grid).to(maps.dtype)
    columns = _overlaps(shares[:, 1], maps.shape[-1], grid).to(maps.dtype)
    return torch.einsum("bchw,bih,bjw->bcij", maps, rows, columns)


def valid_shares(context: Context) -> Tensor:
    """Return float32 ``[B, 2]``: the shares of the canvas's height and width that are picture."""
    canvas = torch.tensor(context.canvas, device=context.valid_sizes.device)
    return context.valid_sizes / canvas


def _overlaps(shares: Tensor, cells: int, grid: int) -> Tensor:
    """Return how much each of the cells counts for each part along one axis, ``[B, grid, cells]``; rows add up to 1.

    Args:
        shares: ``[B]``: how much of the axis is picture.
        cells: Of the map.
        grid: Parts.
    """
    edges = shares[:, None] * cells * torch.arange(grid + 1, device=shares.device) / grid
    starts = torch.arange(cells, device=shares.device)
    lower = torch.maximum(edges[:, :-1, None], starts)
    upper = torch.minimum(edges[:, 1:, None], starts + 1)
    inside = (upper - lower).clamp(min=0)
    return inside / inside.sum(dim=-1, keepdim=True)
