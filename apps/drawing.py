"""Boxes and words drawn into pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

PICTURES = "pictures"
"""The folder of drawn pictures in an output folder."""

Color = tuple[int, int, int]

BRIGHT: Color = (255, 210, 0)
#: Weights of red, green and blue in brightness (ITU-R BT.601), and the brightness above which black is read better.
_BRIGHTNESS, _LIGHT = (0.299, 0.587, 0.114), 120
#: Pictures whose longer side is below this are enlarged by a whole number, or nothing could be read in them.
_SMALLEST_SIDE = 256


def picture_font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font of words in pictures: Latin, Greek, Cyrillic, Arabic; it comes with matplotlib.

    Pillow's own has hardly more than English. What neither has, such as Chinese, is drawn as boxes.
    """
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


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


_Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the enlarged picture."""


def draw(picture: Image.Image, marks: Sequence[Mark]) -> Image.Image:
    """Return a copy of an RGB picture with marks in it, the first on top; small pictures are enlarged.

    Words stand where they hide no other words, if there is such a place at their box.
    """
    factor = max(1, -(-_SMALLEST_SIDE // max(picture.size)))
    large = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    canvas = ImageDraw.Draw(large)
    font = picture_font(max(12, round(max(large.size) / 32)))
    for mark in reversed(marks):
        _draw_box(canvas, _scaled(mark, factor), mark.color, large.size)
    labels: list[_Rectangle] = []
    for mark in marks:
        left, top, right, bottom = canvas.textbbox((0, 0), mark.text, font=font)
        words = (round(right - left) + 6, round(bottom - top) + 6)
        labels.append(_find_room(_scaled(mark, factor), words, labels, large.size))
    for mark, label in reversed(list(zip(marks, labels, strict=True))):
        _write(canvas, mark, label, font)
    return large


def _scaled(mark: Mark, factor: int) -> _Rectangle:
    """Return a mark's box in the enlarged picture; Pillow draws the last pixel too."""
    left, top = round(mark.box["xmin"] * factor), round(mark.box["ymin"] * factor)
    right = max(left + 1, round(mark.box["xmax"] * factor) - 1)
    return left, top, right, max(top + 1, round(mark.box["ymax"] * factor) - 1)


def _draw_box(canvas: ImageDraw.ImageDraw, box: _Rectangle, color: Color, size: tuple[int, int]) -> None:
    left, top, right, bottom = box
    line = max(2, round(max(size) / 200))
    # dark lines on both sides of the bright one: it is seen on snow and at night
    canvas.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="black", width=line + 2)
    canvas.rectangle(box, outline=color, width=line)


def _find_room(
    box: _Rectangle, words: tuple[int, int], taken: Sequence[_Rectangle], size: tuple[int, int]
) -> _Rectangle:
    """Return where words of this width and height stand: above the box, in it or below it, all inside the picture.

    Where all three places hide other words it is the first of them.
    """
    left, top, right, bottom = box
    width, height = words
    lefts = [max(0, min(x, size[0] - width)) for x in (left, right - width)]
    tops = [top - height] if top >= height else []
    tops += [min(top, size[1] - height)]
    tops += [bottom] if bottom + height <= size[1] else []
    places = [(x, y, x + width, y + height) for y in tops for x in lefts]
    return next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])


def _overlap(one: _Rectangle, other: _Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _write(
    canvas: ImageDraw.ImageDraw, mark: Mark, label: _Rectangle, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    """Write black or white on the box's colour."""
    left, top, _, _ = canvas.textbbox((0, 0), mark.text, font=font)
    canvas.rectangle(label, fill=mark.color)
    bright = sum(weight * value for weight, value in zip(_BRIGHTNESS, mark.color, strict=True))
    ink = "black" if bright > _LIGHT else "white"
    canvas.text((label[0] + 3 - left, label[1] + 3 - top), mark.text, fill=ink, font=font)
