"""What a check says of the labels of a data set: classes that can't be learned or measured, imbalance, counts."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from ..backbones.errors import did_you_mean
from .annotated_images import AnnotatedImages
from .contents import class_names
from .findings import Finding, count
from .open import Kind

IMBALANCE = 10
"""From this ratio between the largest and the smallest class on, a network does well to ignore the small one."""

CLASS_COUNTS = "class_counts"
"""The kind of the findings that only count."""

_LISTED_CLASSES = 20

_WEIGH = (
    "Train with --sampling balanced or --loss.class-weights balanced, and judge by macro F1 or the figures of each "
    "class."
)

_WEIGH_OBJECTS = "Judge by the figures of each class, of which the mean says little."


def check_labels(images: AnnotatedImages, *, kind: Kind = "labels") -> Iterable[Finding]:
    """Return findings on the classes of all splits, of one label an image or of several alike.

    Args:
        images: The data set.
        kind: What it was opened for. The classes of masks are weighed by their pixels, not here.
    """
    counts = count_classes(images)
    yield from _unknown_classes(images)
    yield from _rare_classes(images, counts)
    if kind != "masks":
        yield from _imbalance(counts, _WEIGH_OBJECTS if kind == "objects" else _WEIGH)
    yield from _class_counts(images, counts, "of no class" if kind != "masks" else "whose mask shows none of them")


def count_classes(images: AnnotatedImages) -> dict[str, dict[str, int]]:
    """Return the number of images of each class for each split, also of classes that ``train`` lacks."""
    counts = {
        split: Counter(name for record in records for name in class_names(record))
        for split, records in images.splits.items()
    }
    names = sorted({name for found in counts.values() for name in found} | set(images.classes))
    return {split: {name: found[name] for name in names} for split, found in counts.items()}


def _unknown_classes(images: AnnotatedImages) -> Iterable[Finding]:
    for split, records in images.splits.items():
        unknown: dict[str, list[str]] = defaultdict(list)
        for record in records:
            for name in class_names(record):
                if name not in images.classes:
                    unknown[name].append(record.name)
        for name, files in sorted(unknown.items()):
            message = (
                f"The class '{name}' of {count(len(files), 'image')} in '{split}' isn't one of the "
                f"{len(images.classes)} in 'train': {_list(images.classes)}.{did_you_mean(name, images.classes)}"
            )
            yield Finding("error", "class_not_in_train", message, tuple(files))


def _rare_classes(images: AnnotatedImages, counts: dict[str, dict[str, int]]) -> Iterable[Finding]:
    totals = {name: sum(found[name] for found in counts.values()) for name in images.classes}
    rare = [name for name, total in totals.items() if total == 1]
    unseen = [name for name, total in totals.items() if not total]
    if unseen:
        message = f"{count(len(unseen), 'class is', 'classes are')} listed, but in no image: {_list(unseen)}."
        yield Finding("warning", "class_without_image", message)
    if rare:
        files = [record.name for record in images.everything if set(class_names(record)) & set(rare)]
        message = (
            f"{count(len(rare), 'class has', 'classes have')} a single image, which can't both be learned from and "
            f"measured on: {_list(rare)}."
        )
        yield Finding("warning", "single_image_class", message, tuple(files))
    for split, found in counts.items():
        absent = [name for name in images.classes if not found[name] and name not in (*rare, *unseen)]
        if absent:
            effect = "can't be learned" if split == "train" else "has no figure there"
            has = count(len(absent), "class has", "classes have")
            message = f"{has} no image in '{split}' and so {effect}: {_list(absent)}."
            yield Finding("warning", "class_not_in_split", message)


def _imbalance(counts: dict[str, dict[str, int]], advice: str) -> Iterable[Finding]:
    split = "train" if "train" in counts else next(iter(counts))
    present = {name: number for name, number in counts[split].items() if number}
    if not present:
        return
    most, least = (choose(present, key=lambda name: present[name]) for choose in (max, min))
    if present[most] >= IMBALANCE * present[least]:
        message = (
            f"'{most}' has {present[most] / present[least]:,.0f} times as many images in '{split}' as '{least}' "
            f"({present[most]:,} and {present[least]:,}). {advice}"
        )
        yield Finding("warning", "imbalance", message)


def _class_counts(images: AnnotatedImages, counts: dict[str, dict[str, int]], without: str) -> Iterable[Finding]:
    for split, found in counts.items():
        unlabelled = tuple(record.name for record in images.splits[split] if not class_names(record))
        none = f"; {count(len(unlabelled), 'image')} {without}" if unlabelled else ""
        message = f"'{split}' has {count(len(images.splits[split]), 'image')}: {spread_counts(found)}{none}."
        yield Finding("info", CLASS_COUNTS, message, unlabelled)


def spread_counts(found: Mapping[str, int]) -> str:
    """Return how many there are of each class, for a sentence; of many classes the ends only."""
    ordered = sorted(found.items(), key=lambda item: -item[1])
    if len(ordered) <= _LISTED_CLASSES:
        return ", ".join(f"{number:,} {name}" for name, number in ordered)
    return (
        f"{len(ordered)} classes, from {ordered[0][1]:,} ({ordered[0][0]}) to {ordered[-1][1]:,} "
        f"({ordered[-1][0]}), median {ordered[len(ordered) // 2][1]:,}"
    )


def _list(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_LISTED_CLASSES]) + (", ..." if len(names) > _LISTED_CLASSES else "")
