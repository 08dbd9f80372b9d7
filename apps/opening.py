"""Opening the splits of a training, and the split that a model is evaluated on, whatever the app."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..datasets import AnnotatedImages, DataError, Kind, open_dataset, read_split
from .config import EvaluationOptions, TrainingOptions
from .model_file import read_description
from .option_checks import note_unused_cut

Require = Callable[[AnnotatedImages], AnnotatedImages]
"""Returns a split with the targets that a task needs, or raises the ``DataError`` of an image that lacks them."""

_noted: ContextVar[set[str] | None] = ContextVar("noted", default=None)
"""The notes that were printed, where each is wanted once."""


@dataclass(frozen=True)
class Trained:
    """What is known of the data that a model was trained on.

    Attributes:
        description: What its app's ``model.json`` says.
        split_file: Where the split lies that was cut for its training; None where none was.
    """

    description: Mapping[str, Any]
    split_file: Path | None

    @classmethod
    def read(cls, model: str) -> "Trained":
        """Return what the folder of a single app's model says.

        Raises:
            UserError: If there is no model, or its description is damaged.
        """
        folder, description = read_description(model)
        cut = folder / "split.csv"
        return cls(description, cut if cut.is_file() else None)


@contextmanager
def noting_once() -> Iterator[None]:
    """Print each note on a data set once in the block, however many tasks open it."""
    token = _noted.set(set())
    try:
        yield
    finally:
        _noted.reset(token)


def _print_notes(images: AnnotatedImages) -> None:
    noted = _noted.get()
    for note in images.notes:
        if noted is None or note not in noted:
            print(note)
        if noted is not None:
            noted.add(note)


def open_training_splits(
    options: TrainingOptions, split_file: Path, *, kind: Kind, require: Require
) -> dict[str, AnnotatedImages]:
    """Return the training and the validation split; a run that goes on reads the split it was started with.

    Args:
        options: The data set, and how it is cut.
        split_file: Where a run keeps a split that was cut for it.
        kind: What is annotated.
        require: Checks each of the two.
    """
    if options.resume and split_file.is_file():
        opened = open_dataset(options.data, "train", kind=kind, split_file=split_file)
        # the file says which images, the data and the options how they were chosen when the run began
        cut = _cut(options, kind)
        opened = replace(opened, splits_origin=cut.splits_origin) if cut.is_cut else opened
    else:
        opened = _cut(options, kind)
    note_unused_cut(options, is_cut=opened.is_cut)
    _print_notes(opened)
    return {"train": require(opened), "val": require(opened.select("val"))}


def _cut(options: TrainingOptions, kind: Kind) -> AnnotatedImages:
    """Return the data set with the splits it has, or with those that the options cut."""
    opened = open_dataset(
        options.data, "train", kind=kind, split_seed=options.split_seed, val_fraction=options.val_fraction
    )
    if options.fold is None:
        return opened
    assert options.folds is not None
    return opened.with_fold(options.fold, folds=options.folds, seed=options.split_seed)


def open_model_split(trained: Trained, options: EvaluationOptions, *, kind: Kind, require: Require) -> AnnotatedImages:
    """Open the split; where a model was trained on a cut of these very data, the cut that it was trained with.

    Args:
        trained: The data that the model was trained on.
        options: The data set and the split.
        kind: What is annotated.
        require: Checks the split.

    Raises:
        DataError: Also for data that have no splits of their own and aren't those that the model was trained on; and
            for a split of such with images that the model was trained on.
    """
    cut = trained.split_file
    if cut is None or options.split == "all":
        return open_named_split(options, kind=kind, require=require)
    try:
        images = require(open_dataset(options.data, options.split, kind=kind, split_file=cut))
        is_own = images.select("val").fingerprint() == trained.description["data"].get("fingerprint")
    except DataError:  # it lacks images of the cut
        is_own = False
    if not is_own:
        images = open_named_split(options, kind=kind, require=require)
        _refuse_trained(images, cut)
        return images
    print(f"{options.split} is the split that the model was trained with ({cut})")
    return images


def _refuse_trained(images: AnnotatedImages, cut: Path) -> None:
    """Refuse a split, other than ``train``, that holds images which a model's own cut gave it to learn.

    Names are all that tells. Where some of the cut are missing, the data may be others with like names: a warning then.

    Raises:
        DataError: Saying how many, and what to do.
    """
    chosen = read_split(cut)
    trained = [record.name for record in images.records if chosen.get(record.name) == "train"]
    if images.split == "train" or not trained:
        return
    count = f"{len(trained)} of the {len(images)} images of '{images.split}'"
    if chosen.keys() <= {record.name for record in images.everything}:
        raise DataError(
            f"{images.root}: {count} are images that the model was trained on, e.g. {trained[0]} ({cut}), and its own "
            "'val' isn't in these data as it was. Restore the data, or evaluate images that are new to the model. To "
            "evaluate everything all the same: --split all"
        )
    print(
        f"warning: {count} have the names of images that the model was trained on, e.g. {trained[0]} ({cut}); if they "
        "are the same images, the figures flatter the model."
    )


def open_named_split(options: EvaluationOptions, *, kind: Kind, require: Require) -> AnnotatedImages:
    """Open a split that the data set has; one is never cut for an evaluation.

    Raises:
        DataError: If there is no such split, or the images lack the targets that are needed.
    """
    images = open_dataset(options.data, options.split, kind=kind)
    if images.is_cut:
        raise DataError(f"{options.data}: there is no split '{options.split}'. To evaluate everything: --split all")
    _print_notes(images)
    return require(images)
