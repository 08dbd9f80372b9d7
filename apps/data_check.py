"""What every train command looks for in its data before the work starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..datasets import (
    AnnotatedImages,
    Excerpt,
    Record,
    find_bad_images,
    find_duplicates,
    identify_contents,
    read_excerpts,
    short_hashes,
)
from ..datasets.duplicates import WITHIN
from .config import RuntimeOptions
from .hardware import choose_workers
from .inputs import bad_images_error
from .processes import is_first
from .shell import quoted


@dataclass(frozen=True)
class Identity:
    """What tells a split's images from others.

    Attributes:
        fingerprint: Of names, targets and contents.
        contents: A short hash of each image's file, by the image's name.
        unreadable: Why images can't be read and are left out, by their names, as far as a quick look can tell.
    """

    fingerprint: str
    contents: Mapping[str, int]
    unreadable: Mapping[str, str] = field(default_factory=dict)


Ends = Mapping[Path, Excerpt | None]
"""What was read of the ends of files."""


def read_ends(records: Sequence[Record]) -> Ends:
    """Return what tells the files of records from others; several tasks that know a file needn't read it again."""
    return dict(zip((record.path for record in records), read_excerpts(records), strict=True))


def identify(images: AnnotatedImages, ends: Ends | None = None) -> Identity:
    """Return what tells a split's images from others, reading the ends of the files unless that was done."""
    ends = read_ends(images.records) if ends is None else ends
    read = [ends[record.path] for record in images.records]
    return Identity(images.fingerprint(read), short_hashes(images.records, read))


def check_data(
    splits: Mapping[str, AnnotatedImages], options: RuntimeOptions, ends: Ends | None = None
) -> dict[str, Identity]:
    """Look quickly at the images of a training, and print a line for each kind of harmful duplicates among them.

    The ends of each file are read; ``onetrunk data check`` looks at everything. Duplicates within a split are left to
    it: they weigh double, but flatter no figure.

    Args:
        splits: What is trained and measured on, splits of one data set.
        options: What to do with bad images, and how many workers may look.
        ends: Those of the files, where they were read already.

    Returns:
        What identifies each split, for which the same bytes would have to be read.

    Raises:
        DataError: Naming every image that can't be read, unless such are to be skipped.
    """
    records = [record for images in splits.values() for record in images.records]
    bad = find_bad_images(records, workers=max(1, choose_workers(options.workers)))
    if bad and options.bad_data == "error":
        raise bad_images_error(bad)
    ends = read_ends(records) if ends is None else ends
    contents = identify_contents(records, [ends[record.path] for record in records])
    for sample in bad:  # two error pages in place of pictures are no duplicates
        contents.pop(sample.path, None)
    if is_first():
        for finding in find_duplicates({split: images.records for split, images in splits.items()}, contents):
            if finding.kind != WITHIN:
                root = next(iter(splits.values())).root
                print(f"warning: {finding.message} All of them: onetrunk data check --data {quoted(root)}")
    reasons = {sample.name: sample.reason for sample in bad}
    found = {}
    for split, images in splits.items():
        unreadable = {record.name: reasons[record.name] for record in images.records if record.name in reasons}
        found[split] = replace(identify(images, ends), unreadable=unreadable)
    return found
