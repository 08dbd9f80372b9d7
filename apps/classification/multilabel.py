"""Figures where any number of classes may hold for an image."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from torch import Tensor

from ...datasets import Batch
from ..evaluated_images import Rows
from ..evaluation import Evaluator, ImageScores, Share, choose_metric
from ..intervals import Weights, auroc_interval, proportion
from .calibration_error import calibration_error
from .ranking import auroc_and_average_precision
from .readout import THRESHOLD, Readout, label_row


class MultiLabelEvaluator(Evaluator):
    """Keeps each image's logits and labels.

    Rows: ``logit`` float32 ``[N, K]`` and ``labels`` bool ``[N, K]``. Logits, because the probabilities of a sure
    network round to 1 and could no longer be ranked.

    Args:
        classes: The class names, in the order of the logits.
        primary: The metric that chooses the checkpoint, one of ``selectable``.
    """

    task = "classification"
    inflated = ("ece",)
    readout: Readout = "sigmoid"
    truth = ("labels",)
    lower_is_better = frozenset({"ece"})
    kind = "any number of labels an image"
    selectable = ("average_precision", "auroc", "micro_f1", "macro_f1", "exact_match")

    def __init__(self, classes: Sequence[str], *, primary: str | None = None) -> None:
        """See the class."""
        self.classes = tuple(classes)
        self.primary = choose_metric(primary, self.selectable)

    def description(self) -> dict[str, Any]:
        """Return the class names and what chose the checkpoint."""
        return {"classes": list(self.classes), "readout": self.readout, "positive": None, "primary": self.primary}

    def undefined(self, counts: Sequence[int], images: int) -> dict[str, str]:
        """Return the metrics that have no value on images of which so many belong to each class, and why."""
        if any(0 < count < images for count in counts):
            return {}
        return dict.fromkeys(("average_precision", "auroc"), "no class that some images have and others lack")

    def collect(self, output: Tensor, batch: Batch) -> Rows:
        """Return the rows of a batch's logits ``[B, K]``."""
        labels = batch.targets["labels"]
        assert isinstance(labels, Tensor)
        return {"logit": output.float().cpu().numpy(), "labels": labels.bool().cpu().numpy()}

    def measure(self, rows: Rows, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return every metric.

        ``average_precision`` (mAP) and ``auroc`` are means over the classes that some images have and others lack,
        ``macro_f1`` one over those that some have, ``ece`` is over all labels of all images.
        """
        labels, chosen = rows["labels"], is_chosen(rows["logit"])
        both, has, said = (weights @ some.astype(np.float64) for some in (labels & chosen, labels, chosen))
        f1 = 2 * both / np.maximum(has + said, 1)
        areas, precisions = self._ranked(rows, weights)
        occurring = np.maximum((has > 0).sum(axis=1), 1)
        return {
            "average_precision": _mean_of_defined(precisions),
            "auroc": _mean_of_defined(areas),
            "micro_f1": 2 * both.sum(axis=1) / np.maximum((has + said).sum(axis=1), 1),
            "macro_f1": (f1 * (has > 0)).sum(axis=1) / occurring,
            "exact_match": weights @ (labels == chosen).all(axis=1) / weights.sum(axis=1),
            "ece": calibration_error(expit(rows["logit"]), labels, weights),
        }

    def scores(self, rows: Rows) -> ImageScores:
        """Return which images have exactly their labels, and the probability of exactly those."""
        of_the_truth = log_expit(np.where(rows["labels"], rows["logit"], -rows["logit"]).astype(np.float64))
        exact = (rows["labels"] == is_chosen(rows["logit"])).all(axis=1)
        return ImageScores(exact, np.exp(of_the_truth.sum(axis=1)))

    def recalls(self, rows: Rows) -> dict[str, Share]:
        """Return the share of each class that was found; classes without images are left out."""
        chosen, labels = is_chosen(rows["logit"]), rows["labels"]
        shares = {name: Share(chosen[:, place], labels[:, place]) for place, name in enumerate(self.classes)}
        return {name: share for name, share in shares.items() if share.counted.any()}

    def _ranked(self, rows: Rows, weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the area under the ROC curve and the average precision of each class, ``[K, R]`` each."""
        figures = [
            auroc_and_average_precision(logits, labels, weights)
            for logits, labels in zip(rows["logit"].T, rows["labels"].T, strict=True)
        ]
        areas, precisions = zip(*figures, strict=True)
        return np.stack(areas), np.stack(precisions)

    def shares(self, rows: Rows) -> dict[str, Share]:
        """Return the exact matches."""
        exact = (rows["labels"] == is_chosen(rows["logit"])).all(axis=1)
        return {"exact_match": Share(exact, np.ones(len(exact), dtype=bool))}

    def per_class(self, rows: Rows) -> list[dict[str, Any]]:
        """Return a row a class; recall and area with their intervals; what is undefined is null."""
        everything = np.ones((1, len(rows["labels"])), dtype=np.int64)
        precisions = self._ranked(rows, everything)[1][:, 0]
        chosen = is_chosen(rows["logit"])
        return [
            _class_row(name, rows["labels"][:, index], chosen[:, index])
            | _ranking_row(rows["labels"][:, index], rows["logit"][:, index], float(precisions[index]))
            for index, name in enumerate(self.classes)
        ]

    def details(self, rows: Rows) -> dict[str, Any]:
        """Return what is undefined."""
        undefined = self.undefined(rows["labels"].sum(axis=0).tolist(), len(rows["labels"]))
        return {"undefined": undefined} if undefined else {}

    def describe(self, rows: Rows, index: int) -> dict[str, Any]:
        """Return an image's labels, what was predicted, whether that is exactly right, and the best classes."""
        holds = rows["labels"][index]
        labels = [name for name, is_so in zip(self.classes, holds, strict=True) if is_so]
        found = label_row(expit(rows["logit"][index]).tolist(), self.classes)
        is_exact = bool((is_chosen(rows["logit"][index]) == holds).all())
        return {"labels": labels, "predicted": found["predicted"], "correct": is_exact, "top": found["top"]}


def is_chosen(logits: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which classes are said to hold, bool of the logits' shape."""
    return np.asarray(expit(logits) > THRESHOLD)


def _mean_of_defined(figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the classes, the first axis, leaving out NaN; NaN where nothing is left."""
    is_defined = np.isfinite(figures)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(is_defined, figures, 0.0).sum(axis=0) / is_defined.sum(axis=0))


def _class_row(name: str, has: NDArray[np.bool_], said: NDArray[np.bool_]) -> dict[str, Any]:
    right, images, predicted = int((has & said).sum()), int(has.sum()), int(said.sum())
    return {
        "class": name,
        "images": images,
        "predicted": predicted,
        "recall": asdict(proportion(right, images)) if images else None,
        "precision": right / predicted if predicted else None,
        "f1": 2 * right / (images + predicted) if images + predicted else None,
    }


def _ranking_row(has: NDArray[np.bool_], logits: NDArray[np.float32], average_precision: float) -> dict[str, Any]:
    if has.all() or not has.any():
        return {"average_precision": None, "auroc": None}
    area = auroc_interval(logits[has], logits[~has])
    return {"average_precision": average_precision, "auroc": asdict(area)}
