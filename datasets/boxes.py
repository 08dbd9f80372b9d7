"""Boxes: where an object is in a picture, as left, top, right, bottom in pixels of the upright picture."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

Box = tuple[float, float, float, float]


def box_fault(box: Sequence[float], where: str) -> str | None:
    """Return what is wrong with a box by itself, or None.

    Args:
        box: Left, top, right, bottom.
        where: Where it stands, for the sentence.
    """
    left, top, right, bottom = box
    if not all(map(math.isfinite, box)):
        return f"{where}: the box {_text(box)} has a bound that isn't a finite number."
    if right <= left or bottom <= top:
        return f"{where}: the box {_text(box)} has no area; xmax has to be above xmin, and ymax above ymin."
    return None


def outside_fault(box: Sequence[float], size: tuple[int, int], where: str) -> str | None:
    """Return that a box reaches out of its picture by more than a pixel, or None.

    A pixel is what counting from 1, or the last pixel as the bound, makes of a box that touches the border.

    Args:
        box: Left, top, right, bottom.
        size: Height and width of the upright picture.
        where: What is named in the sentence.
    """
    left, top, right, bottom = box
    height, width = size
    shows = right > 0 and bottom > 0 and left < width and top < height
    if shows and left >= -1 and top >= -1 and right <= width + 1 and bottom <= height + 1:
        return None
    turned = width != height and min(box) >= -1 and right <= height + 1 and bottom <= width + 1
    hint = " It would fit the picture as it is stored, before its EXIF rotation." if turned else ""
    return f"{where}: the box {_text(box)} reaches out of the picture of {width} x {height} pixels.{hint}"


def outside_share(box: Sequence[float], size: tuple[int, int]) -> float:
    """Return the share of a box's area that lies outside of its picture.

    Args:
        box: Left, top, right, bottom, with an area.
        size: Height and width of the upright picture.
    """
    left, top, right, bottom = box
    inside = max(0.0, min(right, size[1]) - max(left, 0.0)) * max(0.0, min(bottom, size[0]) - max(top, 0.0))
    return 1 - inside / ((right - left) * (bottom - top))


def boxes_fault(boxes: Iterable[Box], size: tuple[int, int], where: str) -> str | None:
    """Return what is wrong with the boxes of a picture, or None.

    Args:
        boxes: Left, top, right, bottom.
        size: Height and width of the upright picture.
        where: What is named in the sentence.
    """
    faults = (box_fault(box, where) or outside_fault(box, size, where) for box in boxes)
    return next((fault for fault in faults if fault), None)


def keep_sound(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """Return the boxes with an area, the largest first; where none has one all of them, and the picture is unusable."""
    sound = [box for box in boxes if box_fault(box, "") is None]
    return tuple(sorted(sound or boxes, key=lambda box: -(box[2] - box[0]) * (box[3] - box[1])))


def note_dropped(source: Path, found: int, kept: int) -> list[str]:
    """Return a note on boxes that were left out of pictures which have others."""
    dropped = found - kept
    return [f"{source}: {dropped} boxes without an area were left out; their pictures have others."] if dropped else []


def _text(box: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in box)
