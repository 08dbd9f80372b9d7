"""What a check says of captions: what is there twice, what is said of everything, what is damaged, and how much."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from .annotated_images import AnnotatedImages
from .findings import Finding, count
from .sample import Record
from .text_findings import (
    TEXT_COUNTS,
    Told,
    check_repeated,
    check_texts,
    count_texts,
    describe_counts,
    shorten,
    tell,
)

BOILERPLATE_IMAGES = 10
BOILERPLATE_SHARE = 0.01
"""A caption on so many images, and on so large a share of them, was hardly written for each."""


def check_captions(images: AnnotatedImages) -> Iterable[Finding]:
    """Return findings on the captions of all splits."""
    records = [record for found in images.splits.values() for record in found]
    texts = tell(records)
    yield from check_repeated(records, "caption")
    yield from _boilerplate(texts, len(records))
    yield from check_texts(texts, "caption")
    for split, found in count_captions(images).items():
        yield Finding("info", TEXT_COUNTS, f"'{split}' has {describe_counts(found, 'caption')}.")
        yield from _numbers(split, images.splits[split])


def count_captions(images: AnnotatedImages) -> dict[str, dict[str, Any]]:
    """Return for each split how many images, captions and words there are (``count_texts``)."""
    return count_texts(images, "caption")


def _boilerplate(texts: Iterable[Told], number: int) -> Iterable[Finding]:
    found: dict[str, dict[str, str]] = defaultdict(dict)  # by what is said: the images, and how it is written there
    for told in texts:
        found[told.text.casefold()].setdefault(told.name, told.text)
    least = max(BOILERPLATE_IMAGES, BOILERPLATE_SHARE * number)
    for images in sorted(found.values(), key=len, reverse=True):
        if len(images) < least:
            return
        name, text = next(iter(images.items()))
        message = (
            f"{len(images):,} of {count(number, 'image')} ({len(images) / number:.0%}) have the caption "
            f"{shorten(text)}, e.g. {name}. If it says nothing of them in particular, leave it out: a model learns to "
            "say it of everything."
        )
        yield Finding("warning", "caption_of_many_images", message, tuple(images))


def _numbers(split: str, records: Sequence[Record]) -> Iterable[Finding]:
    """Return how many captions an image has: figures of a split in which they differ weigh images unlike."""
    numbers = [len(record.targets["captions"]) for record in records]
    if not numbers:
        return
    least, most = min(numbers), max(numbers)
    spread = f"{least}" if least == most else f"{least} to {most} (median {median(numbers):g})"
    each = "caption" if least == most == 1 else "captions"
    yield Finding("info", "captions_an_image", f"Images of '{split}' have {spread} {each} each.")
