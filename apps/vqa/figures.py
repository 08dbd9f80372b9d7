"""Figures over questions whose intervals come from resampling images: one pass serves all of them.

The questions about an image share its difficulties, so that questions can't be drawn one by one.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..intervals import Difference, Estimate, Weights, paired_difference, percentile_interval, resamples, values_of

#: So many types of questions are shown, the most frequent ones; VQA has 65.
_MOST_TYPES = 65
_KINDS = ("answer_type", "question_type")


@dataclass(frozen=True)
class TypeSums:
    """Of the questions of one type.

    Attributes:
        name: Such as ``answer type yes/no``.
        questions: int64 ``[N]``: how many each image has.
        accuracy: float64 ``[N]``: the sum of their accuracies.
    """

    name: str
    questions: NDArray[np.int64]
    accuracy: NDArray[np.float64]


@dataclass(frozen=True)
class Survey:
    """What a pass over all questions tells.

    Attributes:
        types: Of answers, then of questions, the most frequent first.
        distinct: How many answers the model gives.
        answered: How many questions have an answer.
        unanswered: How many have none and count for nothing.
        out_of_reach: How many have answers of which the model knows none.
    """

    types: list[TypeSums]
    distinct: int
    answered: int
    unanswered: int
    out_of_reach: int


def survey(asked: NDArray[Any]) -> Survey:
    """Return what is told by the questions of each image, ``[N]`` texts as the evaluator keeps them."""
    said, tallies = set(), Counter[str]()
    found: defaultdict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for place, text in enumerate(asked):
        for row in json.loads(text):
            said.add(row["answer"])
            tallies["out_of_reach"] += row["out_of_reach"]
            if row["accuracy"] is None:
                tallies["unanswered"] += 1
                continue
            tallies["answered"] += 1
            for kind in _KINDS:
                if row[kind]:
                    found[kind, row[kind]].append((place, row["accuracy"]))
    types = [_sum_type(kind, name, found[kind, name], len(asked)) for kind in _KINDS for name in _names(found, kind)]
    return Survey(types, len(said), tallies["answered"], tallies["unanswered"], tallies["out_of_reach"])


def _names(found: dict[tuple[str, str], list[tuple[int, float]]], kind: str) -> list[str]:
    names = [name for each, name in found if each == kind]
    return sorted(names, key=lambda name: (-len(found[kind, name]), name))[:_MOST_TYPES]


def _sum_type(kind: str, name: str, rows: list[tuple[int, float]], images: int) -> TypeSums:
    places = np.array([place for place, _ in rows], dtype=np.intp)
    accuracies = np.array([accuracy for _, accuracy in rows], dtype=np.float64)
    return TypeSums(
        f"{kind.replace('_', ' ')} {name}",
        np.bincount(places, minlength=images),
        np.bincount(places, weights=accuracies, minlength=images).astype(np.float64),
    )


@dataclass(frozen=True)
class Drawn:
    """Ratios of sums over images, by name: their values, and what samples of the images give.

    Attributes:
        values: float64 scalars.
        samples: float64 ``[R]`` each; NaN where a sample holds nothing to divide by.
    """

    values: dict[str, float]
    samples: dict[str, NDArray[np.float64]]

    def estimate(self, name: str) -> Estimate:
        """Return a ratio with its interval."""
        return percentile_interval(self.values[name], self.samples[name])

    def gain(self, name: str, over: str) -> Difference:
        """Return by how much one ratio is higher than another on the same images."""
        drawn = self.samples[name] - self.samples[over]
        return paired_difference(self.values[name] - self.values[over], drawn)


def draw_ratios(sums: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> Drawn:
    """Return ratios of sums over images with those of the samples that every bootstrap here takes.

    Args:
        sums: By name for each image what is added up above, and below; ``[N]`` each.
    """
    names = list(sums)
    above = np.stack([sums[name][0] for name in names], axis=1).astype(np.float64)
    below = np.stack([sums[name][1] for name in names], axis=1).astype(np.float64)

    def measure(weights: Weights) -> dict[str, NDArray[np.float64]]:
        drawn = weights.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (drawn @ above) / (drawn @ below)
        return dict(zip(names, found.T, strict=True))

    values = values_of(measure, len(above))
    parts = [measure(weights) for weights in resamples(len(above), seed=0)]
    return Drawn(values, {name: np.concatenate([part[name] for part in parts]) for name in values})
