"""Several pictures of one subject, judged together: the mean of their probabilities.

How often a person is recognised is a proportion of persons, not of pictures; pictures of one person aren't independent,
and an interval over pictures would be too narrow.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...datasets import AnnotatedImages, BadSample, Batch, Context, DataError, Record
from ..evaluated_images import EvaluatedImages, Members, Rows
from ..evaluation import Evaluation, Evaluator
from ..intervals import Weights
from ..subject_figures import describe_subjects
from ..task import Head, Task
from .averaging import AveragingHead

Average = Callable[[Sequence[Tensor]], Tensor]
_TARGET = "target_"


def judge_by_subject(task: Task, *splits: AnnotatedImages) -> None:
    """Let a task's figures be those of subjects, for images of these splits of one data set.

    Raises:
        DataError: If an image has no subject, or the images of one subject have different labels.
    """
    assert isinstance(task.head, AveragingHead)
    found = {images.split: subjects_of(images) for images in splits}
    counts = ", ".join(f"{len(set(subjects.values())):,} {split}" for split, subjects in found.items())
    print(f"figures are of subjects, each the mean of its images' probabilities: {counts} subjects")
    subjects = {name: subject for one in found.values() for name, subject in one.items()}
    task.evaluator = SubjectEvaluator(task.evaluator, subjects, task.head.average)


def subjects_of(images: AnnotatedImages) -> dict[str, str]:
    """Return the subject of each image of a split, by the image's name.

    Raises:
        DataError: If an image has no subject, or the images of one subject have different labels.
    """
    first: dict[str, Record] = {}
    for record in images.records:
        if "subject" not in record.targets:
            raise DataError(
                f"{images.root} doesn't say who or what is shown in {record.path}. --by-subject needs a table with a "
                "column 'subject'."
            )
        other = first.setdefault(record.targets["subject"], record)
        if _labels(other) != _labels(record):
            raise DataError(
                f"{images.root}: the images of the subject '{record.targets['subject']}' have different labels: "
                f"{other.path} has {_labels(other)}, {record.path} has {_labels(record)}. --by-subject gives a subject "
                "one prediction; correct the labels, or leave it out."
            )
    return {record.name: record.targets["subject"] for record in images.records}


def _labels(record: Record) -> str:
    """Return the label or labels for comparison, as a person writes them."""
    names = record.targets["labels"] if "labels" in record.targets else (record.targets["label"],)
    return "'" + ";".join(sorted(names)) + "'"


class SubjectEvaluator(Evaluator):
    """Gives another evaluator's figures for subjects in place of images; every interval is over subjects.

    Besides the other's rows it keeps each image's ``output`` float32 ``[N, C]`` and its targets.

    Args:
        inner: Knows what to measure.
        subjects: The subject of each image, by the image's name.
        average: Makes one output of several (``AveragingHead``).
    """

    def __init__(self, inner: Evaluator, subjects: Mapping[str, str], average: Average) -> None:
        """See the class."""
        self.inner = inner
        self.task, self.primary = inner.task, inner.primary
        self.subjects = subjects
        self.average = average

    def description(self) -> dict[str, Any]:
        """Return the other's: what a run keeps are the rows of subjects."""
        return self.inner.description()

    def collect(self, output: Tensor, batch: Batch) -> Rows:
        """Return the other's rows of a batch with logits ``[B, C]`` and targets."""
        kept = {"output": output.float()}
        for key, value in batch.targets.items():
            assert isinstance(value, Tensor)
            kept[f"{_TARGET}{key}"] = value
        return {**self.inner.collect(output, batch), **{key: value.cpu().numpy() for key, value in kept.items()}}

    def measure(self, rows: Rows, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return the other's metrics."""
        return self.inner.measure(rows, weights)

    def describe(self, rows: Rows, index: int) -> dict[str, Any]:
        """Return the other's row of the predictions."""
        return self.inner.describe(rows, index)

    def values(self, images: EvaluatedImages) -> dict[str, float]:
        """Return the metrics of the images' subjects."""
        return self.inner.values(self.merge(images)[0])

    def evaluate(self, images: EvaluatedImages, skipped: Sequence[BadSample] = ()) -> Evaluation:
        """Return all figures of the images' subjects, and in the details those of the images."""
        subjects, places = self.merge(images)
        evaluation = self.inner.evaluate(subjects)
        counts = np.bincount(places)
        rows = [{**row, "subject": self.subjects[row["image"]]} for row in self._predictions(images, skipped)] + [
            {"subject": row.pop("image"), "images": int(count), **row}
            for row, count in zip(evaluation.predictions, counts, strict=True)
        ]
        return replace(
            evaluation,
            details={**evaluation.details, **describe_subjects(subjects, self.inner)},
            predictions=rows,
            used=len(images),
            skipped=tuple(skipped),
        )

    def merge(self, images: EvaluatedImages) -> tuple[EvaluatedImages, NDArray[np.intp]]:
        """Return the subjects as if each were an image, in the order of their first image, and each image's subject.

        Returns:
            The subjects, and ``[N]`` for each image the place of its subject among them.
        """
        members = _group([self.subjects[name] for name in images.names])
        places = np.empty(len(images), dtype=np.intp)
        for place, its_images in enumerate(members.values()):
            places[its_images] = place
        first = [its_images[0] for its_images in members.values()]
        merged = _average_groups(torch.from_numpy(images.rows["output"]), members, self.average)
        rows = self.inner.collect(merged, _as_batch(images, first, list(members)))
        kept = {key: array for key, array in images.rows.items() if key != "output" and not key.startswith(_TARGET)}
        subjects = EvaluatedImages(
            images.indices[first], tuple(members), rows, members=Members(replace(images, rows=kept), places)
        )
        return subjects, places


def predict_folders(head: Head, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return predictions without their raw ``output``, and behind them a row for each folder of pictures.

    Args:
        head: Gave the outputs.
        rows: Of images, with ``output`` ``[C]`` where the image could be read.
    """
    assert isinstance(head, AveragingHead)
    outputs = {row["image"]: row["output"] for row in rows if "output" in row}
    images = [{key: value for key, value in row.items() if key != "output"} for row in rows]
    if not outputs:
        return images
    members = _group([Path(name).parent.as_posix() for name in outputs])
    merged = _average_groups(torch.stack(list(outputs.values())), members, head.average)
    predicted = head.predict(merged, _no_context(len(members)))
    return images + [
        {"folder": folder, "images": len(its_images), **row}
        for (folder, its_images), row in zip(members.items(), predicted, strict=True)
    ]


def _group(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the places of each name, the names in the order in which they occur first."""
    members: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        members.setdefault(name, []).append(place)
    return members


def _average_groups(outputs: Tensor, members: Mapping[str, list[int]], average: Average) -> Tensor:
    """Return ``[G, C]``: the average of each group of the rows ``[N, C]``."""
    return torch.cat([average(torch.split(outputs[places], 1)) for places in members.values()])


def _as_batch(images: EvaluatedImages, first: list[int], names: list[str]) -> Batch:
    """Return subjects as a batch with the targets of their first images, which all their images share."""
    targets = {
        key.removeprefix(_TARGET): torch.from_numpy(value[first])
        for key, value in images.rows.items()
        if key.startswith(_TARGET)
    }
    return Batch(None, {}, _no_context(len(first)), dict(targets), torch.from_numpy(images.indices[first]), names)


def _no_context(size: int) -> Context:
    """Return the context of what has no canvas."""
    sizes = torch.zeros((size, 2), dtype=torch.int64)
    return Context((0, 0), sizes, sizes)
