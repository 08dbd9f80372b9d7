"""Fewer numbers an image: principal components of the training split."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from torch import Tensor

from ...backbones.errors import UserError

EXACT_WIDTH = 4096
"""Up to so many numbers an image the components are exact; the covariance of these takes 128 MiB."""

#: Rows that one step of the incremental fit takes at least; it needs no fewer than there are components.
_STEP_ROWS = 1024


@dataclass(frozen=True)
class Reduction:
    """Principal components of a layer.

    Attributes:
        mean: ``[D]``, of the images they were fitted on.
        components: ``[K, D]``, orthonormal, the largest variance first.
        explained: The share of the variance that they keep.
        images: How many rows they were fitted on.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    explained: float
    images: int

    def __call__(self, features: Tensor) -> Tensor:
        """Return ``[N, K]`` for features ``[N, ...]``, in the features' dtype."""
        centred = features.flatten(1).float() - torch.from_numpy(self.mean)
        return (centred @ torch.from_numpy(self.components).T).to(features.dtype)

    def attachments(self, layer: str) -> dict[str, NDArray[Any]]:
        """Return the arrays that a feature file keeps."""
        return {f"pca/{layer}/mean": self.mean, f"pca/{layer}/components": self.components}


def fit_reduction(rows: Iterator[Tensor], components: int, *, layer: str, split: str) -> Reduction:
    """Fit principal components to features that needn't fit into memory.

    Exact up to ``EXACT_WIDTH`` numbers an image: the eigenvectors of the covariance, which is added up in float64.
    Beyond, scikit-learn's incremental fit (Ross et al. 2008, Incremental Learning for Robust Visual Tracking), which
    forgets a little at each step.

    Args:
        rows: Features ``[n, ...]``, block by block.
        components: How many to keep.
        layer: For messages.
        split: What the rows are of, for messages.

    Raises:
        UserError: There are fewer rows, or numbers in each, than components.
    """
    fit: _Covariance | _Incremental | None = None
    for block in rows:
        values = block.flatten(1).float().numpy()
        width = values.shape[1]
        if width < components:
            raise UserError(f"--pca {components}: '{layer}' has only {width} numbers an image. Take fewer.")
        if fit is None:
            fit = _Covariance(values[0]) if width <= EXACT_WIDTH else _Incremental(components)
        fit.add(values)
    count = 0 if fit is None else fit.count
    if fit is None or count < components:
        raise UserError(
            f"--pca {components} needs at least as many images to fit on, and {split} has {count} that can be read. "
            "Take fewer components."
        )
    return fit.finish(components)


class _Covariance:
    """Adds up what the covariance follows from, about a point near the mean, so that no digits are lost."""

    def __init__(self, centre: NDArray[np.float32]) -> None:
        self.centre = centre.astype(np.float64)
        self.count = 0
        self.sum = np.zeros_like(self.centre)
        self.products = np.zeros((len(centre), len(centre)))

    def add(self, values: NDArray[np.float32]) -> None:
        moved = values - self.centre
        self.count += len(values)
        self.sum += moved.sum(axis=0)
        self.products += moved.T @ moved

    def finish(self, components: int) -> Reduction:
        mean, width = self.sum / self.count, len(self.centre)
        scatter = self.products - self.count * np.outer(mean, mean)
        variances, vectors = eigh(scatter, subset_by_index=(width - components, width - 1))
        total = float(np.trace(scatter))
        explained = float(variances.sum()) / total if total > 0 else 1.0  # alike images: there is nothing to lose
        return _reduction(mean + self.centre, vectors.T[::-1], explained, self.count)


class _Incremental:
    """Steps of as many rows each, whatever the blocks they come in."""

    def __init__(self, components: int) -> None:
        from sklearn.decomposition import IncrementalPCA  # a second that only wide layers need spend

        self.fitted = IncrementalPCA(n_components=components)
        self.step = max(_STEP_ROWS, components)
        self.count = 0
        self.waiting: list[NDArray[np.float32]] = []

    def add(self, values: NDArray[np.float32]) -> None:
        self.waiting.append(values)
        self.count += len(values)
        # a step stays behind until the next is whole: the last one takes what is left over
        while sum(map(len, self.waiting)) >= 2 * self.step:
            joined = np.concatenate(self.waiting)
            self.fitted.partial_fit(joined[: self.step])
            self.waiting = [joined[self.step :]]

    def finish(self, components: int) -> Reduction:
        self.fitted.partial_fit(np.concatenate(self.waiting))
        explained = float(np.nan_to_num(self.fitted.explained_variance_ratio_.sum(), nan=1.0))
        return _reduction(self.fitted.mean_, self.fitted.components_, explained, self.count)


def _reduction(mean: NDArray[Any], components: NDArray[Any], explained: float, images: int) -> Reduction:
    kept = np.ascontiguousarray(components, dtype=np.float32)
    # of the two directions, the one in which the largest number is positive: the same on every machine
    largest = np.take_along_axis(kept, np.abs(kept).argmax(axis=1)[:, None], axis=1)
    return Reduction(mean.astype(np.float32), kept * np.where(largest < 0, -1, 1).astype(np.float32), explained, images)


def read_reduction(attachments: Mapping[str, NDArray[Any]], layer: str, about: Mapping[str, Any]) -> Reduction | None:
    """Return the components of a layer in a feature file, if it was reduced.

    Args:
        attachments: The file's.
        layer: Its name.
        about: The recipe's facts about the layer.
    """
    if "pca" not in about:
        return None
    mean, components = (attachments[f"pca/{layer}/{each}"] for each in ("mean", "components"))
    return Reduction(mean, components, about["pca"]["explained_variance"], about["pca"]["images"])
