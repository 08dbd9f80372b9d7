"""Figures of scores for a yes or no, each for many weights of the images at once."""

import numpy as np
from numpy.typing import NDArray

from ..intervals import Weights

Figures = NDArray[np.float64]


def auroc_and_average_precision(
    scores: NDArray[np.floating], is_positive: NDArray[np.bool_], weights: Weights
) -> tuple[Figures, Figures]:
    """Return the area under the ROC curve and the average precision.

    The area is the share of pairs of a positive and a negative image whose positive has the higher score, ties half
    (Mann & Whitney 1947). The average precision is the mean over the positives of the precision among all images that
    score at least as high, without interpolation (Manning 2008, section 8.4, with ties as one step).

    Args:
        scores: ``[N]``; higher for positives.
        is_positive: ``[N]``.
        weights: ``[R, N]``: how often each image counts.

    Returns:
        ``[R]`` each; NaN where the weights leave no positive or no negative.
    """
    positives = _descending(scores, is_positive)
    negatives = _descending(scores, ~is_positive)
    if not len(positives) or not len(negatives):
        undefined = np.full(len(weights), np.nan)
        return undefined, undefined
    thresholds, first_of_each = np.unique(-scores[positives], return_index=True)
    # only where a positive stands does either figure change
    passed = np.zeros((len(weights), len(negatives) + 1))
    np.cumsum(weights.take(negatives, axis=1), axis=1, out=passed[:, 1:])
    above = passed.take(np.searchsorted(-scores[negatives], thresholds, side="left"), axis=1)
    reached = passed.take(np.searchsorted(-scores[negatives], thresholds, side="right"), axis=1)
    drawn = np.add.reduceat(weights.take(positives, axis=1), first_of_each, axis=1)
    found = np.cumsum(drawn, axis=1)
    all_positives, all_negatives = found[:, -1], passed[:, -1]
    with np.errstate(invalid="ignore"):  # 0 / 0 is what is undefined
        beaten = (drawn * (all_negatives[:, None] - (above + reached) / 2)).sum(axis=1)
        precisions = (drawn * found / np.maximum(found + reached, 1)).sum(axis=1)
        is_defined = np.where(all_negatives > 0, 1.0, np.nan)
        return beaten / (all_positives * all_negatives), is_defined * precisions / all_positives


def _descending(scores: NDArray[np.floating], chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the places of the chosen images, the highest score first."""
    places = np.flatnonzero(chosen)
    return places[np.argsort(-scores[places], kind="stable")]
