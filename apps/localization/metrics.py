"""Figures where each image has one class and at least one box."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...datasets import Batch
from ..classification.readout import TOP_K, best_classes, probabilities, top_row
from ..evaluated_images import Rows
from ..evaluation import Evaluator, ImageScores, Share, choose_metric
from ..intervals import Weights, bootstrap, paired_bootstrap, paired_proportions
from ..outputs import plain_box
from .baselines import BASELINES, CENTRE_BOX, Shares, in_pixels
from .boxes import Output, best_overlap, class_boxes

#: From this intersection over union on a box is right (ILSVRC, Russakovsky 2015, section 4.2).
_RIGHT = 0.5


class LocalizationEvaluator(Evaluator):
    """Keeps each image's label, its most probable classes, and how well the box of each fits any of the true ones.

    Overlaps are measured in pixels of the files, whatever the canvas. Rows, K being 5 or the number of classes where
    there are fewer: ``label`` int64 ``[N]`` with ``label_probability`` float32 ``[N]`` and ``label_iou`` float64
    ``[N]``, of the box for the label; ``top`` int64 ``[N, K]``, ``probability`` float32 ``[N, K]`` and ``iou`` float64
    ``[N, K]``; ``box`` float32 ``[N, 4]``, that of the most probable class, and ``true_box``, the largest true one;
    ``baseline_iou`` float64 ``[N, 2]``, of the training split's mean box and the centre box.

    Args:
        classes: The class names, in the order of the logits.
        mean_box: Of the training split, in shares of the picture.
        primary: The metric that chooses the checkpoint, one of ``selectable``.
    """

    task = "localization"
    truth = ("label", "true_box")
    # each fold has a mean box of its own; figures are made of rows, which hold what it gave
    may_differ = ("primary", "mean_box")
    kind = "one label an image, and its box"

    def __init__(self, classes: Sequence[str], mean_box: Shares, *, primary: str | None = None) -> None:
        """See the class."""
        self.classes = tuple(classes)
        self.mean_box = mean_box
        self.primary = choose_metric(primary, self.selectable)

    @property
    def selectable(self) -> tuple[str, ...]:
        """The metrics, each of which can choose a checkpoint."""
        top1 = ("top1",) if len(self.classes) > 1 else ()
        top5 = ("localization_top5", "top5") if len(self.classes) > TOP_K else ()
        return ("localization_top1", "known_label_accuracy", "mean_box_iou", *top1, *top5)

    def description(self) -> dict[str, Any]:
        """Return the class names, the mean box, and what chose the checkpoint."""
        return {"classes": list(self.classes), "mean_box": list(self.mean_box), "primary": self.primary}

    def collect(self, output: Output, batch: Batch) -> Rows:
        """Return the rows of a batch."""
        label, truths = batch.targets["label"], batch.targets["full_boxes"]
        assert isinstance(label, Tensor)
        found = probabilities(output["logits"], "softmax")
        best, top = best_classes(found)
        # the box for the label may be another one than those of the best classes
        boxes = class_boxes(output, torch.cat([top, label[:, None]], dim=1), batch.context)
        guesses = in_pixels([self.mean_box, CENTRE_BOX], batch.context)
        true_boxes = [each.cpu() for each in truths]
        overlaps = torch.stack(list(map(best_overlap, boxes, true_boxes)))
        rows = {
            "label": label,
            "label_probability": found.gather(1, label[:, None])[:, 0],
            "label_iou": overlaps[:, -1],
            "top": top,
            "probability": best,
            "iou": overlaps[:, :-1],
            "box": boxes[:, 0],
            "true_box": torch.stack([each[0] for each in true_boxes]),
            "baseline_iou": torch.stack(list(map(best_overlap, guesses, true_boxes))),
        }
        return {key: value.cpu().numpy() for key, value in rows.items()}

    def measure(self, rows: Rows, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return the metrics of ``selectable``.

        ``localization_top1``: the most probable class is the label, and its box overlaps a true one by at least one
        half; ``localization_top5``: so is one of the five. ``known_label_accuracy``: the box for the label does, were
        the label told ("GT-known"). ``mean_box_iou``: the mean overlap of the most probable class's box. ``top1`` of
        more than one class, top 5 of more than five.
        """
        total = weights.sum(axis=1)
        metrics = {name: weights @ share.right / total for name, share in self.shares(rows).items()}
        metrics |= _mean_overlap(rows, weights)
        return {name: metrics[name] for name in self.selectable}

    def shares(self, rows: Rows) -> dict[str, Share]:
        """Return the metrics that are shares of images: all but ``mean_box_iou``."""
        hits = rows["top"] == rows["label"][:, None]
        located = hits & (rows["iou"] >= _RIGHT)
        right = {
            "localization_top1": located[:, 0],
            "known_label_accuracy": rows["label_iou"] >= _RIGHT,
            "top1": hits[:, 0],
            "localization_top5": located.any(axis=1),
            "top5": hits.any(axis=1),
        }
        everything = np.ones(len(hits), dtype=bool)
        return {name: Share(images, everything) for name, images in right.items() if name in self.selectable}

    def scores(self, rows: Rows) -> ImageScores:
        """Return on which images label and box are right, and the probability of each label."""
        right = self.shares(rows)["localization_top1"].right
        return ImageScores(right, rows["label_probability"].astype(np.float64))

    def recalls(self, rows: Rows) -> dict[str, Share]:
        """Return the share of each class that was named and located; classes without images are left out."""
        right = self.shares(rows)["localization_top1"].right
        members = {self.classes[label]: rows["label"] == label for label in np.unique(rows["label"])}
        return {name: Share(right, of_class) for name, of_class in members.items()}

    def per_class(self, rows: Rows) -> list[dict[str, Any]]:
        """Return a row for each class with images; shares with Wilson's interval."""
        known = rows["label_iou"] >= _RIGHT
        return [
            {
                "class": name,
                "images": int(share.counted.sum()),
                "localization": asdict(share.estimate),
                "known_label_accuracy": asdict(Share(known, share.counted).estimate),
                "mean_label_iou": float(rows["label_iou"][share.counted].mean()),
            }
            for name, share in self.recalls(rows).items()
        ]

    def details(self, rows: Rows) -> dict[str, Any]:
        """Return what boxes that see no picture would get with the model's own labels: a card says what the net adds.

        ``mean_box`` is the mean of the training split's; ``centre_box``, which knows none, the middle of the picture,
        half as wide and half as high. ``gain`` is by how much the model is better, image by image.
        """
        baselines = {name: self._baseline(rows, place) for place, name in enumerate(BASELINES)}
        return {"baselines": {**baselines, "mean_box_shares": list(self.mean_box)}}

    def _baseline(self, rows: Rows, place: int) -> dict[str, Any]:
        """Return the figures of a model with the same labels and a baseline's box in every image."""
        overlap = rows["baseline_iou"][:, [place]]
        guessed = {**rows, "iou": np.repeat(overlap, rows["iou"].shape[1], axis=1), "label_iou": overlap[:, 0]}
        before, after = self.shares(guessed), self.shares(rows)
        names = ("localization_top1", "known_label_accuracy")
        of_guess, of_model = partial(_mean_overlap, guessed), partial(_mean_overlap, rows)
        figures = {name: before[name].estimate for name in names} | bootstrap(of_guess, len(overlap))
        gain = {name: paired_proportions(before[name].right, after[name].right) for name in names}
        gain |= paired_bootstrap(of_guess, of_model, len(overlap))
        return {
            **{name: asdict(estimate) for name, estimate in figures.items()},
            "gain": {name: asdict(difference) for name, difference in gain.items()},
        }

    def describe(self, rows: Rows, index: int) -> dict[str, Any]:
        """Return an image's label, prediction, whether label and box are right, both boxes and their overlap."""
        label, overlap = int(rows["label"][index]), float(rows["iou"][index, 0])
        top = top_row(rows["top"][index].tolist(), rows["probability"][index].tolist(), self.classes)
        is_named = label == int(rows["top"][index, 0])
        return {
            "label": self.classes[label],
            "predicted": top[0]["class"],
            "correct": bool(is_named and overlap >= _RIGHT),
            "iou": round(overlap, 6),
            "box": plain_box(rows["box"][index].tolist()),
            "true_box": plain_box(rows["true_box"][index].tolist()),
            "top": top,
        }


def _mean_overlap(rows: Rows, weights: Weights) -> dict[str, NDArray[np.float64]]:
    return {"mean_box_iou": weights @ rows["iou"][:, 0] / weights.sum(axis=1)}


def make_evaluator(classes: Sequence[str], mean_box: Shares, *, select: str | None = None) -> LocalizationEvaluator:
    """Return the evaluator.

    Args:
        classes: The class names, in the order of the logits.
        mean_box: Of the training split.
        select: The metric that chooses the checkpoint; nothing for the first there is.

    Raises:
        UserError: If it has no metric of that name.
    """
    return LocalizationEvaluator(classes, mean_box, primary=select)


def rebuild_evaluator(description: dict[str, Any]) -> LocalizationEvaluator:
    """Return the evaluator that a run kept with its images and its model."""
    left, top, right, bottom = description["mean_box"]
    return make_evaluator(description["classes"], (left, top, right, bottom), select=description["primary"])
