"""Boxes and words drawn into pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

PICTURES = "pictures"
"""The folder of drawn pictures in an output folder."""

Color = tuple[int, int, int]

BRIGHT: Color = (255, 210, 0)
#: Weights of red, green and blue in brightness (ITU-R BT.601), and the brightness above which black is read better.
_BRIGHTNESS, _LIGHT = (0.299, 0.587, 0.114), 120
#: Pictures whose longer side is below this are enlarged by a whole number, or nothing could be read in them.
_SMALLEST_SIDE = 256


@dataclass(frozen=True)
class Mark:
    """A box with a line of text.

    Attributes:
        box: ``xmin``, ``ymin``, ``xmax``, ``ymax`` in pixels of the picture.
        text: Stands above the box, or inside where there is no room.
        color: Of both.
    """

    box: Mapping[str, float]
    text: str
    color: Color = BRIGHT


def draw(picture: Image.Image, marks: Sequence[Mark]) -> Image.Image:
    """Return a copy of an RGB picture with marks in it, the first on top; small pictures are enlarged."""
    factor = max(1, -(-_SMALLEST_SIDE // max(picture.size)))
    large = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    canvas = ImageDraw.Draw(large)
    corners = [_draw_box(canvas, mark, factor, large.size) for mark in reversed(marks)]
    for mark, corner in zip(reversed(marks), corners, strict=True):
        _write(canvas, mark, corner, large.size)
    return large


def _draw_box(canvas: ImageDraw.ImageDraw, mark: Mark, factor: int, size: tuple[int, int]) -> tuple[int, int]:
    """Draw a box and return its top left corner in the enlarged picture."""
    line = max(2, round(max(size) / 200))
    left, top = round(mark.box["xmin"] * factor), round(mark.box["ymin"] * factor)
    # Pillow draws the last pixel too
    right = max(left + 1, round(mark.box["xmax"] * factor) - 1)
    bottom = max(top + 1, round(mark.box["ymax"] * factor) - 1)
    # dark lines on both sides of the bright one: it is seen on snow and at night
    canvas.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="black", width=line + 2)
    canvas.rectangle((left, top, right, bottom), outline=mark.color, width=line)
    return left, top


def _write(canvas: ImageDraw.ImageDraw, mark: Mark, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """Write black or white on the box's colour, all of it inside the picture if it is wide enough."""
    font = ImageFont.load_default(size=max(12, round(max(size) / 30)))
    left, top, right, bottom = canvas.textbbox((0, 0), mark.text, font=font)
    width, height = round(right - left) + 6, round(bottom - top) + 6
    x = max(0, min(corner[0], size[0] - width))
    y = corner[1] - height if corner[1] >= height else min(corner[1], size[1] - height)
    canvas.rectangle((x, y, x + width, y + height), fill=mark.color)
    bright = sum(weight * value for weight, value in zip(_BRIGHTNESS, mark.color, strict=True))
    ink = "black" if bright > _LIGHT else "white"
    canvas.text((x + 3 - left, y + 3 - top), mark.text, fill=ink, font=font)
