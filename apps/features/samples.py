"""The rows of a feature file that a probe is fitted to and judged on."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backbones.errors import UserError
from ...datasets import BadSample
from .options import ProbeOptions
from .table import FeatureTable


@dataclass(frozen=True)
class Samples:
    """Rows that a classifier is fitted to or judged on.

    Attributes:
        features: ``[N, D]``.
        labels: Text ``[N]``.
        groups: What a cut of them can't divide, ``[N]``: a subject's rows, or the views of an image; None where each
            row is on its own.
        rows: Their places in the file.
    """

    features: NDArray[Any]
    labels: NDArray[np.str_]
    groups: NDArray[np.str_] | None
    rows: NDArray[np.intp]


def take(table: FeatureTable, layer: str, split: str) -> Samples:
    """Return the rows of a split that have features; of any but the training split only the plain view.

    Raises:
        UserError: There is no such split, or the images have no single label.
    """
    if "labels" in table.columns:
        raise UserError(
            "A probe is for one label an image, and these have any number. Train a head: "
            "onetrunk classification train --freeze all"
        )
    if not any(table.columns["label"]):
        raise UserError("The features are of images without labels; there is nothing to tell apart.")
    there = sorted({each for each in table.columns["split"] if each is not None})
    if split not in there:
        raise UserError(
            f"A probe is fitted to the split 'train' and judged on another, and there is no '{split}'; there are: "
            f"{', '.join(there) or 'none'}. Judge on another with --split, or extract anew with --split all."
        )
    chosen = table.in_split(split) & table.is_sound
    if split != "train":
        chosen &= table.is_plain_view
    if not chosen.any():
        raise UserError(f"No image of the split '{split}' has features; the column 'error' has the reasons.")
    rows = np.flatnonzero(chosen)
    column = next((key for key in ("subject", "view") if key in table.columns), None)
    groups = None
    if column is not None:  # the views of an image, or all images of a subject
        groups = np.array(
            [table.columns["subject" if column == "subject" else "name"][row] for row in rows.tolist()], np.str_
        )
    labels = np.array([table.columns["label"][row] for row in rows.tolist()], dtype=np.str_)
    return Samples(table.layer(layer)[rows].astype(np.float32), labels, groups, rows)


def places_in_split(table: FeatureTable, samples: Samples) -> NDArray[np.int64]:
    """Return the place of each row among the images of its split, with or without features."""
    split = table.columns["split"][int(samples.rows[0])]
    return np.searchsorted(np.flatnonzero(table.in_split(split) & table.is_plain_view), samples.rows)


def skipped_images(table: FeatureTable, split: str) -> list[BadSample]:
    """Return the images of a split that have no features."""
    rows = np.flatnonzero(table.in_split(split) & table.is_plain_view)
    columns = table.columns
    return [
        BadSample(place, columns["name"][row], Path(columns["path"][row]), f"{columns['path'][row]}: {reason}")
        for place, row in enumerate(rows.tolist())
        if (reason := columns["error"][row]) is not None
    ]


def count_units(train: Samples) -> dict[str, int]:
    """Return how many rows, or groups where there are some, each class has."""
    units = train.rows.astype(np.str_) if train.groups is None else train.groups
    return {str(name): len(set(units[train.labels == name])) for name in np.unique(train.labels)}


def check_classes(options: ProbeOptions, train: Samples, test: Samples) -> None:
    """Refuse what no classifier can be fitted to, or judged by.

    Raises:
        UserError: Naming the class.
    """
    known = set(train.labels)
    if len(known) == 1:
        raise UserError(
            f"{options.features}: there is one class only, '{train.labels[0]}'; there is nothing to tell apart."
        )
    rarest = count_units(train)
    if min(rarest.values()) < 2:
        name = min(rarest, key=lambda each: rarest[each])
        what = "image" if train.groups is None else "subject"
        raise UserError(
            f"{options.features}: '{name}' has a single {what} in 'train' with features; cross-validation needs two of "
            "each class."
        )
    if unknown := sorted(set(test.labels) - known):
        raise UserError(
            f"{options.features}: no image of '{unknown[0]}' is in 'train' with features, only in '{options.split}', "
            "so it can't be learned."
        )


def split_fingerprint(table: FeatureTable, split: str) -> str:
    """Return the SHA-256 of names, labels and contents of a split's images."""
    rows = np.flatnonzero(table.in_split(split) & table.is_plain_view).tolist()
    facts = [[table.columns[key][row] for key in ("name", "label", "sha256")] for row in rows]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
