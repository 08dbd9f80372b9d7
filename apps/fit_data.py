"""What a training reads: one data set, or several side by side."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..datasets import Record, ResumableLoader, write_split
from .run_folder import RunFolder
from .trainer import Loader


@dataclass(frozen=True)
class FitData:
    """What a task is trained on.

    Attributes:
        train: The training split.
        val: The split that chooses the checkpoint.
        train_fingerprint: Of the training split's records; a run resumes only on the same.
        val_fingerprint: Of the validation split's records.
        facts: The card's ``data``: at least the path.
        val_contents: A short hash of each validation image's file, by the image's name, where its app writes them.
        cut_split: The splits, where they were cut for this run; they are kept with it and with the model.
        unreadable: Why training images can't be read and are left out, by their names, as far as is known beforehand.
        stored: What was stored of the images for the training, for the card; None where nothing was.
        stored_seconds: How long the features of each split took.
        levels: What of the trunk is read where these pictures are, so that no more of it is stored; None for all.
        drawn: How many training batches an epoch takes of these data beside others; None for each once.
    """

    train: ResumableLoader
    val: ResumableLoader
    train_fingerprint: str
    val_fingerprint: str
    facts: dict[str, Any]
    val_contents: Mapping[str, int] = field(default_factory=dict)
    cut_split: Mapping[str, Sequence[Record]] | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)
    stored: Mapping[str, Any] | None = None
    stored_seconds: Mapping[str, float] = field(default_factory=dict)
    levels: tuple[str, ...] | None = None
    drawn: int | None = None

    @property
    def sources(self) -> "Mapping[str, FitData]":
        """See ``TrainingData``."""
        return {"": self}

    def with_sources(self, sources: "Mapping[str, FitData]") -> "FitData":
        """See ``TrainingData``."""
        return sources[""]

    @property
    def fingerprint(self) -> str:
        """See ``TrainingData``."""
        return f"{self.train_fingerprint} {self.val_fingerprint}"

    def write_splits(self, run: RunFolder) -> None:
        """See ``TrainingData``."""
        if self.cut_split:
            write_split(run.split, self.cut_split)

    def own_epochs(self, epochs: int) -> int:
        """Return how often a training of so many epochs goes through the training split, in part or whole."""
        return epochs if self.drawn is None else math.ceil(epochs * self.drawn / len(self.train))

    def skipped_samples(self, met: Mapping[str, str]) -> dict[str, Any]:
        """Return the card's account of the training images: how many were used, and which couldn't be read.

        Args:
            met: Name and reason of each that was come across in training; balanced sampling may never draw some.
        """
        reasons = {**self.unreadable, **met}
        skipped = [{"file": name, "reason": reason} for name, reason in sorted(reasons.items())]
        used = len(self.train.dataset) - len(skipped)
        return {"used": used, "skipped": len(skipped), "skipped_files": skipped, "fingerprint": self.train_fingerprint}


class TrainingData(Protocol):
    """What a training reads: one data set, or several side by side."""

    @property
    def train(self) -> Loader:
        """The training split."""

    @property
    def val(self) -> Loader:
        """The split that chooses the checkpoint."""

    @property
    def sources(self) -> Mapping[str, FitData]:
        """The data sets, by what the batches of several are called."""

    def with_sources(self, sources: Mapping[str, FitData]) -> "TrainingData":
        """Return the same data, read in another way."""

    @property
    def fingerprint(self) -> str:
        """Of both splits; a run goes on only with the same."""

    def write_splits(self, run: RunFolder) -> None:
        """Write down the splits that were cut for a run."""
