"""Figures where each image has one class, per-class figures and the confusion matrix."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from ...datasets import Batch
from ..evaluated_images import Rows
from ..evaluation import Evaluator, ImageScores, Share, choose_metric
from ..intervals import Estimate, Weights, mean_of_proportions, proportion
from .binary import BINARY_METRICS, binary_area, binary_shares, measure_binary, undefined_binary
from .calibration_error import calibration_error
from .multilabel import MultiLabelEvaluator
from .readout import TOP_K, Readout, best_classes, probabilities, top_row

#: Above this the matrix would make up most of the card; the most confused pairs are listed instead.
_LARGEST_MATRIX = 200
_CONFUSED_PAIRS = 20


class ClassificationEvaluator(Evaluator):
    """Keeps each image's label and most probable classes; no logits, so memory doesn't grow with classes.

    Rows: ``label`` int64 ``[N]`` and its ``label_probability`` float32 ``[N]``; ``top`` int64 ``[N, K]``, the K most
    probable classes, best first, and their ``probability`` float32 ``[N, K]``. K is 5, or the number of classes where
    there are fewer.

    Args:
        classes: The class names, in the order of the logits.
        positive: Of two classes, the one that is looked for; with it come the figures of ``binary.py``.
        primary: The metric that chooses the checkpoint, one of ``selectable``.
        readout: How probabilities come from the logits.
    """

    task = "classification"
    inflated = ("ece",)
    truth = ("label",)
    may_differ = ("primary", "readout")
    lower_is_better = frozenset({"ece"})
    kind = "one label an image"

    def __init__(
        self,
        classes: Sequence[str],
        *,
        positive: str | None = None,
        primary: str | None = None,
        readout: Readout = "softmax",
    ) -> None:
        """See the class."""
        self.classes = tuple(classes)
        self.positive = positive
        self.primary = choose_metric(primary, self.selectable)
        self.readout: Readout = readout

    @property
    def selectable(self) -> tuple[str, ...]:
        """The metrics that can choose a checkpoint: those of which more is better."""
        top5 = ("top5",) if len(self.classes) > TOP_K else ()
        return ("top1", *top5, "macro_f1", "balanced_accuracy", *(BINARY_METRICS if self.positive else ()))

    def description(self) -> dict[str, Any]:
        """Return the class names, the positive one, and what chose the checkpoint."""
        chosen = {"positive": self.positive, "primary": self.primary}
        return {"classes": list(self.classes), "readout": self.readout, **chosen}

    def undefined(self, counts: Sequence[int], images: int) -> dict[str, str]:
        """Return the metrics that have no value on images of which so many belong to each class, and why."""
        return undefined_binary(dict(zip(self.classes, counts, strict=True)), self.positive) if self.positive else {}

    def collect(self, output: Tensor, batch: Batch) -> Rows:
        """Return the rows of a batch's logits ``[B, C]``."""
        label = batch.targets["label"]
        assert isinstance(label, Tensor)
        found = probabilities(output, self.readout)
        best, top = best_classes(found)
        rows = {"label": label, "label_probability": found.gather(1, label[:, None])[:, 0]}
        return {key: value.cpu().numpy() for key, value in (rows | {"top": top, "probability": best}).items()}

    def measure(self, rows: Rows, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return ``top1``, ``top5`` (of more than five classes), ``macro_f1``, ``balanced_accuracy`` and ``ece``.

        With a positive class also ``auroc``, ``average_precision``, ``sensitivity`` and ``specificity``.
        """
        hits = rows["top"] == rows["label"][:, None]
        total = weights.sum(axis=1)
        metrics = {"top1": weights @ hits[:, 0] / total}
        if len(self.classes) > TOP_K:
            metrics["top5"] = weights @ hits.any(axis=1) / total
        correct, labelled, predicted = self._counts(rows, weights)
        has_images = labelled > 0
        recalls = correct / np.maximum(labelled, 1)
        f1 = 2 * correct / np.maximum(labelled + predicted, 1)
        # A class without images that is predicted now and then counts through the precision of the others' images it
        # took; as a class of its own with an F1 of 0 it would sink the mean on a folder with a part of ImageNet's
        # thousand, the more the larger the sample, and the interval would not hold the value.
        occurring = np.maximum(has_images.sum(axis=1), 1)
        metrics["macro_f1"] = (f1 * has_images).sum(axis=1) / occurring
        metrics["balanced_accuracy"] = (recalls * has_images).sum(axis=1) / occurring
        if self.positive:
            metrics |= measure_binary(rows, self.classes.index(self.positive), weights)
        return metrics | {"ece": calibration_error(rows["probability"][:, 0], hits[:, 0], weights)}

    def scores(self, rows: Rows) -> ImageScores:
        """Return which images are right, and the probability of each label."""
        return ImageScores(rows["top"][:, 0] == rows["label"], rows["label_probability"].astype(np.float64))

    def recalls(self, rows: Rows) -> dict[str, Share]:
        """Return the share of each class that was found; classes without images are left out."""
        hits = rows["label"] == rows["top"][:, 0]
        members = {self.classes[label]: rows["label"] == label for label in np.unique(rows["label"])}
        return {name: Share(hits, of_class) for name, of_class in members.items()}

    def _counts(self, rows: Rows, weights: Weights) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return right, labelled and predicted images a class, each ``[R, C]``."""
        labels, predictions = rows["label"], rows["top"][:, 0]
        right = np.flatnonzero(labels == predictions)
        return (
            weights[:, right] @ _indicator(labels[right], len(self.classes)),
            weights @ _indicator(labels, len(self.classes)),
            weights @ _indicator(predictions, len(self.classes)),
        )

    def shares(self, rows: Rows) -> dict[str, Share]:
        """Return ``top1`` and ``top5``, and of two classes ``sensitivity`` and ``specificity``."""
        hits = rows["top"] == rows["label"][:, None]
        everything = np.ones(len(hits), dtype=bool)
        binary = binary_shares(rows, self.classes.index(self.positive)) if self.positive else {}
        return {"top1": Share(hits[:, 0], everything), "top5": Share(hits.any(axis=1), everything), **binary}

    def intervals(self, rows: Rows) -> dict[str, Estimate]:
        """Return the closed intervals: of shares, of the mean recall, and of two classes' area under the ROC curve."""
        one = np.ones((1, len(rows["label"])), dtype=np.int64)
        correct, labelled, _ = (counts[0] for counts in self._counts(rows, one))
        area = binary_area(rows, self.classes.index(self.positive)) if self.positive else {}
        mean_recall = mean_of_proportions(correct[labelled > 0], labelled[labelled > 0])
        return {**super().intervals(rows), **area, "balanced_accuracy": mean_recall}

    def per_class(self, rows: Rows) -> list[dict[str, Any]]:
        """Return a row for each class that is labelled or predicted; recall with Wilson's interval."""
        return _per_class(confusion_matrix(rows, len(self.classes)), self.classes)

    def details(self, rows: Rows) -> dict[str, Any]:
        """Return the positive class, what is undefined, the confusion matrix where it is small, most confused pairs."""
        about: dict[str, Any] = {"positive": self.positive} if self.positive else {}
        counts = np.bincount(rows["label"], minlength=len(self.classes)).tolist()
        if undefined := self.undefined(counts, len(rows["label"])):
            about["undefined"] = undefined
        return about | _confusion_details(confusion_matrix(rows, len(self.classes)), self.classes)

    def describe(self, rows: Rows, index: int) -> dict[str, Any]:
        """Return an image's label, predicted class, whether it is right, and its most probable classes."""
        label = int(rows["label"][index])
        top = top_row(rows["top"][index].tolist(), rows["probability"][index].tolist(), self.classes)
        is_correct = label == int(rows["top"][index, 0])
        return {"label": self.classes[label], "predicted": top[0]["class"], "correct": is_correct, "top": top}


ClassEvaluator = ClassificationEvaluator | MultiLabelEvaluator


def make_evaluator(
    classes: Sequence[str], *, readout: Readout, positive: str | None = None, select: str | None = None
) -> ClassEvaluator:
    """Return the evaluator for what the logits of a task say.

    Args:
        classes: The class names, in the order of the logits.
        readout: How probabilities come from the logits; ``sigmoid`` for any number of labels an image.
        positive: Of two classes, the one that is looked for.
        select: The metric that chooses the checkpoint; nothing for the first there is.

    Raises:
        UserError: If it has no metric of that name, or one of which less is better.
    """
    return (
        MultiLabelEvaluator(classes, primary=select)
        if readout == "sigmoid"
        else ClassificationEvaluator(classes, positive=positive, primary=select, readout=readout)
    )


def rebuild_evaluator(description: dict[str, Any]) -> ClassEvaluator:
    """Return the evaluator that a run kept with its images and its model."""
    return make_evaluator(
        description["classes"],
        readout=description["readout"],
        positive=description["positive"],
        select=description["primary"],
    )


def confusion_matrix(rows: Rows, classes: int) -> NDArray[np.int64]:
    """Return ``[C, C]`` counts of images, rows the labels, columns the predictions."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (rows["label"], rows["top"][:, 0]), 1)
    return matrix


def _indicator(classes_of_images: NDArray[np.int64], classes: int) -> csr_matrix:
    """Return ``[N, C]`` with a one where an image belongs to a class."""
    images = np.arange(len(classes_of_images))
    return csr_matrix((np.ones(len(images), dtype=np.int64), (images, classes_of_images)), shape=(len(images), classes))


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
