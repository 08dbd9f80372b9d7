"""Captions of generated scenes (``shape_scenes.py``): true sentences from a small grammar.

They name kinds, colours and numbers, which shape is the largest, at which side of the picture one is, and how two stand
to each other. Sides are those of the middles of boxes, and are named only where they are clear: a shape that is above
another and just as far to its left is said to be neither.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import permutations

import numpy as np

from .shape_scenes import Scene, SceneShape

_NUMBERS = ("no", "one", "two", "three", "four", "five")

_FRAMES = (
    "{}",
    "a picture of {}",
    "a scene with {}",
    "{} on a patterned ground",
    "here we see {}",
)

_EMPTY = (
    "an empty scene",
    "a patterned ground without any shape",
    "there are no shapes",
    "nothing but a pattern",
    "a picture of no shapes at all",
    "no shape can be seen here",
)

_PLACES = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}
_RELATIONS = {"left": "to the left of", "right": "to the right of", "top": "above", "bottom": "below"}

_LEAST_OFF_CENTER = 0.12
_LEAST_APART = 0.15
"""Of the picture's side; and a direction counts if it is so many times the other one:"""
_CLEARLY = 1.5

_LEAST_CAPTIONS, _MOST_CAPTIONS = 2, 5


def side_of_picture(shape: SceneShape, size: int) -> str | None:
    """Return the side where a shape stands: left, right, top or bottom; None near the middle and towards corners."""
    x, y = shape.center
    return _direction(x - size / 2, y - size / 2, _LEAST_OFF_CENTER * size)


def side_of_shape(shape: SceneShape, other: SceneShape, size: int) -> str | None:
    """Return on which side of another a shape stands: left, right, top or bottom; None where no side is clear."""
    (x, y), (other_x, other_y) = shape.center, other.center
    return _direction(x - other_x, y - other_y, _LEAST_APART * size)


def _direction(x: float, y: float, least: float) -> str | None:
    if abs(x) >= max(least, _CLEARLY * abs(y)):
        return "left" if x < 0 else "right"
    if abs(y) >= max(least, _CLEARLY * abs(x)):
        return "top" if y < 0 else "bottom"
    return None


def describe(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Return 2 to 5 captions, no two the same; one lists all that is there."""
    count = int(rng.integers(_LEAST_CAPTIONS, _MOST_CAPTIONS + 1))
    if not scene.shapes:
        return [_EMPTY[place] for place in rng.permutation(len(_EMPTY))[:count].tolist()]
    captions = dict.fromkeys([_frame(rng, _list_shapes(scene.shapes, rng))])
    others = [*_main(scene, rng), *_totals(scene.shapes, rng), *_places(scene), *_relations(scene, rng)]
    others += [_list_kinds(scene.shapes, rng), _list_shapes(scene.shapes, rng)]
    for place in rng.permutation(len(others)).tolist():
        if len(captions) < count:
            captions[_frame(rng, others[place])] = None
    while len(captions) < _LEAST_CAPTIONS:
        captions[_frame(rng, _list_shapes(scene.shapes, rng))] = None
    order = list(captions)
    return [order[place] for place in rng.permutation(len(order)).tolist()]


def _frame(rng: np.random.Generator, phrase: str) -> str:
    """Return a phrase of things in a sentence; one that is a sentence already stays."""
    if " is " in phrase or " are " in phrase:
        return phrase
    return _FRAMES[int(rng.integers(len(_FRAMES)))].format(phrase)


def plural(kind: str) -> str:
    """Return the word for several of a kind."""
    return kind + ("es" if kind.endswith("s") else "s")


def _count(number: int, words: str) -> str:
    """Return ``a red circle`` or ``two red circles``."""
    return f"a {words}" if number == 1 else f"{_NUMBERS[number]} {plural(words)}"


def _join(phrases: Sequence[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _list(rng: np.random.Generator, names: Sequence[str]) -> str:
    counts = list(Counter(names).items())
    return _join([_count(counts[place][1], counts[place][0]) for place in rng.permutation(len(counts)).tolist()])


def _name(shape: SceneShape) -> str:
    return f"{shape.color} {shape.kind}"


def _list_shapes(shapes: Sequence[SceneShape], rng: np.random.Generator) -> str:
    return _list(rng, [_name(shape) for shape in shapes])


def _list_kinds(shapes: Sequence[SceneShape], rng: np.random.Generator) -> str:
    return _list(rng, [shape.kind for shape in shapes])


def _main(scene: Scene, rng: np.random.Generator) -> list[str]:
    main = scene.main
    if main is None:
        return []
    if len(scene.shapes) == 1:
        return [f"a single {_name(main)}", f"one {_name(main)} and nothing else"]
    name = _name(main)
    one = [f"the largest shape is a {name}", f"a {name} is larger than the rest", f"a {name} is the largest of all"]
    return [one[int(rng.integers(len(one)))]]


def _totals(shapes: Sequence[SceneShape], rng: np.random.Generator) -> list[str]:
    if len(shapes) == 1:
        return []
    total = _NUMBERS[len(shapes)]
    color, number = max(Counter(shape.color for shape in shapes).items(), key=lambda item: item[1])
    if number == len(shapes):
        return [f"{total} shapes, all of them {color}"]
    if number > 1:
        return [f"{total} shapes, {_NUMBERS[number]} of them {color}"]
    return [(f"{total} shapes of different colours", f"there are {total} shapes")[int(rng.integers(2))]]


def _places(scene: Scene) -> list[str]:
    sides = [(shape, side_of_picture(shape, scene.size)) for shape in scene.shapes]
    return [f"a {_name(shape)} {_PLACES[side]}" for shape, side in sides if side]


def _relations(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Return how some pairs of shapes with different names stand to each other."""
    pairs = [
        f"a {_name(one)} {_RELATIONS[side]} a {_name(other)}"
        for one, other in permutations(scene.shapes, 2)
        if _name(one) != _name(other) and (side := side_of_shape(one, other, scene.size))
    ]
    return [pairs[place] for place in rng.permutation(len(pairs))[:2].tolist()]
