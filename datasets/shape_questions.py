"""Questions about generated scenes, with answers (``shape_scenes.py``): whether, how many, which colour, where.

Whoever doesn't see the picture shall fail. Yes and no are equally frequent, whatever is asked for; large numbers are
asked for more often than chance would; no colour and no side is more frequent than another. What is asked after by its
kind or colour is there once, so that each question has one answer.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import permutations, product
from typing import NamedTuple

import numpy as np

from .shape_language import plural, side_of_picture, side_of_shape
from .shape_layout import SHAPE_COLORS, SHAPE_KINDS
from .shape_scenes import EMPTY_ONE_IN, Scene, SceneShape

_WHETHER = ("is there a {}?", "can you see a {}?", "does the picture show a {}?")
_HOW_MANY = ("how many {} are there?", "how many {} can you see?", "what is the number of {}?")
_COLOR = ("what colour is the {}?", "which colour does the {} have?")
_WHERE = ("where is the {}?", "in which part of the picture is the {}?")
_WHERE_TO = "where is the {} relative to the {}?"
_RELATIONS = {"left": "left", "right": "right", "top": "above", "bottom": "below"}

_COUNTED = 2
"""Questions for a number, of a scene with shapes."""


class Asked(NamedTuple):
    """A question and the one answer to it."""

    question: str
    answer: str


def ask(scene: Scene, rng: np.random.Generator) -> list[Asked]:
    """Return questions in any order, no two the same: 3 to 7, or 2 about an empty scene."""
    if not scene.shapes:
        subject = _pick(rng, _subjects(int(rng.integers(3))))
        counted = _pick(rng, list(_counted(scene.shapes)))
        return [Asked(_pick(rng, _WHETHER).format(subject), "no"), Asked(_pick(rng, _HOW_MANY).format(counted), "0")]
    asked = [*_ask_whether(scene.shapes, rng), *_ask_how_many(scene.shapes, rng)]
    asked += [*_ask_color(scene, rng), *_ask_where(scene, rng)]
    return [asked[place] for place in rng.permutation(len(asked)).tolist()]


def _pick(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def _subjects(form: int) -> list[str]:
    """Return all that can be asked for in one of three forms: kinds, colours, both."""
    if form == 0:
        return list(SHAPE_KINDS)
    if form == 1:
        return [f"{color} shape" for color in SHAPE_COLORS]
    return [f"{color} {kind}" for color, kind in product(SHAPE_COLORS, SHAPE_KINDS)]


def _words(shape: SceneShape) -> tuple[str, str, str]:
    """Return what a shape is called in each form, the shortest first."""
    return shape.kind, f"{shape.color} shape", f"{shape.color} {shape.kind}"


def _ask_whether(shapes: Sequence[SceneShape], rng: np.random.Generator) -> Iterator[Asked]:
    """Yield a question with yes and mostly one with no, of a form that has both: so the form tells nothing."""
    choices = []
    for form in range(3):
        there = sorted({_words(shape)[form] for shape in shapes})
        absent = [subject for subject in _subjects(form) if subject not in there]
        if absent:
            choices.append((there, absent))
    there, absent = choices[int(rng.integers(len(choices)))]
    yield Asked(_pick(rng, _WHETHER).format(_pick(rng, there)), "yes")
    if rng.random() >= 1 / (EMPTY_ONE_IN - 1):  # as many are left out as empty scenes have
        yield Asked(_pick(rng, _WHETHER).format(_pick(rng, absent)), "no")


def _counted(shapes: Sequence[SceneShape]) -> dict[str, int]:
    """Return the number of shapes of each kind, each colour, and of all."""
    kinds, colors = Counter(shape.kind for shape in shapes), Counter(shape.color for shape in shapes)
    counts = {plural(kind): kinds[kind] for kind in SHAPE_KINDS}
    counts |= {f"{color} shapes": colors[color] for color in SHAPE_COLORS}
    return counts | {"shapes": len(shapes)}


def _ask_how_many(shapes: Sequence[SceneShape], rng: np.random.Generator) -> Iterator[Asked]:
    """Yield questions for numbers that differ, the larger ones more often than chance would."""
    subjects: dict[int, list[str]] = {}
    for subject, number in _counted(shapes).items():
        subjects.setdefault(number, []).append(subject)
    numbers = sorted(subjects)
    weights = np.array([1.0 + number for number in numbers])
    chosen = rng.choice(numbers, min(_COUNTED, len(numbers)), replace=False, p=weights / weights.sum())
    for number in chosen.tolist():
        yield Asked(_pick(rng, _HOW_MANY).format(_pick(rng, subjects[number])), str(number))


def _ask_color(scene: Scene, rng: np.random.Generator) -> Iterator[Asked]:
    kinds = Counter(shape.kind for shape in scene.shapes)
    single = [shape for shape in scene.shapes if kinds[shape.kind] == 1]
    if single:
        shape = single[int(rng.integers(len(single)))]
        yield Asked(_pick(rng, _COLOR).format(shape.kind), shape.color)
    elif scene.main is not None:
        yield Asked(_pick(rng, _COLOR).format("largest shape"), scene.main.color)


def _ask_where(scene: Scene, rng: np.random.Generator) -> Iterator[Asked]:
    """Yield a question for the side of the picture, and one for the side of another shape, where they are clear."""
    called = list(_call(scene.shapes))
    sides = [(words, side) for shape, words in called if (side := side_of_picture(shape, scene.size))]
    if sides:
        words, side = sides[int(rng.integers(len(sides)))]
        yield Asked(_pick(rng, _WHERE).format(words), side)
    pairs = [
        (words, other_words, side)
        for (shape, words), (other, other_words) in permutations(called, 2)
        if (side := side_of_shape(shape, other, scene.size))
    ]
    if pairs:
        words, other_words, side = pairs[int(rng.integers(len(pairs)))]
        yield Asked(_WHERE_TO.format(words, other_words), _RELATIONS[side])


def _call(shapes: Sequence[SceneShape]) -> Iterator[tuple[SceneShape, str]]:
    """Yield the shapes that are the only ones of some name, with the shortest such name."""
    counts = Counter(words for shape in shapes for words in _words(shape))
    for shape in shapes:
        single = [words for words in _words(shape) if counts[words] == 1]
        if single:
            yield shape, single[0]
