"""Ranking figures and the calibration error, against scikit-learn and torchmetrics, for weights and repeated images."""

import numpy as np
import pytest
import torch
from onetrunk.apps.classification.calibration_error import calibration_error
from onetrunk.apps.classification.ranking import auroc_and_average_precision
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

RANDOM = np.random.default_rng(0)
WEIGHTS = RANDOM.multinomial(60, np.full(60, 1 / 60), size=7)
IS_POSITIVE = RANDOM.random(60) < 0.3
#: Without ties, with some, with almost nothing else.
SCORES = {digits: np.round(RANDOM.normal(size=60) + IS_POSITIVE, digits) for digits in (9, 1, 0)}


@pytest.mark.parametrize("digits", SCORES)
def test_they_equal_scikit_learn_on_repeated_images(digits: int) -> None:
    scores = SCORES[digits]
    areas, precisions = auroc_and_average_precision(scores, IS_POSITIVE, WEIGHTS)
    for weights, area, precision in zip(WEIGHTS, areas, precisions, strict=True):
        repeated = np.repeat(np.arange(60), weights)
        assert area == pytest.approx(roc_auc_score(IS_POSITIVE[repeated], scores[repeated]), abs=1e-6)
        assert precision == pytest.approx(average_precision_score(IS_POSITIVE[repeated], scores[repeated]), abs=1e-6)


def test_a_perfect_ranking_is_1_and_the_reverse_0() -> None:
    once = np.ones((1, 60), dtype=np.int64)
    areas, precisions = auroc_and_average_precision(IS_POSITIVE.astype(float), IS_POSITIVE, once)
    assert (areas[0], precisions[0]) == (1, 1)
    areas, precisions = auroc_and_average_precision(-IS_POSITIVE.astype(float), IS_POSITIVE, once)
    assert areas[0] == 0
    assert precisions[0] == pytest.approx(average_precision_score(IS_POSITIVE, -IS_POSITIVE.astype(float)))


def test_without_positives_or_negatives_there_is_no_value() -> None:
    scores, is_positive = np.array([0.1, 0.5, 0.9]), np.array([False, True, True])
    areas, precisions = auroc_and_average_precision(scores, is_positive, np.array([[2, 0, 0], [0, 1, 2], [1, 1, 1]]))
    assert np.isnan(areas).tolist() == [True, True, False]
    assert np.isnan(precisions).tolist() == [True, True, False]
    for everywhere in (True, False):
        areas, precisions = auroc_and_average_precision(scores, np.full(3, everywhere), np.ones((2, 3), dtype=np.int64))
        assert np.isnan([areas, precisions]).all()
        assert areas.shape == (2,)


def test_the_calibration_error_equals_torchmetrics_on_repeated_images() -> None:
    logits = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) * 2
    labels = torch.randint(0, 4, (60,), generator=torch.Generator().manual_seed(1))
    sure, predicted = logits.softmax(dim=1).max(dim=1)
    errors = calibration_error(sure.numpy(), (predicted == labels).numpy(), WEIGHTS)
    for weights, error in zip(WEIGHTS, errors, strict=True):
        repeated = torch.repeat_interleave(torch.arange(60), torch.from_numpy(weights))
        expected = multiclass_calibration_error(logits[repeated], labels[repeated], num_classes=4, n_bins=15)
        assert error == pytest.approx(float(expected), abs=1e-6)


def test_the_calibration_error_of_many_labels_is_over_all_of_them() -> None:
    sure = torch.rand(60, 3, generator=torch.Generator().manual_seed(0))
    holds = torch.rand(60, 3, generator=torch.Generator().manual_seed(1)) < sure**2
    expected = binary_calibration_error(sure.flatten(), holds.flatten().int(), n_bins=15)
    error = calibration_error(sure.numpy(), holds.numpy(), np.ones((1, 60), dtype=np.int64))
    assert error[0] == pytest.approx(float(expected), abs=1e-6)


def test_bins_hold_their_upper_bound() -> None:
    """Always sure and half right: 1 is in the last bin; a network that says 0 for what never comes is calibrated."""
    once = np.ones((1, 4), dtype=np.int64)
    assert calibration_error(np.ones(4), np.array([True, True, False, False]), once)[0] == 0.5
    assert calibration_error(np.zeros(4), np.zeros(4, dtype=bool), once)[0] == 0
