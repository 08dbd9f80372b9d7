"""Tensors of each image, in any number and of any shape, as a store keeps them beside the features of a shard."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor


def pack(rows: Sequence[Mapping[str, Tensor] | None]) -> dict[str, Tensor]:
    """Return the tensors of some images under names of their own.

    What all images have in one shape is one array ``[rows, ...]``, for a file with few tensors is read fast; else names
    begin with the image's place.

    Args:
        rows: Of each image its tensors by name; None of one that has none.
    """
    packed: dict[str, Tensor] = {}
    for name in dict.fromkeys(name for row in rows if row is not None for name in row):
        found = {place: row[name] for place, row in enumerate(rows) if row is not None and name in row}
        shapes = {tensor.shape for tensor in found.values()}
        if len(found) == len(rows) and len(shapes) == 1:
            packed[name] = torch.stack(list(found.values()))
        else:  # clones, because some are views of one another
            packed |= {f"{place}/{name}": tensor.clone() for place, tensor in found.items()}
    return packed


class PackedNames:
    """Which of the names that :func:`pack` gave are of which image."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take all names of a shard."""
        self._shared: list[str] = []
        self._own: dict[int, list[tuple[str, str]]] = {}
        for name in names:
            place, slash, key = name.partition("/")
            if slash:
                self._own.setdefault(int(place), []).append((key, name))
            else:
                self._shared.append(name)

    @property
    def shared(self) -> Sequence[str]:
        """The tensors of which each image has a row."""
        return self._shared

    def own(self, row: int) -> Sequence[tuple[str, str]]:
        """Return the image's name and the packed name of each tensor that is an image's alone."""
        return self._own.get(row, ())
