"""Opening the data set of a classification command."""

from dataclasses import replace
from pathlib import Path

from ...datasets import AnnotatedImages, DataError, open_dataset, read_split, require_label_sets, require_labels
from ..model_file import read_description
from ..option_checks import note_unused_cut
from .options import EvaluateOptions, TrainOptions


def open_for_training(options: TrainOptions, split_file: Path) -> dict[str, AnnotatedImages]:
    """Return the training and the validation split; a run that goes on reads the split it was started with."""
    if options.resume and split_file.is_file():
        opened = open_dataset(options.data, "train", split_file=split_file)
        # the file says which images, the data and the options how they were chosen when the run began
        cut = _cut(options)
        opened = replace(opened, splits_origin=cut.splits_origin) if cut.is_cut else opened
    else:
        opened = _cut(options)
    note_unused_cut(options, is_cut=opened.is_cut)
    for note in opened.notes:
        print(note)
    is_multi_label = options.labels == "multi" or (options.labels == "auto" and gives_label_sets(opened))
    splits = {
        "train": _with_labels(opened, is_multi_label=is_multi_label),
        "val": _with_labels(opened.select("val"), is_multi_label=is_multi_label),
    }
    only = opened.classes[0]
    if len(opened.classes) == 1 and splits["train"].class_counts()[only] == len(opened):
        raise DataError(f"{options.data}: there is one class only, '{only}'; there is nothing to tell apart.")
    return splits


def _cut(options: TrainOptions) -> AnnotatedImages:
    """Return the data set with the splits it has, or with those that the options cut."""
    opened = open_dataset(options.data, "train", split_seed=options.split_seed, val_fraction=options.val_fraction)
    if options.fold is None:
        return opened
    assert options.folds is not None
    return opened.with_fold(options.fold, folds=options.folds, seed=options.split_seed)


def gives_label_sets(images: AnnotatedImages) -> bool:
    """Whether the split gives its images any number of labels."""
    return any("labels" in record.targets for record in images.records)


def _with_labels(images: AnnotatedImages, *, is_multi_label: bool) -> AnnotatedImages:
    """Return the data set with the kind of labels that a task needs.

    Raises:
        DataError: Naming the first image that has others or none.
    """
    if is_multi_label:
        return require_label_sets(images)
    require_labels(images)
    return images


def open_for_model(model: str, options: EvaluateOptions) -> AnnotatedImages:
    """Open the split; where a model was trained on a cut of these very data, the cut that it was trained with.

    Its images come with the kind of labels that the model gives.

    Raises:
        DataError: Also for data that have no splits of their own and aren't those that the model was trained on; and
            for a split of such with images that the model was trained on.
    """
    folder, description = read_description(model)
    is_multi_label = description["readout"] == "sigmoid"
    cut = folder / "split.csv"
    if not cut.is_file() or options.split == "all":
        return open_split(options, is_multi_label=is_multi_label)
    try:
        images = open_dataset(options.data, options.split, split_file=cut)
        images = _with_labels(images, is_multi_label=is_multi_label)
        is_own = images.select("val").fingerprint() == description["data"]["fingerprint"]
    except DataError:  # it lacks images of the cut
        is_own = False
    if not is_own:
        images = open_split(options, is_multi_label=is_multi_label)
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


def open_split(options: EvaluateOptions, *, is_multi_label: bool = False) -> AnnotatedImages:
    """Open a split that the data set has; one is never cut for an evaluation.

    Raises:
        DataError: If there is no such split, or the images have none of the labels that are needed.
    """
    images = open_dataset(options.data, options.split)
    if images.is_cut:
        raise DataError(f"{options.data}: there is no split '{options.split}'. To evaluate everything: --split all")
    for note in images.notes:
        print(note)
    return _with_labels(images, is_multi_label=is_multi_label)
