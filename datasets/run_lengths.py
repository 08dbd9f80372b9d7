"""COCO's run-length codes of regions: column by column, how many pixels lie outside and inside in turn."""

from collections.abc import Mapping, Sequence
from typing import Any


def check_runs(runs: Sequence[int], size: tuple[int, int], shape: Mapping[str, Any]) -> None:
    """Refuse a run-length code that isn't one of the picture; pycocotools fills missing runs with what it finds.

    Args:
        runs: Lengths, of pixels outside and inside in turn.
        size: Height and width of the picture.
        shape: The code, which may say the ``size`` it is for.

    Raises:
        ValueError: Saying what is wrong.
    """
    if list(shape.get("size", size)) != list(size):
        raise ValueError(f"it is one of {shape['size']} pixels, height and width, the picture has {list(size)}")
    if any(not isinstance(run, int) or run < 0 for run in runs) or sum(runs) != size[0] * size[1]:
        raise ValueError(f"its runs are not whole numbers that add up to {size[0]} x {size[1]} pixels")


def decode_runs(code: str) -> list[int]:
    """Return the runs of a compressed code, as ``rleFrString`` of pycocotools does."""
    runs: list[int] = []
    value = shift = 0
    for letter in code:
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (1 << shift) if bits & 16 else 0
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
