"""Masks as pictures: palette PNGs, and colours laid over the picture."""

import colorsys
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .run_folder import replacing

#: Steps around the colour circle that keep neighbours apart however many there are: the golden ratio's.
_TURN = 0.618034
_BLACK = (0, 0, 0)


def colors_of(classes: Sequence[str], background: str | None) -> list[tuple[int, int, int]]:
    """Return a colour a class: black for the background, well apart in hue and brightness for the others."""
    colors = []
    for place, name in enumerate(classes):
        hue = (place * _TURN + 0.55) % 1
        bright = (0.95, 0.75, 0.55)[place // 2 % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, bright)
        colors.append(_BLACK if name == background else (round(255 * red), round(255 * green), round(255 * blue)))
    return colors


def palette_picture(mask: NDArray[np.uint8], colors: Sequence[tuple[int, int, int]]) -> Image.Image:
    """Return class indices ``[h, w]`` as a palette picture, whose values are the indices."""
    picture = Image.fromarray(mask)
    picture.putpalette([value for color in colors for value in color])
    return picture


def overlay(
    picture: Image.Image, mask: NDArray[np.uint8], colors: Sequence[tuple[int, int, int]], *, opacity: float
) -> Image.Image:
    """Return a picture with the colours of its classes over it; black ones leave it as it is.

    Args:
        picture: RGB, of the mask's size.
        mask: Indices ``[h, w]``, or ``[K, h, w]`` of 0 and 1, where a later class lies over an earlier one.
        colors: A colour a class.
        opacity: Of the colours, 0 to 1.
    """
    below = np.asarray(picture.convert("RGB"), dtype=np.float32)
    table = np.array(colors, dtype=np.float32)
    shown = np.zeros_like(below)
    if mask.ndim == 2:
        shown = table[mask]
    else:
        for layer, color in zip(mask, table, strict=True):
            shown[layer > 0] = color
    share = opacity * shown.any(axis=-1, keepdims=True)
    mixed = below * (1 - share) + shown * share
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def write_legend(path: Path, classes: Sequence[str], colors: Sequence[tuple[int, int, int]]) -> None:
    """Write which value of the masks is which class, in which colour; ``class_lists.py`` reads it again."""
    rows: list[Any] = [["name", "value", "r", "g", "b"]]
    rows += [[name, place, *color] for place, (name, color) in enumerate(zip(classes, colors, strict=True))]
    with replacing(path) as stream:
        csv.writer(stream).writerows(rows)
