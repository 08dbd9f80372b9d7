"""How far confidences are from how often they are right."""

import numpy as np
from numpy.typing import NDArray

from ..intervals import Weights

_BINS = 15


def calibration_error(
    confidences: NDArray[np.floating], came_true: NDArray[np.bool_], weights: Weights
) -> NDArray[np.float64]:
    """Return the expected calibration error with 15 bins of equal width (Naeini 2015; Guo 2017, equation 3).

    In each bin, the gap between the mean confidence and the share that came true, weighed by how many are in it.

    Args:
        confidences: ``[N]``, or ``[N, K]`` for K statements on each image; 0 to 1.
        came_true: Of the same shape: whether what was said with that confidence is so.
        weights: ``[R, N]``: how often each image counts.

    Returns:
        ``[R]``, 0 to 1.
    """
    sure = confidences.reshape(len(confidences), -1).astype(np.float64)
    # a bin holds its upper bound and not its lower one
    bins = np.clip(np.ceil(sure * _BINS).astype(np.intp) - 1, 0, _BINS - 1)
    gaps = np.zeros((len(sure), _BINS))
    np.add.at(gaps, (np.arange(len(sure))[:, None], bins), came_true.reshape(sure.shape) - sure)
    return np.asarray(np.abs(weights @ gaps).sum(axis=1) / (weights.sum(axis=1) * sure.shape[1]))
