"""Intervals against published values and against resampling the images themselves."""

import numpy as np
import pytest
from onetrunk.apps.classification.metrics import macro_f1
from onetrunk.apps.intervals import bootstrap_counts, proportion


@pytest.mark.parametrize(("correct", "total", "low", "high"), [(145, 153, 0.900, 0.973), (143, 153, 0.884, 0.964)])
def test_wilson_matches_the_published_ants_and_bees_figures(correct: int, total: int, low: float, high: float) -> None:
    estimate = proportion(correct, total)
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (low, high)
    assert estimate.value == correct / total


def test_wilson_stays_within_0_and_1() -> None:
    assert proportion(10, 10).high == 1.0
    assert proportion(0, 10).low == 0.0


def test_bootstrap_of_cells_is_the_bootstrap_of_images() -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 4, 200)
    predictions = np.where(generator.random(200) < 0.7, labels, generator.integers(0, 4, 200))
    confusion = np.zeros((4, 4), dtype=np.int64)
    np.add.at(confusion, (labels, predictions), 1)

    def f1_of(rows: np.ndarray) -> float:
        values = []
        for c in range(4):
            hit = ((labels[rows] == c) & (predictions[rows] == c)).sum()
            values.append(2 * hit / ((labels[rows] == c).sum() + (predictions[rows] == c).sum()))
        return float(np.mean(values))

    by_images = np.quantile([f1_of(generator.integers(0, 200, 200)) for _ in range(3000)], [0.025, 0.975])
    estimate = bootstrap_counts(confusion, macro_f1)
    assert estimate.value == pytest.approx(f1_of(np.arange(200)))
    assert [estimate.low, estimate.high] == pytest.approx(by_images, abs=0.01)


def test_bootstrap_gives_the_same_interval_each_time() -> None:
    confusion = np.array([[20, 3], [4, 18]])
    assert bootstrap_counts(confusion, macro_f1) == bootstrap_counts(confusion, macro_f1)
