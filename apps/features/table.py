"""What a feature file holds, and what scikit-learn takes of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...backbones.errors import UserError, unknown

TEXTS = ("name", "path", "label", "labels", "split", "subject", "sha256", "error")
COLUMNS = (*TEXTS, "view")
"""What may be known of a row, in this order; every file has ``name``, ``path``, ``label``, ``split``, ``sha256`` and
``error``, the others where the data have them."""
SEPARATOR = ";"
"""Between several labels of an image, as in tables of data sets."""

Columns = Mapping[str, list[Any]]
"""Text or None for each row, and whole numbers in ``view``."""


@dataclass(frozen=True)
class Layer:
    """An array of a feature file.

    Attributes:
        shape: Of one image's features.
        dtype: Of the numbers.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype of :func:`to_numpy`'s arrays."""
        return np.dtype(np.float16 if self.dtype == torch.float16 else np.float32)


def to_numpy(features: Tensor) -> NDArray[Any]:
    """Return features as an array; bf16, which NumPy hasn't, as float32."""
    wide = features.float() if features.dtype == torch.bfloat16 else features
    array: NDArray[Any] = wide.contiguous().numpy()
    return array


@dataclass(frozen=True)
class Export:
    """What is to be written into a file, without ever holding all of it.

    Attributes:
        columns: What is known of the rows.
        layers: The arrays.
        recipe: Plain values: what the features were made with.
        attachments: Small arrays that belong to the recipe, such as principal components.
        blocks: Returns the features of some layers for consecutive rows, ``[rows, ...]``, from the first row on; rows
            without features are NaN.
    """

    columns: Columns
    layers: Mapping[str, Layer]
    recipe: Mapping[str, Any]
    attachments: Mapping[str, NDArray[Any]]
    blocks: Callable[[Sequence[str]], Iterator[dict[str, Tensor]]]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.columns["name"])

    @property
    def has_features(self) -> bool:
        """Whether any row has features."""
        return any(error is None for error in self.columns["error"])


@dataclass(frozen=True)
class FeatureTable:
    """What a feature file holds.

    Attributes:
        columns: For each row ``name``, ``path``, ``label``, ``split``, ``sha256`` (of the file) and ``error`` (why
            there are no features), and where the data have them ``labels`` (with ``;`` between them), ``subject`` and
            ``view`` (0: the image as evaluation sees it; from 1 on: a random view). Unknown is None.
        features: ``[rows, ...]`` by layer; NaN in rows without features.
        recipe: What the features were made with.
        attachments: Arrays that belong to the recipe.
    """

    columns: Columns
    features: Mapping[str, NDArray[Any]]
    recipe: Mapping[str, Any]
    attachments: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.columns["name"])

    @property
    def is_sound(self) -> NDArray[np.bool_]:
        """Whether each row has features."""
        return np.array([error is None for error in self.columns["error"]], dtype=bool)

    @property
    def is_plain_view(self) -> NDArray[np.bool_]:
        """Whether each row is of an image as evaluation sees it, not of a random view."""
        return np.array([view == 0 for view in self.columns.get("view", [0] * len(self))], dtype=bool)

    def in_split(self, split: str) -> NDArray[np.bool_]:
        """Whether each row is of a split."""
        return np.array([each == split for each in self.columns["split"]], dtype=bool)

    def layer(self, name: str | None) -> NDArray[Any]:
        """Return the features of a layer as vectors ``[rows, D]``; without a name, of the only layer.

        Raises:
            UserError: There is no such layer, or several and none was named.
        """
        return self.features[self.layer_name(name)].reshape(len(self), -1)

    def layer_name(self, name: str | None) -> str:
        """Return the name of a layer, checked; without one, that of the only layer.

        Raises:
            UserError: There is no such layer, or several and none was named.
        """
        return choose_layer(tuple(self.features), name)


def choose_layer(there: Sequence[str], name: str | None) -> str:
    """Return the layer that is meant.

    Raises:
        UserError: There is no such layer, or several and none was named.
    """
    if name is None and len(there) > 1:
        raise UserError(
            f"The file has several layers: {', '.join(there)}. Say which: layer='{there[0]}' (--layer {there[0]})."
        )
    if name is not None and name not in there:
        raise unknown("layer", name, there)
    return there[0] if name is None else name


class Loaded(NamedTuple):
    """What scikit-learn takes: ``X, y, ids, splits = load(path)``."""

    X: NDArray[Any]
    """``[N, D]``."""
    y: NDArray[Any] | None
    """The labels, text ``[N]``; of any number of labels an image bool ``[N, K]`` with a column for each label that
    occurs, sorted by name; None for images without."""
    ids: NDArray[np.str_]
    """The images' names, ``[N]``."""
    splits: NDArray[np.str_]
    """Of each image, ``[N]``; empty texts where there are none."""


def load(
    path: str | Path,
    *,
    layer: str | None = None,
    split: str | None = None,
    skipped: Literal["drop", "keep"] = "drop",
    views: Literal["plain", "all"] = "plain",
) -> Loaded:
    """Return the features of a file that ``features extract`` wrote, as scikit-learn takes them.

    Args:
        path: The file.
        layer: Which layer, where there are several; maps become one long vector.
        split: Only the rows of a split.
        skipped: Whether rows of images that couldn't be read are left out, or kept with NaN.
        views: ``all`` for the random views, too; ``ids`` then say which rows are of one image.

    Raises:
        UserError: The file can't be read, or there is no such layer or split.
    """
    from .files import read_features, read_recipe

    table = read_features(path, [choose_layer(tuple(read_recipe(path)["layers"]), layer)])
    rows = np.ones(len(table), dtype=bool) if skipped == "keep" else table.is_sound
    if views == "plain":
        rows &= table.is_plain_view
    if split is not None:
        check_split(table, split)
        rows &= table.in_split(split)
    ids = np.array(table.columns["name"], dtype=np.str_)
    splits = np.array([each or "" for each in table.columns["split"]], dtype=np.str_)
    y = _targets(table.columns)
    return Loaded(table.layer(layer)[rows], None if y is None else y[rows], ids[rows], splits[rows])


def check_split(table: FeatureTable, split: str) -> None:
    """Raise a ``UserError`` if no row is of a split."""
    there = sorted({each for each in table.columns["split"] if each is not None})
    if split not in there:
        raise unknown("split", split, there) if there else UserError("The features are of images without splits.")


def label_sets(columns: Columns) -> list[frozenset[str]]:
    """Return the labels of each row that has any number of them."""
    return [frozenset(filter(None, (each or "").split(SEPARATOR))) for each in columns["labels"]]


def _targets(columns: Columns) -> NDArray[Any] | None:
    if "labels" in columns:
        sets = label_sets(columns)
        classes = sorted(frozenset().union(*sets))
        return np.array([[name in each for name in classes] for each in sets], dtype=bool)
    labels = [each or "" for each in columns["label"]]
    return np.array(labels, dtype=np.str_) if any(labels) else None


def to_texts(name: str, values: Sequence[Any]) -> NDArray[Any]:
    """Return a column as an array, for files that know no missing text: it is empty there."""
    return np.array(values, dtype=np.int32) if name == "view" else np.array([each or "" for each in values], np.str_)


def read_texts(name: str, array: NDArray[Any]) -> list[Any]:
    """Return what ``to_texts`` was given."""
    values: list[Any] = array.tolist()
    # no labels is something that is known of an image
    return values if name in ("view", "labels") else [each or None for each in values]
