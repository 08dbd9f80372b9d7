"""Intervals against published values and against resampling the images themselves."""

from functools import partial

import numpy as np
import pytest
from onetrunk.apps.classification.metrics import ClassificationEvaluator
from onetrunk.apps.intervals import (
    auroc_interval,
    bootstrap,
    mean_of_proportions,
    paired_bootstrap,
    paired_proportions,
    proportion,
    resamples,
    wilson,
)


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


def test_paired_proportions_match_newcombes_table() -> None:
    """Newcombe 1998, table II, method 10: 36 right by both, 12 by one, 2 by the other."""
    one = np.repeat([True, True, False], [36, 12, 2])
    other = np.repeat([True, False, True], [36, 12, 2])
    found = paired_proportions(other, one)
    assert [round(found.value, 4), round(found.low, 4), round(found.high, 4)] == [0.2, 0.0569, 0.3404]
    assert found.p_value == pytest.approx(2 * (1 + 14 + 91) / 2**14)  # the two tails of 14 coins


def test_a_pair_of_images_is_no_certainty() -> None:
    found = paired_proportions(np.array([True, True]), np.array([True, False]))
    assert found.value == -0.5
    assert found.low < -0.8
    assert found.high > 0
    assert found.p_value == 1


def test_what_chance_only_raises_has_an_interval_around_its_value_and_towards_the_truth() -> None:
    """A mean of absolute gaps whose truth is 0: the bootstrap's percentiles lie above it, and often above the value."""
    generator = np.random.default_rng(0)
    above_value, near_truth = 0, 0
    for _ in range(40):
        bins = generator.integers(0, 10, 150)
        gaps = (generator.random(150) < 0.8) - 0.8

        def measure(weights: np.ndarray, bins: np.ndarray = bins, gaps: np.ndarray = gaps) -> dict[str, np.ndarray]:
            sums = (weights * gaps) @ np.eye(10)[bins]
            return {"error": np.abs(sums).sum(axis=1) / weights.sum(axis=1)}

        found = bootstrap(measure, 150, inflated=["error"])["error"]
        assert 0 <= found.low <= found.value <= found.high
        plain = bootstrap(measure, 150)["error"]
        above_value += plain.low > plain.value
        assert plain.low > 0.03
        near_truth += found.low < 0.03
    assert above_value > 0
    assert near_truth > 20


def test_a_mean_of_equal_classes_has_the_interval_of_all_their_images() -> None:
    together, apart = proportion(145, 150), mean_of_proportions([50, 48, 47], [50, 50, 50])
    assert [apart.value, apart.low, apart.high] == pytest.approx([together.value, together.low, together.high])


def test_a_rare_class_widens_the_mean_and_certainty_is_never_claimed() -> None:
    even, rare = mean_of_proportions([75, 75], [75, 75]), mean_of_proportions([145, 5], [145, 5])
    assert even.high == rare.high == 1
    assert rare.low < even.low < 1  # 4 / (1/145 + 1/5) = 19 images' worth against 150
    assert rare.low == pytest.approx(wilson(1.0, 4 / (1 / 145 + 1 / 5)).low)


def test_balanced_accuracy_has_this_interval_on_the_card() -> None:
    evaluator = ClassificationEvaluator(["a", "b", "c"])  # of c there is no image
    labels, predictions = np.repeat([0, 1], [6, 3]), np.array([0, 0, 0, 0, 0, 1, 1, 1, 1])
    rows = {"label": labels, "top": predictions[:, None], "probability": np.ones((9, 1))}
    assert evaluator.intervals(rows)["balanced_accuracy"] == mean_of_proportions([5, 3], [6, 3])


def test_an_area_under_the_curve_counts_pairs_and_ties_half() -> None:
    assert auroc_interval([2.0, 3.0], [1.0, 2.0]).value == pytest.approx(3.5 / 4)


def test_the_bounds_of_an_area_are_where_it_is_two_errors_away() -> None:
    """By hand: (A - t)^2 = z^2 t (1 - t) (1 + m (1 - t) / (2 - t) + m t / (1 + t)) / (P N) at both bounds."""
    generator = np.random.default_rng(0)
    found = auroc_interval(generator.normal(1.5, size=20), generator.normal(size=60))
    for bound in (found.low, found.high):
        spread = 1 + 39 * ((1 - bound) / (2 - bound) + bound / (1 + bound))
        error = np.sqrt(bound * (1 - bound) * spread / (20 * 60))
        assert abs(found.value - bound) / error == pytest.approx(1.959964, abs=1e-5)


@pytest.mark.parametrize(("flip", "value"), [(1, 1.0), (-1, 0.0)])
def test_a_perfect_ranking_still_has_an_interval(flip: int, value: float) -> None:
    found = auroc_interval(flip * np.arange(10, 20), flip * np.arange(10))
    assert found.value == value
    assert found.high - found.low > 0.1
    assert found.low <= value <= found.high
