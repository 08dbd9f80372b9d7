"""Opening the data set of a classification command."""

from pathlib import Path

from ...datasets import AnnotatedImages, DataError, open_dataset, require_labels
from ..model_file import read_description
from .options import EvaluateOptions, TrainOptions


def open_for_training(options: TrainOptions, split_file: Path) -> dict[str, AnnotatedImages]:
    """Return the training and the validation split; a run that goes on reads the split it was started with."""
    goes_on = options.resume and split_file.is_file()
    opened = open_dataset(
        options.data,
        "train",
        split_seed=options.split_seed,
        val_fraction=options.val_fraction,
        split_file=split_file if goes_on else None,
    )
    if options.fold is not None and not goes_on:
        assert options.folds is not None
        opened = opened.with_fold(options.fold, folds=options.folds, seed=options.split_seed)
    for note in opened.notes:
        print(note)
    if len(opened.classes) < 2:
        only = opened.classes[0]
        raise DataError(f"{options.data}: there is one class only, '{only}'; there is nothing to tell apart.")
    splits = {"train": opened, "val": opened.select("val")}
    for images in splits.values():
        require_labels(images)
    return splits


def open_for_model(model: str, options: EvaluateOptions) -> AnnotatedImages:
    """Open the split; where a model was trained on a cut of these very data, the cut that it was trained with.

    Raises:
        DataError: Also for data that have no splits of their own and aren't those that the model was trained on.
    """
    folder, description = read_description(model)
    cut = folder / "split.csv"
    if not cut.is_file() or options.split == "all":
        return open_split(options)
    try:
        images = open_dataset(options.data, options.split, split_file=cut)
        is_own = images.select("val").fingerprint() == description["data"]["fingerprint"]
    except DataError:  # it lacks images of the cut
        is_own = False
    if not is_own:
        return open_split(options)
    require_labels(images)
    print(f"{options.split} is the split that the model was trained with ({cut})")
    return images


def open_split(options: EvaluateOptions) -> AnnotatedImages:
    """Open a split that the data set has; one is never cut for an evaluation.

    Raises:
        DataError: If there is no such split, or the images have no labels.
    """
    images = open_dataset(options.data, options.split)
    if images.is_cut:
        raise DataError(f"{options.data}: there is no split '{options.split}'. To evaluate everything: --split all")
    require_labels(images)
    for note in images.notes:
        print(note)
    return images
