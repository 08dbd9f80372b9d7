"""Tensors of each image, in any number and of any shape, as a store keeps them beside the features of a shard."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def pack(rows: Sequence[Mapping[str, Tensor] | None]) -> dict[str, Tensor]:
    """Return the tensors of some images under names of their own.

    What all images have in one shape is one array ``[rows, ...]``, for a file with few tensors is read fast.

    Args:
        rows: Of each image its tensors by name; None of one that has none.
    """
    packed: dict[str, Tensor] = {}
    for name in dict.fromkeys(name for row in rows if row is not None for name in row):
        found = {place: row[name] for place, row in enumerate(rows) if row is not None and name in row}
        shapes = {tensor.shape for tensor in found.values()}
        if len(found) == len(rows) and len(shapes) == 1:
            packed[name] = torch.stack(list(found.values()))
        else:
            packed |= {
                f"{place}/{name}": tensor.clone() for place, tensor in found.items()
            }  # some are views of one another
    return packed


def unpack(packed: Mapping[str, Tensor], rows: int) -> list[dict[str, Tensor]]:
    """Return what :func:`pack` was given; an empty dict for an image that has none.

    Args:
        packed: Its arrays.
        rows: Of how many images.
    """
    found: list[dict[str, Tensor]] = [{} for _ in range(rows)]
    for name, tensor in packed.items():
        place, slash, key = name.partition("/")
        if slash:
            found[int(place)][key] = tensor
        else:
            for row, own in zip(found, tensor, strict=True):
                row[name] = own
    return found
