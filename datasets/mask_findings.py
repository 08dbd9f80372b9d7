"""What a check says of masks: which can't be used, what they ignore, how many pixels each class has."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import ExifTags, Image

from .annotated_images import AnnotatedImages
from .findings import Finding, count
from .image_findings import Facts
from .images import ImageFacts
from .label_findings import IMBALANCE
from .masks import BACKGROUND, MaskFile
from .sample import IGNORED, Record

RARE_SHARE = 0.0001
"""A class with less than this share of the pixels is hardly seen by a network, or by its figure."""

_SOFT_VALUES = 10
"""More values than this, and hardly a pixel of them: the edges of a mask that was drawn or resized softly."""

_LISTED = 40


def check_masks(images: AnnotatedImages, facts: Facts) -> Iterable[Finding]:
    """Return findings on the masks of all splits."""
    for records in images.splits.values():
        yield from _unusable(records, facts)
    pixels = count_pixels(images)
    yield from _ignored(images, pixels)
    trained = "train" if "train" in pixels else next(iter(pixels))
    yield from _rare(trained, pixels[trained])
    yield from _soft_edges(images, pixels)
    yield from _turned(images, facts)
    yield from _readings(images)
    for split, records in images.splits.items():
        yield from _shares(split, records, facts)


def count_pixels(images: AnnotatedImages) -> dict[str, dict[str, int]]:
    """Return the number of pixels of each class for each split; of ignored ones under ``""``."""
    counts = {split: _sum_pixels(records) for split, records in images.splits.items()}
    return {split: {name: found[name] for name in (*images.classes, "")} for split, found in counts.items()}


def _sum_pixels(records: Iterable[Record]) -> Counter[str]:
    found = Counter[str]()
    for record in records:
        found.update(record.targets["mask"].pixels)
    return found


def _unusable(records: Sequence[Record], facts: Facts) -> Iterable[Finding]:
    for record in records:
        mask, known = record.targets["mask"], facts.get(record.name)
        fault = mask.fault_in((known.height, known.width)) if known else mask.fault
        if fault is not None:
            yield Finding("error", "mask", fault, (record.name,))


def _ignored(images: AnnotatedImages, pixels: Mapping[str, Mapping[str, int]]) -> Iterable[Finding]:
    void = [
        record.name
        for records in images.splits.values()
        for record in records
        if record.targets["mask"].pixels.get("") and not _known(record.targets["mask"].pixels)
    ]
    if void:
        message = (
            f"{count(len(void), 'mask ignores', 'masks ignore')} every pixel, e.g. of {void[0]}. Nothing is learned "
            "from such or measured on them."
        )
        yield Finding("warning", "mask_all_ignored", message, tuple(void))
    for split, found in pixels.items():
        everything = sum(found.values())
        if found[""] > everything / 2:
            message = (
                f"{_percent(found[''] / everything)} of the pixels in '{split}' are ignored. Is a value taken for "
                "ignored that is a class?"
            )
            yield Finding("warning", "mostly_ignored", message)


def _known(pixels: Mapping[str, int]) -> int:
    return sum(number for name, number in pixels.items() if name)


def _rare(split: str, found: Mapping[str, int]) -> Iterable[Finding]:
    present = {name: number / max(1, _known(found)) for name, number in found.items() if name and number}
    if not present:
        return
    rare = {name: share for name, share in present.items() if share < RARE_SHARE}
    if rare:
        listing = ", ".join(f"{name} ({_percent(share)})" for name, share in list(rare.items())[:_LISTED])
        message = (
            f"{count(len(rare), 'class has', 'classes have')} less than {_percent(RARE_SHARE)} of the pixels in "
            f"'{split}': {listing}. Hardly anything can be learned of {'it' if len(rare) == 1 else 'them'}."
        )
        yield Finding("warning", "rare_in_pixels", message)
    most, least = (choose(present, key=lambda name: present[name]) for choose in (max, min))
    if present[most] >= IMBALANCE * present[least]:
        message = (
            f"'{most}' has {present[most] / present[least]:,.0f} times as many pixels in '{split}' as '{least}' "
            f"({_percent(present[most])} and {_percent(present[least])}). Train with --loss.class-weights balanced, "
            "and judge by the figures of each class."
        )
        yield Finding("warning", "imbalance", message)


def _soft_edges(images: AnnotatedImages, pixels: Mapping[str, Mapping[str, int]]) -> Iterable[Finding]:
    names = set(images.classes)
    total = sum(sum(found.values()) for found in pixels.values())
    outer = sum(found.get("0", 0) + found[""] for found in pixels.values())
    is_unlisted = all(name.isdecimal() for name in names) and all(found[""] for found in list(pixels.values())[:1])
    if is_unlisted and len(names) > _SOFT_VALUES and outer > 0.95 * total:
        message = (
            f"The masks have {len(names)} values besides {IGNORED}, and {_percent(outer / total)} of their pixels are "
            f"0 or {IGNORED}: probably masks of background and foreground whose edges are soft. Set all values below "
            f"128 to 0 and the others to {IGNORED}, and save them as PNG."
        )
        yield Finding("warning", "soft_edges", message)


def _readings(images: AnnotatedImages) -> Iterable[Finding]:
    """Return how masks were read that could be understood in another way."""
    masks = [
        (record.name, record.targets["mask"])
        for records in images.splits.values()
        for record in records
        if isinstance(record.targets["mask"], MaskFile) and record.targets["mask"].fault is None
    ]
    if masks and dict(masks[0][1].coding.names) == {0: BACKGROUND, IGNORED: "foreground"}:
        message = f"The masks have the values 0 and {IGNORED}, read as '{BACKGROUND}' and 'foreground'."
        yield Finding("info", "mask_binary", message)
    with_palette = tuple(name for name, mask in masks if _has_palette(mask))
    if with_palette:
        message = (
            f"{count(len(with_palette), 'mask has', 'masks have')} a palette: its indices are the values, whatever "
            "their colours."
        )
        yield Finding("info", "mask_palette", message, with_palette)


def _turned(images: AnnotatedImages, facts: Facts) -> Iterable[Finding]:
    """Return the masks of which the size doesn't tell whether they are upright, of pictures that have to be turned."""
    found = tuple(
        record.name
        for records in images.splits.values()
        for record in records
        if record.name in facts
        and record.targets["mask"].fault is None
        and _fits_both_ways(record.path, facts[record.name])
    )
    if found:
        message = (
            f"{count(len(found), 'picture is', 'pictures are')} turned upright by their EXIF orientation, and their "
            f"masks, which are never turned, fit before and after, e.g. {found[0]}. Look whether they are upright."
        )
        yield Finding("warning", "mask_orientation", message, found)


def _fits_both_ways(path: Path, facts: ImageFacts) -> bool:
    if not facts.is_reoriented:
        return False
    if facts.width == facts.height:
        return True
    with Image.open(path) as image:
        # mirrored, or upside down: 2 to 4; a TIFF tells it before it is decoded only, as here
        return image.getexif().get(ExifTags.Base.Orientation) in (2, 3, 4)


def _has_palette(mask: MaskFile) -> bool:
    try:
        with Image.open(mask.path) as image:
            return image.mode == "P"
    except OSError:  # it was there when it was read
        return False


def _shares(split: str, records: Sequence[Record], facts: Facts) -> Iterable[Finding]:
    """Return the share of each class, of the pixels that count: of all of the picture where classes overlap."""
    sound = [record for record in records if record.targets["mask"].pixels and record.name in facts]
    pictured = sum(facts[record.name].width * facts[record.name].height for record in sound)
    if not pictured:
        return
    found = _sum_pixels(sound)
    counted = max(1, pictured - found[""])
    ordered = sorted(((number, name) for name, number in found.items() if name and number), reverse=True)
    spread = ", ".join(f"{name} {_percent(number / counted)}" for number, name in ordered[:_LISTED])
    more = f", and {len(ordered) - _LISTED} more classes" if len(ordered) > _LISTED else ""
    holding = sum(bool(record.targets["mask"].pixels.get("")) for record in sound)
    ignored = "nothing is ignored"
    if holding:
        ignored = f"{_percent(found[''] / pictured)} of all are ignored, in {holding:,} of {count(len(sound), 'mask')}"
    yield Finding("info", "mask_pixels", f"Pixels of '{split}': {spread}{more}; {ignored}.")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.01 else f"{100 * share:.2g}%"
