"""Generated scenes: coloured shapes on textured grounds, each a function of a seed and its number alone.

``shape_layout.py`` says what stands where, ``shape_painting.py`` makes the pixels, ``shape_language.py`` and
``shape_questions.py`` the texts, and ``shapes.py`` writes a data set of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .shape_layout import Layout, draw_names, lay_out
from .shape_painting import paint

#: Of so many scenes in a row one is empty, whichever: so even few have one.
EMPTY_ONE_IN = 12


@dataclass(frozen=True)
class SceneShape:
    """A shape as it is seen.

    Attributes:
        kind: One of ``SHAPE_KINDS``.
        color: One of ``SHAPE_COLORS``.
        box: Left, top, width and height of the visible part in pixels.
        mask: The visible part, bool ``[H, W]``.
        area: Its pixels.
    """

    kind: str
    color: str
    box: tuple[int, int, int, int]
    mask: NDArray[np.bool_]
    area: int

    @property
    def center(self) -> tuple[float, float]:
        """The middle of the box, x and y."""
        left, top, width, height = self.box
        return left + width / 2, top + height / 2


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it.

    Attributes:
        picture: RGB, as high as it is wide.
        shapes: From back to front; none in an empty scene.
    """

    picture: Image.Image
    shapes: tuple[SceneShape, ...]

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return self.picture.width

    @property
    def main(self) -> SceneShape | None:
        """The shape with the largest visible area, by half at least; None in an empty scene."""
        return max(self.shapes, key=lambda shape: shape.area, default=None)


def draw_scene(*, seed: int, index: int, size: int) -> tuple[Scene, np.random.Generator]:
    """Return a scene, and the generator from which to draw what is said about it.

    Args:
        seed: 0 or more; other seeds have other scenes.
        index: The number of the scene, from 0.
        size: Height and width in pixels.
    """
    rng = np.random.default_rng((seed, index))
    names = () if _is_empty(seed, index) else draw_names(rng)
    layout = lay_out(rng, names, size)
    return Scene(paint(rng, layout), _see(layout)), rng


def _is_empty(seed: int, index: int) -> bool:
    block, place = divmod(index, EMPTY_ONE_IN)
    # three numbers: no scene's own generator starts from these
    return place == int(np.random.default_rng((seed, block, EMPTY_ONE_IN)).integers(EMPTY_ONE_IN))


def _see(layout: Layout) -> tuple[SceneShape, ...]:
    shapes = []
    for number, name in enumerate(layout.names, start=1):
        mask = layout.numbers == number
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        left, top = int(columns[0]), int(rows[0])
        box = (left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1)
        shapes.append(SceneShape(name.kind, name.color, box, mask, int(mask.sum())))
    return tuple(shapes)
