"""The images that a run or an evaluation was judged on, read back from its folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...backbones.errors import UserError, did_you_mean
from ..card import Card
from ..evaluated_images import EvaluatedImages, read_images
from ..evaluation import Evaluator, ImageScores, Share
from ..intervals import Measure
from ..outputs import RESULTS
from ..repeats import mean_measure, run_images
from ..run_folder import RunFolder
from ..task_names import MULTITASK


@dataclass(frozen=True)
class Judged:
    """A model's images, or those of several models of the same recipe.

    Attributes:
        path: The folder.
        card: Its card.
        names: Of the images.
        parts: The images, once for each seed.
        evaluator: Makes figures of them.
    """

    path: Path
    card: Card
    names: tuple[str, ...]
    parts: tuple[EvaluatedImages, ...]
    evaluator: Evaluator

    @property
    def unit(self) -> str:
        """What each of the images is: an ``image``, or a ``subject`` that several images were judged together for."""
        return self.parts[0].unit

    @property
    def contents(self) -> NDArray[np.uint64] | None:
        """The short hashes of their files; nothing where a release wrote them that didn't keep them."""
        return self.parts[0].contents

    def select(self, places: Sequence[int]) -> "Judged":
        """Return some of the images, by their places among these."""
        parts = tuple(part.select(places) for part in self.parts)
        return replace(self, names=parts[0].names, parts=parts)

    @property
    def measure(self) -> Measure:
        """The metrics, means over the seeds."""
        return partial(mean_measure, self.evaluator.measure, [part.rows for part in self.parts])

    def shares(self) -> list[dict[str, Share]]:
        """Return for each seed the metrics that are shares of images."""
        return [self.evaluator.shares(part.rows) for part in self.parts]

    def recalls(self) -> list[dict[str, Share]]:
        """Return for each seed the share of each class that was found."""
        return [self.evaluator.recalls(part.rows) for part in self.parts]

    def scores(self) -> list[ImageScores]:
        """Return for each seed how well each image was done; nothing where the task has no such figure."""
        found = [self.evaluator.scores(part.rows) for part in self.parts]
        return [scores for scores in found if scores is not None]

    def truth(self) -> list[NDArray[np.generic]]:
        """Return what is known of the images."""
        return [self.parts[0].rows[key] for key in self.evaluator.truth]


def read_judged(path: Path) -> Judged:
    """Return the images of a run, of several seeds or folds, or of an evaluation.

    Raises:
        UserError: If the folder holds no results, or not the images that they came from.
    """
    card = read_card(path)
    read = [read_images(file) for file in find_images(path, card)]
    parts = tuple(images for images, _ in read)
    names = parts[0].names
    if any(part.names != names or other_contents(part.contents, parts[0].contents).any() for part in parts):
        raise UserError(f"The seeds in '{path}' were validated on different images. Train again: --overwrite.")
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise UserError(f"'{path}' has two images called '{twice}', so images can't be matched by their names.")
    return Judged(path, card, names, parts, read[0][1])


def find_images(path: Path, card: Card) -> list[Path]:
    """Return the files with the images of a folder, of which nothing is read.

    Raises:
        UserError: If one is missing.
    """
    files = run_images(path, card)
    for file in files:
        if not file.is_file():
            raise UserError(f"'{file}' is missing, so '{path}' can't be compared. Evaluate the model: --output DIR.")
    return files


def other_contents(first: NDArray[np.uint64] | None, second: NDArray[np.uint64] | None) -> NDArray[np.bool_]:
    """Return for each image whether two hashes of its file are known and differ; nothing where none are known."""
    if first is None or second is None:
        return np.zeros(0, dtype=bool)
    return np.asarray((first != second) & (first != 0) & (second != 0))


def read_card(path: Path) -> Card:
    """Return the card in a folder.

    Raises:
        UserError: If there is none, saying what the folder is instead, if it is that of several tasks, or if it is
            damaged.
    """
    file = path / RESULTS
    if path.is_file():
        inside = f" Name the one that it lies in: {path.parent}" if path.with_name(RESULTS).is_file() else ""
        raise UserError(f"'{path}' is a file; a run or an evaluation is a folder.{inside}")
    if not path.is_dir():
        near = did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise UserError(f"There is no folder '{path}'.{near}")
    if not file.is_file():
        if RunFolder(path).holds_run:
            raise UserError(f"The run in '{path}' isn't finished. Go on with its command and --resume.")
        raise UserError(f"'{path}' holds no {RESULTS}: neither a finished run nor an evaluation with --output.")
    if tasks := list_tasks(path):
        inner = ", ".join(str(path / name) for name in tasks)
        raise UserError(f"'{path}' holds the results of several tasks; name the folder of one of them: {inner}")
    try:
        return Card.read(file)
    except (ValueError, TypeError, json.JSONDecodeError) as error:
        raise UserError(f"'{file}' is damaged: {error}") from error


def list_tasks(path: Path) -> tuple[str, ...]:
    """Return the tasks of a folder with the card of several, each in a folder of its own; of any other folder none."""
    try:
        card = json.loads((path / RESULTS).read_text(encoding="utf-8"))
        return tuple(card["tasks"].keys()) if card["task"] == MULTITASK else ()
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # whatever it is, it isn't such a card
        return ()
