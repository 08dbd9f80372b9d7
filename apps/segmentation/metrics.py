"""Figures of segmentation: functions of pixel counts that are kept of each image, in the pixels of its file."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...datasets import BACKGROUND, IGNORED, Batch
from ..evaluated_images import Rows
from ..evaluation import Evaluator, choose_metric
from ..intervals import Weights, bootstrap
from .boundary import boundary_f1, fill_ignored
from .readout import Readout, full_masks

#: Up to so many classes the card shows which are taken for which.
_LARGEST_MATRIX = 32
_COUNTS = ("correct", "labelled", "predicted")


class SegmentationEvaluator(Evaluator):
    """Keeps for each image and class how many pixels have it, were given it, and both; ignored pixels are in none.

    Rows, int64 ``[N, K]``: ``labelled``, ``predicted``, ``correct``. Outside of training also ``boundary_f1`` float32
    ``[N, K]``, NaN where a class is neither there nor found, and for few classes that exclude each other ``confusion``
    int64 ``[N, K, K]``, labels by predictions.

    Args:
        classes: The class names, in the order of mask values.
        readout: How classes come from the logits.
        primary: The metric that chooses the checkpoint, one of ``selectable``.
    """

    task = "segmentation"
    truth = ("labelled",)
    may_differ = ("primary",)

    def __init__(self, classes: Sequence[str], *, readout: Readout, primary: str | None = None) -> None:
        """See the class."""
        self.classes = tuple(classes)
        self.readout: Readout = readout
        self.primary = choose_metric(primary or ("dice" if readout == "binary" else None), self.selectable)
        self.kind = "any number of classes a pixel" if readout == "sigmoid" else "one class a pixel"

    @property
    def selectable(self) -> tuple[str, ...]:
        """The metrics that can choose a checkpoint."""
        return ("mean_iou", "dice") if self.readout == "sigmoid" else ("mean_iou", "dice", "pixel_accuracy")

    @property
    def _foreground(self) -> slice:
        """The classes of which Dice is the mean."""
        return slice(1 if self.classes[0] == BACKGROUND and self.readout != "sigmoid" else 0, None)

    def description(self) -> dict[str, Any]:
        """Return the class names, how they come from logits, and what chose the checkpoint."""
        return {"classes": list(self.classes), "readout": self.readout, "primary": self.primary}

    def collect(self, output: Any, batch: Batch) -> Rows:
        """Return the rows of a batch's logits, ``Tensor`` or list of ``[K', h, w]``; see ``full_masks``."""
        found = full_masks(output, batch.context, self.readout)
        truth = batch.targets["full_mask"]
        rows = [self._count(one, mask) for one, mask in zip(found, truth, strict=True)]
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}

    def _count(self, found: Tensor, truth: Tensor) -> dict[str, NDArray[Any]]:
        found, truth = found.cpu(), truth.cpu()
        if self.readout == "sigmoid":
            rows = _count_questions(found, truth, truth != IGNORED)
        else:
            matrix = _confusion(found, truth, len(self.classes))
            rows = {"labelled": matrix.sum(1), "predicted": matrix.sum(0), "correct": matrix.diagonal()}
            if len(self.classes) <= _LARGEST_MATRIX and not self.is_brief:
                rows["confusion"] = matrix
        if not self.is_brief:
            rows["boundary_f1"] = np.array(self._boundaries(found.numpy(), truth.numpy()), dtype=np.float32)
        return rows

    def _boundaries(self, found: NDArray[np.uint8], truth: NDArray[np.uint8]) -> list[float]:
        """Return the boundary F1 of each class in an image."""
        classes = range(len(self.classes))
        if self.readout == "sigmoid":
            return [_boundaries_of(found[k], truth[k], [1])[0] for k in classes]
        return _boundaries_of(found, truth, list(classes))

    def measure(self, rows: Rows, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return ``mean_iou``, ``pixel_accuracy`` (not for sigmoid), ``dice`` and ``boundary_f1``.

        All but the last are of the pixels of all images together. The mean IoU is over the classes that are labelled or
        found anywhere; a class that is labelled in some images, but in none of a sample, doesn't count in that sample.
        Dice is over the same without ``background``. The boundary F1 of a class is the mean over the images in which it
        is labelled or found.
        """
        correct, labelled, predicted = (_sum(rows[key], weights) for key in _COUNTS)
        union = labelled + predicted - correct
        counts = (union > 0) & ((labelled > 0) | (rows["labelled"].sum(axis=0) == 0))
        metrics = {"mean_iou": _mean(correct / np.maximum(union, 1), counts)}
        if self.readout != "sigmoid":
            metrics["pixel_accuracy"] = correct.sum(axis=1) / np.maximum(labelled.sum(axis=1), 1)
        part = self._foreground
        dice = 2 * correct / np.maximum(labelled + predicted, 1)
        metrics["dice"] = _mean(dice[:, part], counts[:, part])
        if "boundary_f1" in rows:
            metrics["boundary_f1"] = _mean(*_boundary(rows, weights))
        return metrics

    def _measure_classes(self, rows: Rows, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return the IoU of each class, by its place."""
        correct, labelled, predicted = (_sum(rows[key], weights) for key in _COUNTS)
        union = labelled + predicted - correct
        found = np.where(union > 0, correct / np.maximum(union, 1), np.nan)
        return {str(place): found[:, place] for place in range(len(self.classes))}

    def per_class(self, rows: Rows) -> list[dict[str, Any]]:
        """Return a row for each class that is labelled or found: IoU with interval, Dice, boundary F1, pixels."""
        estimates = bootstrap(partial(self._measure_classes, rows), len(rows["labelled"]))
        one = np.ones((1, len(rows["labelled"])), dtype=np.int64)
        boundaries, has_boundary = _boundary(rows, one)
        found = []
        for place, name in enumerate(self.classes):
            correct, labelled, predicted = (int(rows[key][:, place].sum()) for key in _COUNTS)
            if labelled + predicted == 0:
                continue
            found.append(
                {
                    "class": name,
                    "images": int((rows["labelled"][:, place] > 0).sum()),
                    "pixels": labelled,
                    "iou": asdict(estimates[str(place)]),
                    "dice": 2 * correct / (labelled + predicted),
                    "recall": correct / labelled if labelled else None,
                    "precision": correct / predicted if predicted else None,
                    "boundary_f1": float(boundaries[0, place]) if has_boundary[0, place] else None,
                }
            )
        return found

    def details(self, rows: Rows) -> dict[str, Any]:
        """Return the confusion matrix in pixels, where there are few classes that exclude each other."""
        if "confusion" not in rows:
            return {}
        matrix = rows["confusion"].sum(axis=0).tolist()
        return {"confusion_matrix": {"classes": list(self.classes), "unit": "pixel", "rows_are_labels": matrix}}

    def describe(self, rows: Rows, index: int) -> dict[str, Any]:
        """Return an image's own mean IoU and Dice, and its classes with their IoU."""
        image = {key: array[index : index + 1] for key, array in rows.items()}
        one = np.ones((1, 1), dtype=np.int64)
        metrics = self.measure(image, one)
        ious = self._measure_classes(image, one)
        present = [place for place in range(len(self.classes)) if np.isfinite(ious[str(place)][0])]
        return {
            **{name: _rounded(metrics[name][0]) for name in ("mean_iou", "dice")},
            "classes": [{"class": self.classes[k], "iou": _rounded(ious[str(k)][0])} for k in present],
        }


def rebuild_evaluator(description: dict[str, Any]) -> SegmentationEvaluator:
    """Return the evaluator that a run kept with its images and its model."""
    return SegmentationEvaluator(description["classes"], readout=description["readout"], primary=description["primary"])


def _confusion(found: Tensor, truth: Tensor, classes: int) -> NDArray[np.int64]:
    """Return ``[K, K]`` counts of the pixels that aren't ignored, rows the labels, columns the predictions."""
    cells = torch.where(truth == IGNORED, classes**2, truth.long() * classes + found.long())
    counts = torch.bincount(cells.flatten(), minlength=classes**2)[: classes**2]
    matrix: NDArray[np.int64] = counts.reshape(classes, classes).numpy()
    return matrix


def _boundaries_of(found: NDArray[np.uint8], truth: NDArray[np.uint8], values: Sequence[int]) -> list[float]:
    """Return the boundary F1 of values of masks ``[H, W]``; NaN where every pixel is ignored."""
    ignored = truth == IGNORED
    if ignored.all():
        return [math.nan] * len(values)
    filled, counts = fill_ignored(truth, ignored)
    return [boundary_f1(found == value, filled == value, counts) for value in values]


def _count_questions(found: Tensor, truth: Tensor, counts: Tensor) -> dict[str, NDArray[Any]]:
    """Return the counts of masks ``[K, H, W]`` of 0 and 1."""
    holds, is_found = (truth == 1) & counts, (found > 0) & counts
    layers = {"labelled": holds, "predicted": is_found, "correct": holds & is_found}
    return {key: layer.sum(dim=(1, 2)).numpy() for key, layer in layers.items()}


def _sum(counts: NDArray[np.int64], weights: Weights) -> NDArray[np.float64]:
    """Return the pixels of weighted images, ``[R, K]``; exact below 2**53, and unlike integers multiplied fast."""
    total: NDArray[np.float64] = weights.astype(np.float64) @ counts.astype(np.float64)
    return total


def _boundary(rows: Rows, weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the weighted mean boundary F1 of each class over its images, ``[R, K]``, and where there is one."""
    has = np.isfinite(rows["boundary_f1"])
    images = _sum(has.astype(np.int64), weights)
    total = weights.astype(np.float64) @ np.where(has, rows["boundary_f1"], 0).astype(np.float64)
    return total / np.maximum(images, 1), images > 0


def _mean(values: NDArray[np.float64], counts: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean over the classes that count, ``[R]``; NaN where none does."""
    number = counts.sum(axis=1)
    return np.where(number > 0, (values * counts).sum(axis=1) / np.maximum(number, 1), np.nan)


def _rounded(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
