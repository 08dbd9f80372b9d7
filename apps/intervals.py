"""95% intervals: Wilson's for proportions, the bootstrap over images for the rest."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.stats import binomtest

CONFIDENCE = 0.95
RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A metric's value and its 95% interval, as fractions."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassCounts:
    """Counts a class, ``[..., C]``: right ones, labelled ones, predicted ones."""

    correct: NDArray[np.int64]
    labelled: NDArray[np.int64]
    predicted: NDArray[np.int64]


def proportion(successes: int, total: int) -> Estimate:
    """Return a proportion with Wilson's score interval (Wilson 1927).

    At n = 153 a percentile bootstrap of 0.98 covers only 82%; Wilson's interval keeps near 95% there.

    Raises:
        ValueError: If ``total`` is 0.
    """
    interval = binomtest(successes, total).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(successes / total, float(interval.low), float(interval.high))


def bootstrap_counts(
    confusion: NDArray[np.int64], metric: Callable[[ClassCounts], NDArray[np.float64]], *, seed: int = 0
) -> Estimate:
    """Return a metric of class counts with its percentile bootstrap interval over images.

    Drawing n images with replacement is drawing the confusion matrix's cells from a multinomial with their shares,
    so the images themselves aren't needed.

    Args:
        confusion: ``[C, C]`` counts, rows the labels, columns the predictions.
        metric: Takes counts of shape ``[R, C]`` and gives ``[R]`` values.
        seed: Of the resampling.
    """
    rows, columns = np.nonzero(confusion)
    counts = confusion[rows, columns]
    total = int(counts.sum())
    classes = len(confusion)
    by_row = _indicator(rows, classes)
    by_column = _indicator(columns, classes)
    by_diagonal = by_row.multiply((rows == columns)[:, None]).tocsr()

    def measure(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
        return metric(ClassCounts(drawn @ by_diagonal, drawn @ by_row, drawn @ by_column))

    generator = np.random.default_rng(seed)
    draws_at_once = max(1, 10_000_000 // len(counts))  # 80 MB of counts
    values = [
        measure(generator.multinomial(total, counts / total, size=min(draws_at_once, RESAMPLES - start)))
        for start in range(0, RESAMPLES, draws_at_once)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(values), [tail, 1 - tail])
    return Estimate(float(measure(counts[None])[0]), float(low), float(high))


def _indicator(classes_of_cells: NDArray[np.intp], classes: int) -> csr_matrix:
    """Return ``[cells, C]`` with a one where a cell belongs to a class."""
    cells = np.arange(len(classes_of_cells))
    ones = np.ones(len(cells), dtype=np.int64)
    return csr_matrix((ones, (cells, classes_of_cells)), shape=(len(cells), classes))
