"""Top-1, top-5, macro F1, per-class figures and the confusion matrix."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from ...datasets import BadSample, Batch
from ..evaluation import Evaluation
from ..intervals import ClassCounts, bootstrap_counts, proportion
from .head import TOP_K, top_probabilities, top_row

#: Above this the matrix would make up most of the card; the most confused pairs are listed instead.
_LARGEST_MATRIX = 200
_CONFUSED_PAIRS = 20


class ClassificationEvaluator:
    """Collects each image's label and most probable classes; keeps no logits, so memory doesn't grow with classes.

    Args:
        classes: The class names, in the order of the logits.
    """

    primary = "top1"

    def __init__(self, classes: Sequence[str]) -> None:
        """See the class."""
        self.classes = tuple(classes)
        self.reset()

    def reset(self) -> None:
        """Forget everything seen."""
        self._labels: list[Tensor] = []
        self._top: list[Tensor] = []
        self._probabilities: list[Tensor] = []
        self._indices: list[Tensor] = []
        self._names: list[str] = []
        self._skipped: list[BadSample] = []

    def update(self, output: Tensor | None, batch: Batch) -> None:
        """Take the logits ``[B, C]`` of a batch; nothing for a batch whose images were all skipped."""
        self._skipped.extend(batch.skipped)
        if output is None:
            return
        label = batch.targets["label"]
        assert isinstance(label, Tensor)
        probabilities, top = top_probabilities(output, TOP_K)
        self._labels.append(label.cpu())
        self._top.append(top.cpu())
        self._probabilities.append(probabilities.cpu())
        self._indices.append(batch.indices.cpu())
        self._names.extend(batch.names)

    def compute(self) -> Evaluation:
        """Return the figures of everything seen.

        Raises:
            DataError: If no image could be used.
        """
        if not self._labels:
            from ...datasets import DataError

            raise DataError("No image of the split could be used; there is nothing to evaluate.")
        labels, top = torch.cat(self._labels), torch.cat(self._top)
        confusion = multiclass_confusion_matrix(top[:, 0], labels, num_classes=len(self.classes)).numpy()
        hits = top == labels[:, None]
        metrics = {"top1": proportion(int(hits[:, 0].sum()), len(labels))}
        if len(self.classes) > TOP_K:
            metrics["top5"] = proportion(int(hits.any(dim=1).sum()), len(labels))
        metrics["macro_f1"] = bootstrap_counts(confusion, macro_f1)
        return Evaluation(
            metrics=metrics,
            per_class=_per_class(confusion, self.classes),
            details=_confusion_details(confusion, self.classes),
            predictions=self._rows(labels, top, torch.cat(self._probabilities)),
            used=len(labels),
            skipped=tuple(sorted(self._skipped, key=lambda bad: bad.index)),
        )

    def _rows(self, labels: Tensor, top: Tensor, probabilities: Tensor) -> list[dict[str, Any]]:
        """Return a row an image in the split's order; skipped ones in their place, with the reason."""
        rows = {bad.index: {"image": bad.name, "error": bad.reason} for bad in self._skipped}
        columns = zip(
            torch.cat(self._indices).tolist(),
            self._names,
            labels.tolist(),
            top.tolist(),
            probabilities.tolist(),
            strict=True,
        )
        for index, name, label, classes, values in columns:
            best = top_row(classes, values, self.classes)
            row = {"image": name, "label": self.classes[label], "predicted": best[0]["class"]}
            rows[index] = {**row, "correct": label == classes[0], "top": best}  # type: ignore[dict-item]
        return [rows[index] for index in sorted(rows)]


def macro_f1(counts: ClassCounts) -> NDArray[np.float64]:
    """Return the mean F1 over the classes that have images.

    A class without images that is predicted now and then counts through the precision of the others' images it took;
    as a class of its own with an F1 of 0 it would sink the mean on a folder with a part of ImageNet's thousand, the
    more the larger the sample, and the interval would not hold the value.

    Args:
        counts: Of shape ``[R, C]``.

    Returns:
        ``[R]``.
    """
    occurring = counts.labelled + counts.predicted
    f1 = 2 * counts.correct / np.maximum(occurring, 1)
    has_images = counts.labelled > 0
    return np.asarray((f1 * has_images).sum(axis=1) / np.maximum(has_images.sum(axis=1), 1))


def _per_class(confusion: NDArray[np.int64], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each class that is labelled or predicted; recall with Wilson's interval; what isn't is null."""
    rows = []
    for index, name in enumerate(classes):
        correct, labelled = int(confusion[index, index]), int(confusion[index].sum())
        predicted = int(confusion[:, index].sum())
        if labelled + predicted == 0:  # of ImageNet's thousand, on a folder with a part of them
            continue
        rows.append(
            {
                "class": name,
                "images": labelled,
                "recall": asdict(proportion(correct, labelled)) if labelled else None,
                "precision": correct / predicted if predicted else None,
                "f1": 2 * correct / (labelled + predicted),
            }
        )
    return rows


def _confusion_details(confusion: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    """Return the matrix (rows labels, columns predictions) where it is small, and the most confused pairs."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(wrong, axis=None, kind="stable")[::-1][:_CONFUSED_PAIRS]
    pairs = [(*divmod(int(cell), len(classes)), int(wrong.flat[cell])) for cell in order if wrong.flat[cell]]
    details: dict[str, Any] = {
        "most_confused": [{"label": classes[i], "predicted": classes[j], "images": count} for i, j, count in pairs]
    }
    if len(classes) <= _LARGEST_MATRIX:
        details["confusion_matrix"] = {"classes": list(classes), "rows_are_labels": confusion.tolist()}
    return details
