"""95% intervals of one model, and of the difference between two.

Closed ones for proportions, their means and differences, and areas under ROC curves, else the bootstrap over images;
how often each holds the truth was simulated (``docs/intervals.md``).

A metric is a function of weights: how often each image was drawn. One pass over the data therefore serves the value
(every weight 1), its interval, and the difference to another model on the same images.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest, norm, rankdata

CONFIDENCE = 0.95
RESAMPLES = 1000
#: How many weights are held at once: 8 MB of them.
_WEIGHTS_AT_ONCE = 1_000_000

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


def wilson(share: float, images: float) -> Estimate:
    """Return a share with Wilson's score interval, for a number of images that needn't be whole.

    Args:
        share: 0 to 1.
        images: How many images' worth of evidence it rests on, above 0.
    """
    z2 = float(norm.ppf((1 + CONFIDENCE) / 2)) ** 2
    middle = (share + z2 / (2 * images)) / (1 + z2 / images)
    half = np.sqrt(z2 * (share * (1 - share) / images + z2 / (4 * images**2))) / (1 + z2 / images)
    return Estimate(share, max(0.0, float(middle - half)), min(1.0, float(middle + half)))


def mean_of_proportions(successes: ArrayLike, totals: ArrayLike) -> Estimate:
    """Return the plain mean of several proportions, such as the recall of each class, with its interval.

    Wilson's interval for the number of images that a single proportion of the same variance would take, were the
    proportions equal: C^2 / sum(1 / n_c) (the effective sample size of a stratified design, Kish 1965, in a score
    interval as by Korn & Graubard 1998). Unlike the bootstrap it stays open to errors where all images were right.

    Args:
        successes: ``[C]`` counts.
        totals: ``[C]`` counts, each above 0.
    """
    right, counts = np.asarray(successes, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    return wilson(float(np.mean(right / counts)), len(counts) ** 2 / float(np.sum(1 / counts)))


def paired_proportions(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Difference:
    """Return how much more often the second of two models is right on the same images, with interval and exact p-value.

    The interval is made of the two Wilson intervals and the correlation (Newcombe 1998, method 10), so that it doesn't
    shrink to a point where few images tell the models apart.

    Args:
        first: ``[N]``: on which images the first model is right; N at least 1.
        second: ``[N]``: the second.
    """
    one, other = (proportion(int(hits.sum()), len(hits)) for hits in (first, second))
    both, only_first, only_second = (int(hits.sum()) for hits in (first & second, first & ~second, ~first & second))
    neither = len(first) - both - only_first - only_second
    excess = float(both * neither - only_first * only_second)
    if excess > 0:  # the correction for continuity
        excess = max(excess - len(first) / 2, 0.0)
    margins = (both + only_first) * (both + only_second) * (neither + only_first) * (neither + only_second)
    correlation = excess / math.sqrt(margins) if margins else 0.0

    def spread(of_second: float, of_first: float) -> float:
        return float(np.sqrt(of_second**2 - 2 * correlation * of_second * of_first + of_first**2))

    value = other.value - one.value
    low = value - spread(other.value - other.low, one.high - one.value)
    high = value + spread(other.high - other.value, one.value - one.low)
    return Difference(value, low, high, mcnemar(only_first, only_second))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of the images that only one of two models has right (McNemar 1947).

    Were both models alike, each such image would fall to either with the same chance.
    """
    total = only_first + only_second
    return float(binomtest(only_first, total).pvalue) if total else 1.0


def auroc_interval(positives: ArrayLike, negatives: ArrayLike) -> Estimate:
    """Return the area under the ROC curve with the score interval of Newcombe (2006, method 5).

    The interval holds the areas from which the one that was found isn't further than z standard errors away, where the
    error is Hanley & McNeil's (1982) at that area, their two sample sizes replaced by the mean. It doesn't shrink to
    nothing at an area of 1, as the bootstrap and DeLong's do.

    Args:
        positives: ``[P]`` scores of the positive images; P at least 1.
        negatives: ``[N]`` scores of the negative images; N at least 1. Ties count half.
    """
    area, counts = _area(np.asarray(positives), np.asarray(negatives)), (np.size(positives), np.size(negatives))
    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    mean_size = sum(counts) / 2 - 1

    def excess(true_area: float) -> float:
        spread = 1 + mean_size * ((1 - true_area) / (2 - true_area) + true_area / (1 + true_area))
        return (area - true_area) ** 2 - z * z * true_area * (1 - true_area) * spread / (counts[0] * counts[1])

    # 0 and 1 solve the equation too, without being a bound
    low = 0.0 if area == 0 else float(brentq(excess, 0.0, min(area, 1 - 1e-9)))
    high = 1.0 if area == 1 else float(brentq(excess, max(area, 1e-9), 1.0))
    return Estimate(area, low, high)


def _area(positives: NDArray[Any], negatives: NDArray[Any]) -> float:
    """Return the share of pairs whose positive has the higher score (Mann & Whitney 1947)."""
    ranks = rankdata(np.concatenate([positives, negatives]))[: len(positives)]
    above = ranks.sum() - len(positives) * (len(positives) + 1) / 2
    return float(above / (len(positives) * len(negatives)))


def values_of(measure: Measure, images: int) -> dict[str, float]:
    """Return the metrics of all images, each counted once; undefined ones are left out."""
    found = measure(np.ones((1, images), dtype=np.int64))
    return {name: float(value[0]) for name, value in found.items() if np.isfinite(value[0])}


def bootstrap(measure: Measure, images: int, *, inflated: Collection[str] = (), seed: int = 0) -> dict[str, Estimate]:
    """Return each metric with its percentile bootstrap interval over images (Efron & Tibshirani 1993, section 13.3).

    Args:
        measure: Gives the metrics of weighted images.
        images: How many there are.
        inflated: The metrics that chance can only raise; see :func:`deflated_interval`.
        seed: Of the resampling.
    """
    drawn = _measure_samples(measure, images, seed)
    return {
        name: (deflated_interval if name in inflated else percentile_interval)(value, drawn[name])
        for name, value in values_of(measure, images).items()
    }


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
            differences[name] = paired_difference(after[name] - before[name], drawn)
    return differences


def paired_difference(value: float, drawn: NDArray[np.float64]) -> Difference:
    """Return a difference with the interval and the p-value of what the samples gave."""
    interval = percentile_interval(value, drawn)
    return Difference(value, interval.low, interval.high, _p_value(drawn))


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


def percentile_interval(value: float, drawn: NDArray[np.float64]) -> Estimate:
    """Return a value with the interval that holds the middle 95% of what the samples gave; NaN counts for none."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return Estimate(value, float(low), float(high))


def deflated_interval(value: float, drawn: NDArray[np.float64]) -> Estimate:
    """Return the interval of a figure at least 0 that chance can only raise, such as a mean of absolute gaps.

    The samples are raised once more than the value is, by about as much as that is above the truth; the percentiles are
    lowered by twice the difference (Efron & Tibshirani 1993, section 10.4), and the interval extended to the value.
    """
    plain = percentile_interval(value, drawn)
    excess = max(0.0, float(np.nanmean(drawn)) - value)
    return Estimate(value, min(value, max(0.0, plain.low - 2 * excess)), max(value, plain.high - 2 * excess))
