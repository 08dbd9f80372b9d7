"""COCO's and Pascal VOC's figures of every class, of weighted images.

A class without an object that is to be found has no figure (NaN), and doesn't count in means over classes.
"""

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from ..evaluated_images import Rows
from ..intervals import Weights
from .average_precision import Places, Runs, rank_in_image, sort_by_class, tallies
from .matching import AREAS, IOU_THRESHOLDS, MAX_PER_CLASS, NEITHER, RIGHT, unpack

_ALL, _SMALL, _MEDIUM, _LARGE = range(len(AREAS))
_EVERY = range(len(IOU_THRESHOLDS))

#: Average precisions: the range of sizes, and the thresholds that each is the mean over.
PRECISIONS: Mapping[str, tuple[int, Collection[int]]] = {
    "ap": (_ALL, _EVERY),
    "ap50": (_ALL, (0,)),
    "ap75": (_ALL, (5,)),
    "ap_small": (_SMALL, _EVERY),
    "ap_medium": (_MEDIUM, _EVERY),
    "ap_large": (_LARGE, _EVERY),
}
#: Average recalls: the range of sizes, and how many detections of an image and class take part.
RECALLS: Mapping[str, tuple[int, int]] = {
    "ar1": (_ALL, 1),
    "ar10": (_ALL, 10),
    "ar100": (_ALL, MAX_PER_CLASS),
    "ar_small": (_SMALL, MAX_PER_CLASS),
    "ar_medium": (_MEDIUM, MAX_PER_CLASS),
    "ar_large": (_LARGE, MAX_PER_CLASS),
}
VOC = ("voc07_ap50", "voc12_ap50")
#: How many parts the recalls at which precisions are read cut 0..1 into.
_COCO_INTERVALS, _VOC_INTERVALS = 100, 10

#: More of them would only wait for each other: half of the work with many classes is Python's.
_MOST_THREADS = 4

#: The range of sizes that each figure is about.
_SIZES = {name: area for name, (area, _) in (*PRECISIONS.items(), *RECALLS.items())} | dict.fromkeys(VOC, _ALL)

ByClass = dict[str, NDArray[np.float64]]
"""Name -> ``[R, K]`` figures; NaN where there is none."""


@dataclass(frozen=True)
class _Part:
    """Detections of one class that take part in some figures.

    Attributes:
        label: The class.
        area: The range of sizes.
        images: ``[L]``: the image of each, the best detection first.
        runs: By the threshold's place: where right detections stand; thresholds without any are missing.
        figures: Name -> the thresholds that it is the mean over.
    """

    label: int
    area: int
    images: Places
    runs: dict[int, Runs]
    figures: dict[str, Collection[int]]

    def add(self, weights: Weights, totals: NDArray[np.int64], found: ByClass) -> None:
        """Add the part's figures to the zeros in ``found``; arguments as in ``ClassFigures``."""
        counted = np.maximum(totals[self.area, :, self.label], 1)
        for samples, tally in tallies(weights, self.images):
            truths = counted[samples]
            for step, runs in self.runs.items():
                curve = tally.curve(runs)
                if not self.figures.keys().isdisjoint(PRECISIONS):
                    precision = curve.interpolated(truths, _COCO_INTERVALS)
                for name, steps in self.figures.items():
                    if name == "voc07_ap50":
                        found[name][samples, self.label] += curve.interpolated(truths, _VOC_INTERVALS)
                    elif name == "voc12_ap50":
                        found[name][samples, self.label] += curve.area(truths)
                    elif step in steps:
                        found[name][samples, self.label] += precision / len(steps)


class ClassFigures:
    """Some of every class's figures.

    Args:
        rows: The evaluator's, of N images.
        names: Which figures: of ``PRECISIONS``, ``RECALLS`` and ``VOC``.
    """

    def __init__(self, rows: Rows, names: Collection[str]) -> None:
        """See the class."""
        self.names = names
        self.truths = rows["truths"]
        self.images, places = np.nonzero(rows["label"] >= 0)
        self.labels = rows["label"][self.images, places]
        self.right, self.ignored, self.voc = (rows[key][self.images, places] for key in ("right", "ignored", "voc"))
        self.ranks = rank_in_image(self.images, self.labels)
        by_class = sort_by_class(self.labels, rows["score"][self.images, places])
        parts = (part for label, best_first in by_class.items() for part in self._prepare(label, best_first))
        self.parts = [part for part in parts if part.figures and part.runs]

    def _prepare(self, label: int, places: Places) -> Iterator[_Part]:
        """Return the parts of one class, whose detections have these places, the best first."""
        for area in range(len(AREAS)):
            wanted = {name: steps for name, (of, steps) in PRECISIONS.items() if of == area and name in self.names}
            right, ignored = (unpack(bits[places, area]) for bits in (self.right, self.ignored))
            kept = (self.ranks[places] < MAX_PER_CLASS) & ~ignored.all(axis=1)
            steps = sorted({step for steps in wanted.values() for step in steps})
            runs = {step: Runs.find(right[kept, step], ignored[kept, step]) for step in steps}
            yield _Part(label, area, self.images[places[kept]], _not_empty(runs), wanted)
        kept = self.voc[places] != NEITHER
        runs = {0: Runs.find(self.voc[places[kept]] == RIGHT, np.zeros(kept.sum(), dtype=bool))}
        wanted = {name: (0,) for name in VOC if name in self.names}
        yield _Part(label, _ALL, self.images[places[kept]], _not_empty(runs), wanted)

    def measure(self, weights: Weights) -> ByClass:
        """Return the figures for weights ``[R, N]``; samples are shared out among some of PyTorch's threads."""
        threads = min(torch.get_num_threads(), _MOST_THREADS, len(weights))
        if threads == 1:
            return self._measure(weights)
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(self._measure, np.array_split(weights, threads)))
        return {name: np.concatenate([each[name] for each in found]) for name in self.names}

    def _measure(self, weights: Weights) -> ByClass:
        totals = self._count_truths(weights)
        found = {name: np.where(totals[_SIZES[name]] > 0, 0.0, np.nan) for name in self.names}
        for part in self.parts:
            part.add(weights, totals, found)
        for name in RECALLS.keys() & found.keys():
            found[name] += self._count_recalled(weights, *RECALLS[name]) / np.maximum(totals[_SIZES[name]], 1)
        return found

    def _count_truths(self, weights: Weights) -> NDArray[np.int64]:
        """Return how many objects are to be found, ``[A, R, K]``."""
        images, classes, areas = self.truths.shape
        totals = _multiply(csr_matrix(self.truths.reshape(images, -1)), weights).reshape(-1, classes, areas)
        return np.ascontiguousarray(totals.transpose(2, 0, 1), dtype=np.int64)

    def _count_recalled(self, weights: Weights, area: int, most: int) -> NDArray[np.float64]:
        """Return how many objects are found, ``[R, K]``, as a mean over the thresholds."""
        part = self.ranks < most
        hits = np.bitwise_count(self.right[part, area]) / len(_EVERY)
        shape = self.truths.shape[:2]
        return _multiply(csr_matrix((hits, (self.images[part], self.labels[part])), shape=shape), weights)


def _not_empty(runs: dict[int, Runs]) -> dict[int, Runs]:
    return {step: each for step, each in runs.items() if len(each)}


def mean_over_classes(figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the classes that have a figure, ``[R]``; NaN where none has."""
    has = np.isfinite(figures)
    number = has.sum(axis=1)
    return np.where(number > 0, np.where(has, figures, 0).sum(axis=1) / np.maximum(number, 1), np.nan)


def _multiply(counts: csr_matrix, weights: Weights) -> NDArray[np.float64]:
    """Return ``weights @ counts``, ``[R, ...]``, in time that grows with the counts that aren't 0."""
    product: NDArray[np.float64] = (counts.T.astype(np.float64) @ weights.T.astype(np.float64)).T
    return product
