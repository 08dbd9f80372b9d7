"""95% intervals: Wilson's for proportions, else the bootstrap over images; and the paired bootstrap of two models.

A metric is a function of weights: how often each image was drawn. One pass over the data therefore serves the value
(every weight 1), its interval, and the difference to another model on the same images.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

CONFIDENCE = 0.95
RESAMPLES = 1000
#: How many weights are held at once: 80 MB of them.
_WEIGHTS_AT_ONCE = 10_000_000

Weights = NDArray[np.int64]
"""``[R, N]``: how often each of N images counts, in each of R samples."""
Measure = Callable[[Weights], Mapping[str, NDArray[np.float64]]]
"""Takes weights ``[R, N]`` and gives ``[R]`` values a metric; NaN where a sample leaves a metric undefined."""


@dataclass(frozen=True)
class Estimate:
    """A metric's value and its 95% interval, as fractions."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Estimate):
    """How much higher a metric is for the second of two models on the same images.

    Attributes:
        p_value: Two-sided: how often a sample of images would show a difference this far from none, were there none.
    """

    p_value: float


def proportion(successes: int, total: int) -> Estimate:
    """Return a proportion with Wilson's score interval (Wilson 1927).

    At n = 153 a percentile bootstrap of 0.98 covers only 82%; Wilson's interval keeps near 95% there.

    Raises:
        ValueError: If ``total`` is 0.
    """
    interval = binomtest(successes, total).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(successes / total, float(interval.low), float(interval.high))


def values_of(measure: Measure, images: int) -> dict[str, float]:
    """Return the metrics of all images, each counted once; undefined ones are left out."""
    found = measure(np.ones((1, images), dtype=np.int64))
    return {name: float(value[0]) for name, value in found.items() if np.isfinite(value[0])}


def bootstrap(measure: Measure, images: int, *, seed: int = 0) -> dict[str, Estimate]:
    """Return each metric with its percentile bootstrap interval over images (Efron & Tibshirani 1993, section 13.3).

    Args:
        measure: Gives the metrics of weighted images.
        images: How many there are.
        seed: Of the resampling.
    """
    drawn = _measure_samples(measure, images, seed)
    return {name: _interval(value, drawn[name]) for name, value in values_of(measure, images).items()}


def paired_bootstrap(first: Measure, second: Measure, images: int, *, seed: int = 0) -> dict[str, Difference]:
    """Return how much higher each metric is for the second of two models, resampling both by the same images.

    The p-value is twice the smaller share of samples on either side of no difference (a sample on it counts half to
    each), at least 1 / (R + 1).

    Args:
        first: Gives the first model's metrics of weighted images.
        second: The second model's, with the images in the same order.
        images: How many there are.
        seed: Of the resampling.
    """
    before, after = values_of(first, images), values_of(second, images)
    drawn_before, drawn_after = _measure_samples(first, images, seed), _measure_samples(second, images, seed)
    differences = {}
    for name in before:
        if name in after:
            drawn = drawn_after[name] - drawn_before[name]
            interval = _interval(after[name] - before[name], drawn)
            differences[name] = Difference(interval.value, interval.low, interval.high, _p_value(drawn))
    return differences


def _p_value(differences: NDArray[np.float64]) -> float:
    drawn = differences[np.isfinite(differences)]
    below = (np.count_nonzero(drawn < 0) + np.count_nonzero(drawn == 0) / 2) / max(1, len(drawn))
    return float(min(1.0, max(2 * min(below, 1 - below), 1 / (len(drawn) + 1))))


def _measure_samples(measure: Measure, images: int, seed: int) -> dict[str, NDArray[np.float64]]:
    parts = [measure(weights) for weights in resamples(images, seed=seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def resamples(images: int, *, seed: int) -> Iterator[Weights]:
    """Return the weights of the samples, a block at a time: the same ones for the same number of images and seed."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _WEIGHTS_AT_ONCE // images)
    for start in range(0, RESAMPLES, at_once):
        yield generator.multinomial(images, np.full(images, 1 / images), size=min(at_once, RESAMPLES - start))


def _interval(value: float, drawn: NDArray[np.float64]) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return Estimate(value, float(low), float(high))
