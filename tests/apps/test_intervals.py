"""Intervals against published values and against resampling the images themselves."""

from functools import partial

import numpy as np
import pytest
from onetrunk.apps.classification.metrics import ClassificationEvaluator
from onetrunk.apps.intervals import bootstrap, paired_bootstrap, proportion, resamples


@pytest.mark.parametrize(("correct", "total", "low", "high"), [(145, 153, 0.900, 0.973), (143, 153, 0.884, 0.964)])
def test_wilson_matches_the_published_ants_and_bees_figures(correct: int, total: int, low: float, high: float) -> None:
    estimate = proportion(correct, total)
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (low, high)
    assert estimate.value == correct / total


def test_wilson_stays_within_0_and_1() -> None:
    assert proportion(10, 10).high == 1.0
    assert proportion(0, 10).low == 0.0


def labels_and_predictions(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, images)
    return labels, np.where(generator.random(images) < 0.7, labels, generator.integers(0, 4, images))


def f1_of(labels: np.ndarray, predictions: np.ndarray) -> float:
    values = []
    for c in range(4):
        hit = ((labels == c) & (predictions == c)).sum()
        values.append(2 * hit / ((labels == c).sum() + (predictions == c).sum()))
    return float(np.mean(values))


def measure_of(labels: np.ndarray, predictions: np.ndarray):
    evaluator = ClassificationEvaluator(["a", "b", "c", "d"])
    rows = {"label": labels, "top": predictions[:, None], "probability": np.ones((len(labels), 1))}
    return partial(evaluator.measure, rows)


def test_weighting_images_is_drawing_them() -> None:
    labels, predictions = labels_and_predictions(200, seed=3)
    generator = np.random.default_rng(4)
    drawn = [generator.integers(0, 200, 200) for _ in range(3000)]
    by_hand = np.quantile([f1_of(labels[rows], predictions[rows]) for rows in drawn], [0.025, 0.975])
    estimate = bootstrap(measure_of(labels, predictions), 200)["macro_f1"]
    assert estimate.value == pytest.approx(f1_of(labels, predictions))
    assert [estimate.low, estimate.high] == pytest.approx(by_hand, abs=0.01)


def test_bootstrap_gives_the_same_interval_each_time() -> None:
    measure = measure_of(*labels_and_predictions(50, seed=0))
    assert bootstrap(measure, 50) == bootstrap(measure, 50)


def test_resamples_come_in_blocks_that_are_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resamples(30, seed=1)))
    assert whole.shape == (1000, 30)
    assert (whole.sum(axis=1) == 30).all()
    monkeypatch.setattr("onetrunk.apps.intervals._WEIGHTS_AT_ONCE", 30 * 7)
    assert (np.concatenate(list(resamples(30, seed=1))) == whole).all()


def test_a_model_doesnt_differ_from_itself() -> None:
    measure = measure_of(*labels_and_predictions(80, seed=5))
    difference = paired_bootstrap(measure, measure, 80)["top1"]
    assert (difference.value, difference.low, difference.high, difference.p_value) == (0, 0, 0, 1)


def test_the_same_images_tell_models_apart_that_their_own_intervals_dont() -> None:
    labels, predictions = labels_and_predictions(200, seed=6)
    wrong = np.flatnonzero(labels != predictions)[:12]
    better = predictions.copy()
    better[wrong] = labels[wrong]
    first, second = measure_of(labels, predictions), measure_of(labels, better)
    difference = paired_bootstrap(first, second, 200)["top1"]
    assert difference.value == pytest.approx(12 / 200)
    assert difference.low > 0
    assert difference.p_value < 0.01
    assert bootstrap(second, 200)["top1"].low < bootstrap(first, 200)["top1"].high
