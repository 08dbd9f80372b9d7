"""How often 95% intervals hold the true value, by simulation: the table of docs/intervals.md.

Run: python benchmarks/interval_coverage.py --output coverage.md

Each cell draws sets of 150 images from a population whose figures are known exactly, takes the interval of each set,
and counts how many hold the truth. With 2,000 sets a cell a share of 95% is known to a percentage point. Everything is
seeded.
"""

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onetrunk.apps.classification.calibration_error import calibration_error
from onetrunk.apps.classification.metrics import ClassificationEvaluator
from onetrunk.apps.intervals import (
    Difference,
    Estimate,
    auroc_interval,
    deflated_interval,
    mean_of_proportions,
    paired_difference,
    paired_proportions,
    percentile_interval,
    proportion,
    resamples,
)
from scipy.stats import norm, rankdata

IMAGES = 150
#: Below, an interval is called too narrow; above, wider than need be.
NARROW, WIDE = 0.93, 0.98
#: How alike two models find an image difficult: the correlation behind their hits.
SHARED = 0.7
Z = float(norm.ppf(0.975))
#: The intervals of one set of images, by the way to them.
Outcome = dict[str, Estimate]


@dataclass(frozen=True)
class Cell:
    """A population and the ways to an interval; ``draw`` returns one set's intervals by the way's name."""

    figure: str
    population: str
    truth: float
    draw: Callable[[np.random.Generator], Outcome]


@dataclass(frozen=True)
class Row:
    """What a cell and a way came to: shares of the sets, and the mean width of the intervals."""

    figure: str
    population: str
    way: str
    covers: float
    above: float
    below: float
    width: float
    false_positives: float | None


@lru_cache(maxsize=1)
def drawn_weights() -> NDArray[np.int64]:
    """Return what the package's bootstrap draws for this number of images; it is the same each time."""
    return np.concatenate(list(resamples(IMAGES, seed=0)))


def bootstrapped(measure: Callable[[NDArray[np.int64]], dict[str, NDArray[np.float64]]], name: str) -> Estimate:
    value = measure(np.ones((1, IMAGES), dtype=np.int64))[name][0]
    return percentile_interval(float(value), measure(drawn_weights())[name])


def correlated_hits(generator: np.random.Generator, shares: list[float]) -> NDArray[np.bool_]:
    """Return ``[M, N]``: which of M models is right on which image; an image that is hard is so for all."""
    difficulty, own = generator.normal(size=IMAGES), generator.normal(size=(len(shares), IMAGES))
    latent = np.sqrt(SHARED) * difficulty + np.sqrt(1 - SHARED) * own
    return latent < norm.ppf(shares)[:, None]


def top1_measure(hits: NDArray[np.bool_]) -> Callable[[NDArray[np.int64]], dict[str, NDArray[np.float64]]]:
    return lambda weights: {"top1": weights @ hits / weights.sum(axis=1)}


def top1_cell(share: float) -> Cell:
    def draw(generator: np.random.Generator) -> Outcome:
        hits = generator.random(IMAGES) < share
        return {
            "Wilson": proportion(int(hits.sum()), IMAGES),
            "bootstrap": bootstrapped(top1_measure(hits), "top1"),
        }

    return Cell("top-1", f"{share}", share, draw)


def class_sizes(classes: int, *, is_even: bool) -> NDArray[np.int64]:
    """Return the images of each class: equal, or falling from the first to the last by a factor of five."""
    share = np.ones(classes) if is_even else np.linspace(5, 1, classes)
    sizes = np.maximum(1, np.floor(IMAGES * share / share.sum())).astype(np.int64)
    sizes[0] += IMAGES - sizes.sum()
    return sizes


def draw_predictions(
    generator: np.random.Generator, labels: NDArray[np.int64], recalls: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return predictions; a wrong one is any other class alike."""
    is_right = generator.random(len(labels)) < recalls[labels]
    other = (labels + generator.integers(1, len(recalls), len(labels))) % len(recalls)
    return np.where(is_right, labels, other)


def measure_of(labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: int):  # noqa: ANN201
    evaluator = ClassificationEvaluator([str(index) for index in range(classes)])
    rows = {"label": labels, "top": predictions[:, None], "probability": np.ones((len(labels), 1))}
    return partial(evaluator.measure, rows)


def recall_cell(classes: int, recalls: NDArray[np.float64], words: str, *, is_even: bool = True) -> Cell:
    sizes = class_sizes(classes, is_even=is_even)
    labels = np.repeat(np.arange(classes), sizes)

    def draw(generator: np.random.Generator) -> Outcome:
        predictions = draw_predictions(generator, labels, recalls)
        right = np.bincount(labels[labels == predictions], minlength=classes)
        return {
            "effective Wilson": mean_of_proportions(right, sizes),
            "bootstrap": bootstrapped(measure_of(labels, predictions, classes), "balanced_accuracy"),
            "MOVER": mover(right, sizes),
        }

    return Cell("mean per-class recall", f"{classes} classes, {words}", float(recalls.mean()), draw)


def mover(right: NDArray[np.int64], sizes: NDArray[np.int64]) -> Estimate:
    """Return the mean of recalls with Wilson intervals combined by recovered variances (Zou & Donner 2008)."""
    parts = [proportion(int(hits), int(count)) for hits, count in zip(right, sizes, strict=True)]
    mean = float(np.mean([part.value for part in parts]))
    below = np.sqrt(sum((part.value - part.low) ** 2 for part in parts)) / len(parts)
    above = np.sqrt(sum((part.high - part.value) ** 2 for part in parts)) / len(parts)
    return Estimate(mean, mean - below, mean + above)


def f1_cell(classes: int, recalls: NDArray[np.float64], words: str) -> Cell:
    share = 1 / classes  # of the labels
    strays = share * (np.sum(1 - recalls) - (1 - recalls)) / (classes - 1)
    truth = float(np.mean(2 * share * recalls / (share + share * recalls + strays)))

    def draw(generator: np.random.Generator) -> Outcome:
        labels = generator.integers(0, classes, IMAGES)
        predictions = draw_predictions(generator, labels, recalls)
        return {"bootstrap": bootstrapped(measure_of(labels, predictions, classes), "macro_f1")}

    return Cell("macro F1", f"{classes} classes, {words}", truth, draw)


def ece_cell(slope: float) -> Cell:
    """Return a cell of confidences c from 0.5 to 1, of which the share ``0.5 + slope * (c - 0.5)`` comes true."""

    def draw_hits(generator: np.random.Generator, images: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        confidences = 0.5 + 0.5 * generator.random(images)
        return confidences, generator.random(images) < 0.5 + slope * (confidences - 0.5)

    def draw(generator: np.random.Generator) -> Outcome:
        confidences, hits = draw_hits(generator, IMAGES)

        def measure(weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
            return {"ece": calibration_error(confidences, hits, weights)}

        drawn = measure(drawn_weights())["ece"]
        value = float(measure(np.ones((1, IMAGES), dtype=np.int64))["ece"][0])
        return {"deflated bootstrap": deflated_interval(value, drawn), "bootstrap": percentile_interval(value, drawn)}

    words = "calibrated" if slope == 1 else f"overconfident, slope {slope}"
    return Cell("calibration error", words, 0.25 * (1 - slope), draw)


def auroc_cell(area: float, positives: int) -> Cell:
    """Return a cell of two normal populations of scores, of equal spread."""

    def draw(generator: np.random.Generator) -> Outcome:
        lifted = generator.normal(np.sqrt(2) * norm.ppf(area), size=positives)
        plain = generator.normal(size=IMAGES - positives)
        return {
            "Newcombe 5": auroc_interval(lifted, plain),
            "bootstrap": bootstrapped(partial(weighted_areas, lifted, plain), "auroc"),
            **delong(lifted, plain),
        }

    return Cell("AUROC", f"{area}, {positives} of {IMAGES} positive", area, draw)


def weighted_areas(
    positives: NDArray[np.float64], negatives: NDArray[np.float64], weights: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Return the area for each row of weights ``[R, N]``, the positives first; scores without ties."""
    order = np.argsort(np.concatenate([positives, negatives]))
    is_positive = order < len(positives)
    sorted_weights = weights[:, order]
    below = np.cumsum(sorted_weights * ~is_positive, axis=1)
    won = (sorted_weights * is_positive * below).sum(axis=1)
    lifted = (sorted_weights * is_positive).sum(axis=1)
    with np.errstate(invalid="ignore"):  # a sample without one kind has no area
        return {"auroc": won / (lifted * (weights.sum(axis=1) - lifted))}


def delong(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> Outcome:
    """Return DeLong's interval (1988), plain and on the logit scale (Qin & Hotilovac 2008)."""
    ranks = rankdata(np.concatenate([positives, negatives]))
    of_positives = (ranks[: len(positives)] - rankdata(positives)) / len(negatives)
    of_negatives = 1 - (ranks[len(positives) :] - rankdata(negatives)) / len(positives)
    area = float(of_positives.mean())
    error = float(np.sqrt(of_positives.var(ddof=1) / len(positives) + of_negatives.var(ddof=1) / len(negatives)))
    found = {"DeLong": Estimate(area, area - Z * error, area + Z * error), "logit DeLong": Estimate(area, area, area)}
    if 0 < area < 1:
        middle, half = np.log(area / (1 - area)), Z * error / (area * (1 - area))
        low, high = (1 / (1 + np.exp(-edge)) for edge in (middle - half, middle + half))
        found["logit DeLong"] = Estimate(area, float(low), float(high))
    return found


def difference_cell(first: float, second: float) -> Cell:
    def draw(generator: np.random.Generator) -> Outcome:
        hits = correlated_hits(generator, [first, second])
        before, after = (bootstrapped_draws(top1_measure(row)) for row in hits)
        return {
            "paired bootstrap": paired_difference(float(hits[1].mean() - hits[0].mean()), after - before),
            "Newcombe 10": paired_proportions(*hits),
        }

    return Cell("difference of top-1", f"{first} and {second}", second - first, draw)


def bootstrapped_draws(measure: Callable[[NDArray[np.int64]], dict[str, NDArray[np.float64]]]) -> NDArray[np.float64]:
    return measure(drawn_weights())["top1"]


def seeds_cell(share: float) -> Cell:
    def draw(generator: np.random.Generator) -> Outcome:
        hits = correlated_hits(generator, [share] * 3)
        rights = hits.mean(axis=0)
        wilson = [proportion(int(row.sum()), IMAGES) for row in hits]
        low, high = (float(np.mean([getattr(estimate, end) for estimate in wilson])) for end in ("low", "high"))
        return {
            "mean of Wilson's": Estimate(float(rights.mean()), low, high),
            "bootstrap": bootstrapped(lambda weights: {"top1": weights @ rights / IMAGES}, "top1"),
        }

    return Cell("top-1, mean of 3 seeds", f"{share}", share, draw)


def cells() -> Iterator[Cell]:
    yield from (top1_cell(share) for share in (0.8, 0.95, 0.99))
    for classes in (2, 10, 30):
        for recall in (0.95, 0.8):
            yield recall_cell(classes, np.full(classes, recall), f"recall {recall}")
        yield recall_cell(classes, np.linspace(0.6, 1, classes), "recall 0.6 to 1")
        falling = np.linspace(0.99, 0.7, classes)
        yield recall_cell(classes, falling, "recall 0.99 to 0.7, the rarer the lower", is_even=False)
    for classes in (2, 10, 30):
        yield f1_cell(classes, np.full(classes, 0.95), "recall 0.95")
        yield f1_cell(classes, np.linspace(0.6, 1, classes), "recall 0.6 to 1")
    for positives in (75, 15):
        yield from (auroc_cell(area, positives) for area in (0.85, 0.95, 0.99))
    for pair in ((0.8, 0.8), (0.8, 0.85), (0.95, 0.95), (0.93, 0.97), (0.99, 0.99)):
        yield difference_cell(*pair)
    yield from (seeds_cell(share) for share in (0.8, 0.95, 0.99))
    yield from (ece_cell(slope) for slope in (1, 0.8, 0.4))


def simulate(place: int, *, repetitions: int, seed: int) -> list[Row]:
    """Return a row a way for one cell."""
    cell = list(cells())[place]
    generator = np.random.default_rng([seed, place])
    drawn = [cell.draw(generator) for _ in range(repetitions)]
    return [_row(cell, way, [outcome[way] for outcome in drawn]) for way in drawn[0]]


def _row(cell: Cell, way: str, found: list[Estimate]) -> Row:
    slack = 1e-9  # a bound that is the truth but for rounding holds it
    above = np.array([estimate.low > cell.truth + slack for estimate in found])
    below = np.array([estimate.high < cell.truth - slack for estimate in found])
    width = float(np.mean([estimate.high - estimate.low for estimate in found]))
    claims = [estimate.p_value < 0.05 for estimate in found if isinstance(estimate, Difference)]
    is_null = claims and abs(cell.truth) < slack
    false_positives = float(np.mean(claims)) if is_null else None
    covers = float(1 - above.mean() - below.mean())
    return Row(
        cell.figure, cell.population, way, covers, float(above.mean()), float(below.mean()), width, false_positives
    )


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown; cells that fail are marked."""
    lines = [
        "| figure | population | interval | covers | truth below it | truth above it | mean width | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        note = "**too narrow**" if row.covers < NARROW else "wider than need be" if row.covers > WIDE else ""
        if row.false_positives is not None:
            note = f"{note}; p < 0.05 in {100 * row.false_positives:.1f}%".removeprefix("; ")
        lines.append(
            f"| {row.figure} | {row.population} | {row.way} | {100 * row.covers:.1f}% | "
            f"{100 * row.above:.1f}% | {100 * row.below:.1f}% | {row.width:.3f} | {note} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=2000, help="sets of images a cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    work = partial(simulate, repetitions=options.repetitions, seed=options.seed)
    with ProcessPoolExecutor(options.workers) as pool:
        rows = [row for found in pool.map(work, range(len(list(cells())))) for row in found]
    text = table(rows)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
