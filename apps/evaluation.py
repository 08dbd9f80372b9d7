"""What an app's evaluator promises, and what an evaluation holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..datasets import BadSample, Batch
from .intervals import Estimate


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
    """

    metrics: dict[str, Estimate]
    per_class: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    used: int = 0
    skipped: tuple[BadSample, ...] = ()


class Evaluator(Protocol):
    """Collects outputs batch by batch; the result depends neither on batch size nor on the order of batches."""

    primary: str
    """The metric that chooses the best checkpoint; higher is better."""

    def reset(self) -> None:
        """Forget everything seen."""

    def update(self, output: Any, batch: Batch) -> None:
        """Take a head's output for one batch, on any device."""

    def compute(self) -> Evaluation:
        """Return the figures of everything seen since the last reset."""


def values(metrics: Mapping[str, Estimate]) -> dict[str, float]:
    """Return the metrics without their intervals."""
    return {name: estimate.value for name, estimate in metrics.items()}
