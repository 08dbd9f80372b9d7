"""Where the shapes of a generated scene stand (``shape_scenes.py``): which are there, how large, which hides which.

The rules that make a scene's annotations well-defined are kept here, by drawing a layout anew until it keeps them: no
shape is hidden by more than half, one is by far the largest to be seen, and two of one colour never touch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

#: The kinds of shapes, in the order of their categories.
SHAPE_KINDS = ("circle", "cross", "square", "star", "triangle")

#: The colours of shapes: name -> hue in degrees, and how far it may be off. What people call yellow is a narrow band.
SHAPE_COLORS: Mapping[str, tuple[float, float]] = {
    "red": (0, 9),
    "yellow": (52, 6),
    "green": (120, 14),
    "cyan": (182, 8),
    "blue": (228, 10),
    "purple": (288, 11),
}

MAX_SHAPES = 5
"""In a scene. Beyond that few layouts keep the rules."""

LEAD = 1.5
"""By how much the main shape's visible area is at least larger than any other's."""

_MAX_HIDDEN = 0.5
"""Of a shape: with more than half of it gone, what is left of a star may be a triangle."""

# Sizes are the square root of the area, as a share of the picture's side: so no kind is larger than others. With them
# the boxes of whole shapes measure 12% to 58% of the side; a star's is the widest.
_MAIN_SIZES = (0.19, 0.32)
_OTHER_SIZES = (0.11, 0.22)
_SMALLER = 1.3  # of the sides of shapes beside the main one; their areas then differ by 1.69 before any is hidden
_STRETCH = 0.1
_NEAR = 0.4
"""How often a shape is put to the side of another, so that they often overlap. By chance alone few would."""

_PLACES = 10
"""How many are tried for a shape before the whole layout is drawn anew."""

_TRIES = 40
"""How many layouts are tried before a shape is left out."""

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]


@dataclass(frozen=True)
class ShapeName:
    """What a shape is called.

    Attributes:
        kind: One of ``SHAPE_KINDS``.
        color: One of ``SHAPE_COLORS``.
    """

    kind: str
    color: str


@dataclass(frozen=True)
class Layout:
    """The shapes of a scene, from back to front.

    Attributes:
        names: What each is called.
        numbers: Of each pixel, uint8 ``[H, W]``: 0 for the ground, else 1 + the place of the shape in ``names``.
    """

    names: tuple[ShapeName, ...]
    numbers: Pixels


@dataclass(frozen=True)
class _Outline:
    """A shape's polygon, ``[K, 2]`` with x and y in pixels, and the circle around its centre that holds it."""

    points: Points
    center: tuple[float, float]
    reach: float


def _polygon(radii: Sequence[float], *, start: float = 0.0) -> Points:
    """Return corners at equal angles whose distances from the centre are ``radii`` in turn, around an area of 1."""
    angles = start + np.arange(len(radii)) * (2 * math.pi / len(radii))
    return _with_unit_area(np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.asarray(radii)[:, None])


def _with_unit_area(points: Points) -> Points:
    x, y = points.T
    area = abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2
    return points / math.sqrt(area)


def _cross() -> Points:
    arm = [(1, -1), (3, -1), (3, 1), (1, 1)]  # the one on the right; the others are it, turned
    turns = [[(x, y), (-y, x), (-x, -y), (y, -x)] for x, y in arm]
    return _with_unit_area(np.array([turns[corner][turn] for turn in range(4) for corner in (1, 2, 3)], dtype=float))


_FORMS = {
    "circle": _polygon([1] * 48),
    "cross": _cross(),
    "square": _polygon([1] * 4),
    "star": _polygon([1, 0.45] * 5),
    "triangle": _polygon([1] * 3),
}


def draw_names(rng: np.random.Generator) -> tuple[ShapeName, ...]:
    """Return 1 to 5 names, the main shape's first: kinds and colours are independent and each as frequent as others.

    Half of the scenes have at most two kinds, and half at most two colours: else hardly any would have three of one.
    """
    count = int(rng.integers(1, MAX_SHAPES + 1))
    kinds = _draw_words(rng, SHAPE_KINDS, count)
    colors = _draw_words(rng, tuple(SHAPE_COLORS), count)
    return tuple(ShapeName(kind, color) for kind, color in zip(kinds, colors, strict=True))


def _draw_words(rng: np.random.Generator, words: Sequence[str], count: int) -> list[str]:
    pool = list(words) if rng.random() < 0.5 else [str(word) for word in rng.choice(words, 2, replace=False)]
    return [pool[place] for place in rng.integers(len(pool), size=count)]


def lay_out(rng: np.random.Generator, names: Sequence[ShapeName], size: int) -> Layout:
    """Return a layout that keeps the rules.

    Args:
        rng: Where the places, sizes and angles come from.
        names: Of the shapes, the main one first. The last are left out where the scene would be too crowded.
        size: Height and width in pixels.
    """
    while names:
        for _ in range(_TRIES):
            outlines = _place(rng, names, size)
            if outlines is not None and (layout := _draw(rng, names, outlines, size)) is not None:
                return layout
        names = names[:-1]
    return Layout((), np.zeros((size, size), dtype=np.uint8))


def _place(rng: np.random.Generator, names: Sequence[ShapeName], size: int) -> list[_Outline] | None:
    """Return an outline for each name, or None if there was no place that doesn't touch another of the same colour."""
    main = rng.uniform(*_MAIN_SIZES)
    placed: list[_Outline] = []
    for place, name in enumerate(names):
        side = main if place == 0 else rng.uniform(_OTHER_SIZES[0], min(_OTHER_SIZES[1], main / _SMALLER))
        points = _turn(rng, _FORMS[name.kind] * (side * size))
        alike = [there for other, there in zip(names, placed, strict=False) if other.color == name.color]
        for _ in range(_PLACES):
            near = placed[int(rng.integers(place))] if place and rng.random() < _NEAR else None
            outline = _put(rng, points, near, size)
            if all(math.dist(outline.center, there.center) > outline.reach + there.reach for there in alike):
                placed.append(outline)
                break
        else:
            return None
    return placed


def _turn(rng: np.random.Generator, points: Points) -> Points:
    """Return the corners slightly stretched, and turned by any angle."""
    angle, stretch = rng.uniform(0, 2 * math.pi), 1 + rng.uniform(-_STRETCH, _STRETCH)
    sine, cosine = math.sin(angle), math.cos(angle)
    turned: Points = points @ np.array([[cosine * stretch, sine * stretch], [-sine / stretch, cosine / stretch]])
    return turned


def _put(rng: np.random.Generator, points: Points, near: _Outline | None, size: int) -> _Outline:
    """Return an outline that lies in the picture as a whole, with a pixel to spare: anywhere, or beside another."""
    reach = math.sqrt((points * points).sum(axis=1).max())
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    lowest, highest = (1 - left, 1 - top), (size - 2 - right, size - 2 - bottom)
    x, y = rng.uniform(lowest, highest).tolist()
    if near is not None:
        angle, distance = rng.uniform(0, 2 * math.pi), rng.uniform(0.4, 0.9) * (reach + near.reach)
        x = min(max(near.center[0] + distance * math.cos(angle), lowest[0]), highest[0])
        y = min(max(near.center[1] + distance * math.sin(angle), lowest[1]), highest[1])
    return _Outline(points + np.array([x, y]), (x, y), reach)


def _draw(
    rng: np.random.Generator, names: Sequence[ShapeName], outlines: Sequence[_Outline], size: int
) -> Layout | None:
    """Return the shapes drawn over each other in any order, or None if that breaks a rule."""
    order = [int(place) for place in rng.permutation(len(names))]
    image = Image.new("L", (size, size))
    draw = ImageDraw.Draw(image)
    whole = []
    for number, place in enumerate(order, start=1):
        draw.polygon([(x, y) for x, y in outlines[place].points.tolist()], fill=number)
        whole.append(image.histogram()[number])
    numbers = np.asarray(image)
    seen = image.histogram()[1 : len(order) + 1]
    if any(there < (1 - _MAX_HIDDEN) * full for there, full in zip(seen, whole, strict=True)):
        return None
    main = seen[order.index(0)]
    if any(main < LEAD * there for there, place in zip(seen, order, strict=True) if place):
        return None
    return Layout(tuple(names[place] for place in order), numbers)
