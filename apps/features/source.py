"""The images whose features are wanted, and what is known of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...datasets import DataError, Record, guess_kind, open_dataset
from ...datasets.image_folder import describe_folder, walk_pictures
from ...datasets.open import TEXTS
from .options import ExtractOptions


@dataclass(frozen=True)
class Source:
    """Images in the order of their manifest.

    Attributes:
        records: The manifest.
        splits: The split of each image by its name; nothing where there are none.
        origin: Where the splits come from, as ``AnnotatedImages.splits_origin``; ``none`` for a plain folder.
        notes: What their owner may want to know; full sentences.
    """

    records: tuple[Record, ...]
    splits: Mapping[str, str]
    origin: str
    notes: tuple[str, ...] = ()


def open_source(options: ExtractOptions) -> Source:
    """Open what ``--data`` names: a data set, or a folder of pictures. No picture is read.

    Raises:
        DataError: As ``open_dataset``; or there is no picture.
    """
    root = Path(options.data)
    if options.plain or is_plain(root):
        if options.split != "all":
            raise DataError(f"{root}: a plain folder of pictures has no split '{options.split}'; leave --split out.")
        note = () if options.plain else (f"{root}: pictures without class folders; the file has no labels or splits.",)
        return Source(_list_below(root), {}, "none", note)
    try:
        guess = guess_kind(root)
        # texts are kept aside, the pictures are what is asked for
        kind = guess if guess in TEXTS else "labels"
        images = open_dataset(root, "all", kind=kind, split_seed=options.split_seed, val_fraction=options.val_fraction)
    except DataError as error:
        if not root.is_dir():
            raise
        raise DataError(f"{error} To take the pictures below it without labels: --plain") from error
    splits = {record.name: split for split, records in images.splits.items() for record in records}
    return Source(images.select(options.split).records, splits, images.splits_origin, images.notes)


def is_plain(root: Path) -> bool:
    """Whether a path is a folder that holds pictures and no folders."""
    if not root.is_dir():
        return False
    entries = [entry for entry in root.iterdir() if not entry.name.startswith(".")]
    return not any(entry.is_dir() for entry in entries) and any(entry.is_file() for entry in entries)


def _list_below(root: Path) -> tuple[Record, ...]:
    """Return a record for each picture below a folder, links to the same file too, sorted by name."""
    if not root.is_dir():
        raise DataError(f"{root}: --plain takes a folder, and this is none.")
    found = {path.relative_to(root).as_posix(): path for path in walk_pictures(root)}
    if not found:
        raise DataError(f"{root}: no pictures in this folder, it holds {describe_folder(root)}.")
    return tuple(Record(path=found[name], targets={}, name=name) for name in sorted(found))
