"""Fewer numbers an image: principal components of the training split."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import IncrementalPCA
from torch import Tensor

from ...backbones.errors import UserError

#: Rows that one step of the fit takes at least; it needs no fewer than there are components.
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

    scikit-learn's incremental fit (Ross et al. 2008, Incremental Learning for Robust Visual Tracking), in steps of as
    many rows each whatever the blocks that they come in.

    Args:
        rows: Features ``[n, ...]``, block by block.
        components: How many to keep.
        layer: For messages.
        split: What the rows are of, for messages.

    Raises:
        UserError: There are fewer rows, or numbers in each, than components.
    """
    fitted = IncrementalPCA(n_components=components)
    step, count = max(_STEP_ROWS, components), 0
    waiting: list[NDArray[np.float32]] = []
    for block in rows:
        values = block.flatten(1).float().numpy()
        if values.shape[1] < components:
            raise UserError(f"--pca {components}: '{layer}' has only {values.shape[1]} numbers an image. Take fewer.")
        waiting.append(values)
        count += len(values)
        # a step stays behind until the next is whole: the last one takes what is left over
        while sum(map(len, waiting)) >= 2 * step:
            joined = np.concatenate(waiting)
            fitted.partial_fit(joined[:step])
            waiting = [joined[step:]]
    if count < components:
        raise UserError(
            f"--pca {components} needs at least as many images to fit on, and {split} has {count} that can be read. "
            "Take fewer components."
        )
    fitted.partial_fit(np.concatenate(waiting))
    return Reduction(
        fitted.mean_.astype(np.float32),
        fitted.components_.astype(np.float32),
        float(fitted.explained_variance_ratio_.sum()),
        count,
    )


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
