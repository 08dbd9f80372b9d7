"""Figures of a task with two classes, one of which is what is looked for."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backbones.errors import UserError, unknown
from ..evaluated_images import Rows
from ..evaluation import Share
from ..intervals import Estimate, Weights, auroc_interval
from .ranking import auroc_and_average_precision

BINARY_METRICS = ("auroc", "average_precision", "sensitivity", "specificity")


def choose_positive(counts: Mapping[str, int], asked: str | None) -> str | None:
    """Return the positive class: the one asked for, else the one with fewer images, in a tie the last by name.

    Args:
        counts: Class -> images that decide, sorted by name.
        asked: What ``--positive`` says.

    Returns:
        The name; nothing where there are more than two classes, and so no positive one.

    Raises:
        UserError: If one was asked for that isn't there, or there is none.
    """
    if asked is not None and len(counts) != 2:
        raise UserError(f"--positive names one of two classes, but these data have {len(counts)}. Leave it out.")
    if asked is not None and asked not in counts:
        raise unknown("class for --positive", asked, counts)
    if asked is None and len(counts) == 2:
        return min(reversed(list(counts)), key=lambda name: counts[name])
    return asked


def undefined_binary(counts: Mapping[str, int], positive: str) -> dict[str, str]:
    """Return the metrics of :func:`measure_binary` that have no value, and why.

    Args:
        counts: Images of either class.
        positive: The positive class.
    """
    missing = [name for name, count in counts.items() if count == 0]
    if not missing:
        return {}
    shares = ["sensitivity" if name == positive else "specificity" for name in missing]
    reason = f"no image of {' and '.join(repr(name) for name in missing)}"
    return {name: reason for name in BINARY_METRICS if name not in ("sensitivity", "specificity") or name in shares}


def measure_binary(rows: Rows, positive: int, weights: Weights) -> dict[str, NDArray[np.float64]]:
    """Return the area under the ROC curve, average precision, sensitivity and specificity, each ``[R]``.

    Args:
        rows: ``label``, ``top`` and ``probability`` of two classes.
        positive: The index of the positive class.
        weights: ``[R, N]``.
    """
    is_positive, is_hit = rows["label"] == positive, rows["label"] == rows["top"][:, 0]
    area, average_precision = auroc_and_average_precision(positive_scores(rows, positive), is_positive, weights)
    with np.errstate(invalid="ignore"):  # 0 / 0 where the weights leave no image of the class
        sensitivity = weights @ (is_positive & is_hit) / (weights @ is_positive)
        specificity = weights @ (~is_positive & is_hit) / (weights @ ~is_positive)
    return dict(zip(BINARY_METRICS, (area, average_precision, sensitivity, specificity), strict=True))


def binary_shares(rows: Rows, positive: int) -> dict[str, Share]:
    """Return sensitivity and specificity, the one without images left out."""
    is_positive, is_hit = rows["label"] == positive, rows["label"] == rows["top"][:, 0]
    shares = {"sensitivity": Share(is_hit, is_positive), "specificity": Share(is_hit, ~is_positive)}
    return {name: share for name, share in shares.items() if share.counted.any()}


def binary_area(rows: Rows, positive: int) -> dict[str, Estimate]:
    """Return the area under the ROC curve with Newcombe's interval; nothing where a class has no images."""
    is_positive = rows["label"] == positive
    if is_positive.all() or not is_positive.any():
        return {}
    scores = positive_scores(rows, positive)
    return {"auroc": auroc_interval(scores[is_positive], scores[~is_positive])}


def positive_scores(rows: Rows, positive: int) -> NDArray[np.float64]:
    """Return ``[N]`` log odds of the positive class; unlike its probability they tell apart what rounds to 1."""
    is_positive = rows["top"] == positive
    tiny: Any = np.finfo(np.float32).tiny
    logarithms = np.log(np.maximum(rows["probability"], tiny).astype(np.float64))
    return np.asarray(np.where(is_positive, logarithms, -logarithms).sum(axis=1))
