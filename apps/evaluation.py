"""What an app's evaluator promises, and what an evaluation holds.

An evaluator keeps a few numbers of each image, its rows, and every figure is a function of rows. That one rule makes
figures independent of batch size, order, workers and processes, gives every metric an interval over images, and lets
runs be compared on the same images long after they ended.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbones.errors import unknown
from ..datasets import BadSample, Batch, DataError
from .evaluated_images import EvaluatedImages, Rows
from .intervals import Estimate, Weights, bootstrap, proportion, values_of


@dataclass(frozen=True)
class Evaluation:
    """The figures of one pass over a split.

    Attributes:
        metrics: Name -> value with interval; the names of ``docs/results.md``.
        per_class: One row a class, in the order of the class list.
        details: More that belongs on the card, such as a confusion matrix; plain JSON values.
        predictions: One row an image, in the order of the split; skipped images keep a row with the reason.
        used: How many images were evaluated.
        skipped: The images that couldn't be read.
        images: What the figures were computed from; the run keeps it for comparisons.
        primary: The metric to look at first.
    """

    metrics: dict[str, Estimate]
    per_class: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    used: int = 0
    skipped: tuple[BadSample, ...] = ()
    images: EvaluatedImages | None = None
    primary: str = ""


@dataclass(frozen=True)
class Piece:
    """What is kept of one batch.

    Attributes:
        indices: int64 ``[B]``: the place of each image in the split.
        names: Of the images.
        rows: The evaluator's.
        skipped: The images that couldn't be read.
        loss: The batch's mean loss; 0 where nothing of it could be used.
    """

    indices: NDArray[np.int64]
    names: list[str]
    rows: Rows
    skipped: list[BadSample]
    loss: float


@dataclass(frozen=True)
class ImageScores:
    """How well a model did on each image.

    Attributes:
        correct: bool ``[N]``: whether it was right.
        probability: ``[N]``: what it gave to the truth, 0 to 1.
    """

    correct: NDArray[np.bool_]
    probability: NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """A metric that is the share of some images that are right.

    Attributes:
        right: bool ``[N]``: which images are right.
        counted: bool ``[N]``: which images it is the share of.
    """

    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]

    @property
    def estimate(self) -> Estimate:
        """The share with Wilson's interval; at least one image has to be counted."""
        return proportion(int((self.right & self.counted).sum()), int(self.counted.sum()))


class Evaluator(ABC):
    """Turns outputs into rows, and rows into figures."""

    task: str
    """The app, whose ``metrics.py`` has the function ``rebuild_evaluator``."""
    primary: str
    """The metric that chooses the best checkpoint; higher is better."""
    truth: tuple[str, ...] = ()
    """The rows that hold what is known of an image; models are compared only where they agree."""
    inflated: tuple[str, ...] = ()
    """The metrics that chance can only raise, so that the samples of a bootstrap lie above the value."""
    may_differ: tuple[str, ...] = ("primary",)
    """The keys of the description that change no figure's meaning, so that models are compared all the same."""
    lower_is_better: frozenset[str] = frozenset()
    """The metrics of which less is better."""
    is_brief: bool = False
    """Whether the rows of figures that cost much are left out, as between the epochs of a training."""
    kind: str = ""
    """What it judges, such as ``one label an image``, where an app has evaluators of several kinds."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Return plain values from which ``rebuild_evaluator`` makes the same evaluator."""

    @abstractmethod
    def collect(self, output: Any, batch: Batch) -> Rows:
        """Return what is kept of each image of a batch, on the CPU: arrays ``[B, ...]``."""

    def complete(self, images: EvaluatedImages) -> EvaluatedImages:
        """Return the images of a whole split with rows that take all of them, such as how rare a word is.

        ``measure`` gets what it returns, and so does whoever compares runs.
        """
        return images

    @abstractmethod
    def measure(self, rows: Rows, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return every metric for weighted images.

        Args:
            rows: Of N images.
            weights: ``[R, N]``.

        Returns:
            Name -> ``[R]`` values; NaN where the weights leave the metric undefined.
        """

    @abstractmethod
    def describe(self, rows: Rows, index: int) -> dict[str, Any]:
        """Return an image's row of the predictions: plain values, without the image's name."""

    def shares(self, rows: Rows) -> dict[str, Share]:
        """Return the metrics that are shares of images; those that count no image are left out."""
        return {}

    def intervals(self, rows: Rows) -> dict[str, Estimate]:
        """Return the metrics whose interval isn't the bootstrap's: shares, and what a task adds."""
        return {name: share.estimate for name, share in self.shares(rows).items()}

    def per_class(self, rows: Rows) -> list[dict[str, Any]]:
        """Return a row a class, for the card."""
        return []

    def details(self, rows: Rows) -> dict[str, Any]:
        """Return more that belongs on the card."""
        return {}

    def scores(self, rows: Rows) -> ImageScores | None:
        """Return how well the model did on each image, where a task can say so of a single one."""
        return None

    def recalls(self, rows: Rows) -> dict[str, Share]:
        """Return the share of each class that was found; classes without images are left out."""
        return {}

    def judges_as(self, other: "Evaluator") -> bool:
        """Whether the figures of both mean the same."""
        aside = dict.fromkeys(self.may_differ)
        return type(self) is type(other) and self.description() | aside == other.description() | aside

    def values(self, images: EvaluatedImages) -> dict[str, float]:
        """Return the metrics without intervals, which cost more than they do."""
        return values_of(partial(self.measure, images.rows), len(images))

    def evaluate(self, images: EvaluatedImages, skipped: Sequence[BadSample] = ()) -> Evaluation:
        """Return all figures of a split's images."""
        measure = partial(self.measure, images.rows)
        metrics = bootstrap(measure, len(images), inflated=self.inflated)
        own = self.intervals(images.rows)
        metrics = {name: own.get(name, estimate) for name, estimate in metrics.items()}
        return Evaluation(
            metrics=metrics,
            per_class=self.per_class(images.rows),
            details=self.details(images.rows),
            predictions=self._predictions(images, skipped),
            used=len(images),
            skipped=tuple(skipped),
            images=images,
            primary=self.primary,
        )

    def _predictions(self, images: EvaluatedImages, skipped: Sequence[BadSample]) -> list[dict[str, Any]]:
        """Return a row an image in the split's order; skipped ones in their place, with the reason."""
        rows: dict[int, dict[str, Any]] = {bad.index: {"image": bad.name, "error": bad.reason} for bad in skipped}
        for place, (index, name) in enumerate(zip(images.indices.tolist(), images.names, strict=True)):
            rows[index] = {"image": name, **self.describe(images.rows, place)}
        return [rows[index] for index in sorted(rows)]


def choose_metric(asked: str | None, selectable: Sequence[str]) -> str:
    """Return the metric that chooses the checkpoint: what was asked for, or the first that can.

    Raises:
        UserError: If there is none of that name.
    """
    if asked is not None and asked not in selectable:
        raise unknown("metric for --select", asked, selectable)
    return asked or selectable[0]


def join_pieces(pieces: Sequence[Piece]) -> tuple[EvaluatedImages, list[BadSample]]:
    """Return the images of all batches in the split's order, and those that couldn't be read.

    Raises:
        DataError: If no image could be used.
    """
    skipped = sorted((bad for piece in pieces for bad in piece.skipped), key=lambda bad: bad.index)
    used = [piece for piece in pieces if piece.names]
    if not used:
        raise DataError("No image of the split could be used; there is nothing to evaluate.")
    indices = np.concatenate([piece.indices for piece in used])
    names = [name for piece in used for name in piece.names]
    rows = {key: np.concatenate([piece.rows[key] for piece in used]) for key in used[0].rows}
    images = EvaluatedImages(indices, tuple(names), rows)
    return images.select(np.argsort(indices, kind="stable")), skipped


def mean_loss(pieces: Sequence[Piece]) -> float:
    """Return the mean loss over images, added up in the split's order whoever evaluated which batch."""
    ordered = sorted((piece for piece in pieces if piece.names), key=lambda piece: int(piece.indices[0]))
    return sum(piece.loss * len(piece.names) for piece in ordered) / max(1, sum(len(piece.names) for piece in ordered))
