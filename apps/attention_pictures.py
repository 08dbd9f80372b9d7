"""Pictures of where a network looked: one panel a word, or one a question."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..datasets import EvalTransform
from .drawing import picture_font
from .inputs import InputRecipe

#: The longer side of a panel's picture, the space around panels, and how many stand side by side.
_SIDE, _MARGIN, _COLUMNS = 240, 8, 5
_FONT_SIZE = 14
#: What is left of the brightness where nothing was looked at.
_DIMMEST = 0.15

Weights = NDArray[np.floating]


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet.

    Attributes:
        title: Stands above it.
        weights: ``[h, w]``, at least 0: how much was looked where, over the whole picture; None: as it is.
    """

    title: str
    weights: Weights | None = None


def picture_part(weights: Weights, inputs: InputRecipe, size: tuple[int, int]) -> Weights:
    """Return what of maps over the canvas lies over the picture, where it was padded.

    Args:
        weights: ``[..., h, w]``, over the canvas.
        inputs: How the picture came onto the canvas.
        size: Its height and width.
    """
    transform = inputs.transform()
    if not isinstance(transform, EvalTransform) or transform.mode != "pad":
        return weights
    shown = transform.resized(*size)
    cells = [
        max(1, -(-side * cells // whole))
        for side, cells, whole in zip(shown, weights.shape[-2:], inputs.canvas, strict=True)
    ]
    return weights[..., : cells[0], : cells[1]]


def attention_sheet(picture: Image.Image, panels: Sequence[Panel], *, heading: str) -> Image.Image:
    """Return an RGB picture's panels side by side under a heading; where nothing was looked it is dark.

    Each panel is as bright as its own largest weight allows, so panels don't tell how sure the network was.

    Args:
        picture: RGB.
        panels: At least one.
        heading: Stands above all of them; long ones are broken.
    """
    font = picture_font(_FONT_SIZE)
    scale = _SIDE / max(picture.size)
    small = picture.resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.LANCZOS
    )
    columns = min(_COLUMNS, len(panels))
    cell_width = max(small.width, _SIDE // 2) + _MARGIN
    width = columns * cell_width + _MARGIN
    lines = _broken(heading, width - 2 * _MARGIN, font)
    titles = [_broken(panel.title, cell_width - _MARGIN, font) for panel in panels]
    line = round(1.3 * _FONT_SIZE)
    top = _MARGIN + line * len(lines)
    cell_height = small.height + line * max(map(len, titles)) + 2 * _MARGIN
    rows = -(-len(panels) // columns)
    sheet = Image.new("RGB", (width, top + rows * cell_height + _MARGIN), "white")
    canvas = ImageDraw.Draw(sheet)
    _write(canvas, lines, (_MARGIN, _MARGIN // 2), line, font)
    for place, (panel, words) in enumerate(zip(panels, titles, strict=True)):
        left, upper = _MARGIN + place % columns * cell_width, top + place // columns * cell_height
        _write(canvas, words, (left, upper), line, font)
        shown = small if panel.weights is None else _lit(small, panel.weights)
        sheet.paste(shown, (left, upper + cell_height - small.height - 2 * _MARGIN + _MARGIN))
    return sheet


def _lit(picture: Image.Image, weights: Weights) -> Image.Image:
    """Return the picture, bright where the weights are high."""
    highest = float(weights.max())
    shares = np.asarray(weights, dtype=np.float32) / highest if highest > 0 else np.ones_like(weights, dtype=np.float32)
    light = Image.fromarray(shares).resize(picture.size, Image.Resampling.BICUBIC)
    factor = _DIMMEST + (1 - _DIMMEST) * np.clip(np.asarray(light), 0, 1)[..., None]
    return Image.fromarray((np.asarray(picture, dtype=np.float32) * factor).astype(np.uint8))


def _broken(text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    """Return a text in lines that fit into so many pixels."""
    letters = max(8, int(width / (font.getlength("abcdefghijklmnopqrstuvwxyz ") / 27)))
    return wrap(text, letters) or [""]


def _write(
    canvas: ImageDraw.ImageDraw,
    lines: Sequence[str],
    corner: tuple[int, int],
    line: int,
    font: ImageFont.FreeTypeFont,
) -> None:
    for place, text in enumerate(lines):
        canvas.text((corner[0], corner[1] + place * line), text, fill="black", font=font)
