"""Pictures with what was found in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ...datasets import Record, read_image
from ..outputs import picture_stems, save_png

PICTURES = "pictures"
_COLOUR = (255, 210, 0)
#: Pictures whose longer side is below this are enlarged by a whole number, or nothing could be read in them.
_SMALLEST_SIDE = 256


def draw_predictions(folder: Path, records: Sequence[Record], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write each picture with its box, class and probability as PNG; see ``picture_stems``.

    Args:
        folder: Where to.
        records: The pictures.
        rows: The head's predictions, one a record; those with an error are passed over.
    """
    stems = picture_stems([record.name for record in records])
    for record, row in zip(records, rows, strict=True):
        if "error" not in row:
            text = f"{row['predicted']} {row['probability']:.2f}"
            save_png(draw(read_image(record.path), row["box"], text), folder / f"{stems[record.name]}.png")


def draw(picture: Image.Image, box: Mapping[str, float], text: str) -> Image.Image:
    """Return a copy of a picture with a box and a line of text in it.

    Args:
        picture: RGB.
        box: ``xmin``, ``ymin``, ``xmax``, ``ymax`` in its pixels.
        text: Stands above the box, or inside where there is no room.
    """
    factor = max(1, -(-_SMALLEST_SIDE // max(picture.size)))
    large = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    canvas = ImageDraw.Draw(large)
    line = max(2, round(max(large.size) / 200))
    left, top = round(box["xmin"] * factor), round(box["ymin"] * factor)
    # Pillow draws the last pixel too
    right = max(left + 1, round(box["xmax"] * factor) - 1)
    bottom = max(top + 1, round(box["ymax"] * factor) - 1)
    # dark lines on both sides of the bright one: it is seen on snow and at night
    canvas.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="black", width=line + 2)
    canvas.rectangle((left, top, right, bottom), outline=_COLOUR, width=line)
    _write(canvas, text, (left, top), large.size)
    return large


def _write(canvas: ImageDraw.ImageDraw, text: str, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """Write black on the box's colour, all of it inside the picture if it is wide enough."""
    font = ImageFont.load_default(size=max(12, round(max(size) / 30)))
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    width, height = round(right - left) + 6, round(bottom - top) + 6
    x = max(0, min(corner[0], size[0] - width))
    y = corner[1] - height if corner[1] >= height else min(corner[1], size[1] - height)
    canvas.rectangle((x, y, x + width, y + height), fill=_COLOUR)
    canvas.text((x + 3 - left, y + 3 - top), text, fill="black", font=font)
