"""Average precision of weighted images: how many of the detections above a score are right, at every recall.

Detections of a class stand in the order of their scores. An image that is drawn twice counts as if each of its
detections stood there twice in a row, which is what a second copy of it would give, but for detections of one class
that are tied in one image. Only the ends of runs of right detections are looked at: within a run the precision rises,
so no other place can be the best of those with at least some recall.

Counts are whole numbers in int64: NumPy adds those up four times as fast as floating-point ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..intervals import Weights

#: How many numbers a block of samples has: it and what is made of it stay in a processor's cache.
_NUMBERS_AT_ONCE = 1 << 17

Places = NDArray[np.intp]


@dataclass(frozen=True)
class Runs:
    """Where right detections stand, among L in the order of their scores.

    Attributes:
        starts: ``[J]``: the place of the first of each run.
        stops: ``[J]``: the place behind the last.
        aside: Places of those that are neither right nor wrong.
        aside_before: ``[J]``: how many of these stand before each of ``stops``.
    """

    starts: Places
    stops: Places
    aside: Places
    aside_before: Places

    @classmethod
    def find(cls, right: NDArray[np.bool_], ignored: NDArray[np.bool_]) -> "Runs":
        """Return the runs of detections, ``[L]`` each: which are right, and which are neither right nor wrong."""
        edges = np.diff(right.astype(np.int8), prepend=0, append=0)
        stops, aside = np.flatnonzero(edges == -1), np.flatnonzero(ignored)
        return cls(np.flatnonzero(edges == 1), stops, aside, np.searchsorted(aside, stops))

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.stops)


@dataclass(frozen=True)
class Curve:
    """How right detections are up to the end of each of J runs of right ones.

    Attributes:
        right: int64 ``[R, J]``: how many are right up to there.
        precision: float64 ``[R, J]``: the highest precision from there on.
    """

    right: NDArray[np.int64]
    precision: NDArray[np.float64]

    def interpolated(self, truths: NDArray[np.int64], intervals: int) -> NDArray[np.float64]:
        """Return the mean, ``[R]``, of the highest precisions at recalls of at least 0, 1 / intervals, ..., 1.

        The recalls asked for are multiples of ``1.0 / intervals`` in float64, as NumPy's ``linspace`` and ``arange``
        have them, so that equality with a recall is decided as in the reference implementations.

        Args:
            truths: int64 ``[R]``: how many objects there are, at least 1.
            intervals: 100 for COCO, 10 for VOC 2007.
        """
        recall = self.right / truths[:, None]
        nearest = recall * intervals
        np.rint(nearest, out=nearest)
        # how many of the recalls asked for have been reached; the nearest one itself is compared exactly
        reached = nearest + (nearest * (1 / intervals) <= recall)
        return _sum_steps(self.precision, reached) / (intervals + 1)

    def area(self, truths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the area under the curve of highest precisions, ``[R]``; ``truths`` as above."""
        return _sum_steps(self.precision, self.right) / truths


def _sum_steps(values: NDArray[np.float64], reached: NDArray[np.number]) -> NDArray[np.float64]:
    """Return the sum over j of ``values[j] * (reached[j] - reached[j - 1])``, ``[R]``."""
    total: NDArray[np.float64] = np.einsum("rj,rj->r", values[:, :-1] - values[:, 1:], reached[:, :-1])
    return total + values[:, -1] * reached[:, -1]


class Tally:
    """Weighted counts of detections in their order, from which curves come.

    Args:
        weights: int64 ``[R, L]``: how often each detection counts, in each of R samples.
    """

    def __init__(self, weights: Weights) -> None:
        """See the class."""
        self.weights = weights
        self.counts = _count(weights)

    def curve(self, runs: Runs) -> Curve:
        """Return the curve of detections of which at least one is right."""
        seen = _columns(self.counts, runs.stops)
        right = np.cumsum(seen - _columns(self.counts, runs.starts), axis=1)
        if len(runs.aside):
            seen -= _columns(_count(_columns(self.weights, runs.aside)), runs.aside_before)
        precision = right / np.maximum(seen, 1, out=seen)
        # floating-point numbers from 0 on are ordered as their bits are, and those are compared four times as fast
        highest = np.maximum.accumulate(precision.view(np.int64)[:, ::-1], axis=1)[:, ::-1]
        return Curve(right, highest.view(np.float64))


def _columns(array: NDArray[np.int64], places: Places) -> NDArray[np.int64]:
    """Return some columns of an array; unchecked, as NumPy is faster then."""
    return array.take(places, axis=1, mode="clip")


def _count(weights: Weights) -> NDArray[np.int64]:
    """Return ``[R, L + 1]``: the sum of the first 0, 1, ..., L weights."""
    counts = np.zeros((weights.shape[0], weights.shape[1] + 1), dtype=np.int64)
    np.cumsum(weights, axis=1, out=counts[:, 1:])
    return counts


def tallies(weights: Weights, images: Places) -> Iterator[tuple[slice, Tally]]:
    """Return the tallies of detections, for some of the samples at a time, with which ones they are.

    Args:
        weights: ``[R, N]``: how often each image counts.
        images: ``[L]``: the image of each detection.
    """
    at_once = max(1, _NUMBERS_AT_ONCE // max(1, len(images)))
    for start in range(0, len(weights), at_once):
        samples = slice(start, min(start + at_once, len(weights)))
        yield samples, Tally(_columns(weights[samples], images))


def sort_by_class(labels: NDArray[np.int32], scores: NDArray[np.float32]) -> dict[int, Places]:
    """Return for each class that has any detections their places, the best first, of equal scores the earlier first.

    Args:
        labels: ``[L]``: the classes.
        scores: ``[L]``.
    """
    if not len(labels):
        return {}
    order = np.lexsort((-scores, labels))
    bounds = np.flatnonzero(np.diff(labels[order])) + 1
    return {int(labels[part[0]]): part for part in np.split(order, bounds)}


def rank_in_image(images: Places, labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the place of each detection among those of the same image and class, ``[L]``, from 0.

    Args:
        images: ``[L]``: the image of each detection; within one the best come first.
        labels: ``[L]``: the classes.
    """
    order = np.lexsort((labels, images))
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (np.diff(images[order]) != 0) | (np.diff(labels[order]) != 0)
    counted = np.arange(len(order))
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = counted - np.maximum.accumulate(np.where(is_first, counted, 0))
    return ranks
