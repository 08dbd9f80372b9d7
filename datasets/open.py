"""Opening a data set: finding out what a path is, or saying why it can't be used."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ..backbones.errors import did_you_mean, unknown
from .image_folder import describe_folder, read_image_folder
from .sample import DataError, Record, TargetEncoder
from .splits import ALL, SPLITS, apply_split, find_split, read_split, stratified_split
from .table import TABLE_EXTENSIONS, read_table

FORMATS = ("auto", "image_folder", "table")

_EXCERPT_BYTES = 16 * 1024


@dataclass(frozen=True)
class AnnotatedImages:
    """One split of a data set: images and what is known of them."""

    root: Path
    """The folder, or the table's file."""
    split: str
    """``train``, ``val``, ``test``, or ``all`` for every record of every split."""
    splits: Mapping[str, tuple[Record, ...]]
    """The records of every split there is; ``all`` isn't among them."""
    everything: tuple[Record, ...]
    """The records of ``all``, in the order train, val, test as they were before a seed cut anything."""
    classes: tuple[str, ...]
    """Sorted, and the same whichever split was opened: the classes of ``train`` where there is one."""
    format: str
    """``image_folder`` or ``table``."""
    splits_origin: str
    """Where ``splits`` come from: ``folders``, ``column``, ``file``, or ``seeded 0.2 of train, seed 0``."""
    notes: tuple[str, ...] = ()
    """What its owner may want to know, such as files that were left out; full sentences."""

    @property
    def records(self) -> tuple[Record, ...]:
        """The split's records, sorted by name (those of a table in its order); in ``all``, one split after another."""
        return self.everything if self.split == ALL else self.splits[self.split]

    @property
    def split_origin(self) -> str:
        """Where the opened split comes from: ``all`` if it is that, else as ``splits_origin``."""
        return ALL if self.split == ALL else self.splits_origin

    def __len__(self) -> int:
        """Return the number of records in the split."""
        return len(self.records)

    def split_names(self) -> tuple[str, ...]:
        """Return which splits there are; ``all`` can be opened besides."""
        return tuple(self.splits)

    def select(self, split: str) -> "AnnotatedImages":
        """Return another split of the same data set, without reading the folder again.

        Raises:
            DataError: There is no such split, it is empty, or it has a class that ``train`` lacks.
        """
        name = ALL if split.strip().lower() == ALL else find_split(split)
        if name is None or name not in (*self.splits, ALL):
            raise DataError(
                f"{self.root}: there is no split '{split}'; there are: {', '.join(self.splits) or 'none'}; '{ALL}' "
                f"takes every image.{did_you_mean(split, (*SPLITS, ALL)) if name is None else ''}"
            )
        selected = replace(self, split=name)
        if not selected.records:
            hint = "no image is in any split" if name == ALL else "a class is cut from two images on"
            raise DataError(f"{self.root}: the split '{name}' is empty; {hint}.")
        TargetEncoder(self.classes).check(selected.records)
        return selected

    def class_counts(self) -> dict[str, int]:
        """Return the number of the split's images of each class, in the order of ``classes``."""
        counts = Counter(name for record in self.records for name in _labels(record))
        return {name: counts[name] for name in self.classes}

    def fingerprint(self) -> str:
        """Return a SHA-256 of the split's names, targets, file sizes and file contents.

        Of each file the first and last 16 KiB are read: all of a small picture, and enough of a large one for any
        compressed format to show a change, while a million pictures take minutes rather than hours. A missing file
        counts as such. Where the data set lies, and modification times, don't matter.
        """
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        with ThreadPoolExecutor(max_workers=8) as pool:
            for record, content in zip(self.records, pool.map(_excerpt, self.records), strict=True):
                row = [record.name, {key: record.targets[key] for key in sorted(record.targets)}, content]
                digest.update(json.dumps(row).encode() + b"\n")
        return digest.hexdigest()


def open_dataset(
    path: Path | str,
    split: str,
    *,
    format: str = "auto",
    split_seed: int = 0,
    val_fraction: float = 0.2,
    split_file: Path | None = None,
) -> AnnotatedImages:
    """Open one split of a data set. No picture is read.

    A data set without splits is cut into ``train`` and ``val``; one with ``train`` but without ``val`` has ``val`` cut
    from ``train`` in the same way, and ``test`` stays untouched (``stratified_split``). ``all`` is every record whether
    it was cut or not, for evaluating a whole data set.

    Args:
        path: A folder with class folders (see ``image_folder.py``), or a CSV or Parquet table (see ``table.py``).
        split: ``train``, ``val``, ``test`` or a synonym, or ``all``.
        format: ``auto``, ``image_folder`` or ``table``.
        split_seed: The seed of the cut.
        val_fraction: The share of the cut.
        split_file: A file of ``write_split`` that overrides all this; records it doesn't list are left out and noted.

    Raises:
        DataError: Saying what is wrong with the path, the layout, the split or a class, and what is understood.
    """
    if format not in FORMATS:
        raise unknown("data format", format, FORMATS)
    root = Path(path)
    found = _find_format(root) if format == "auto" else format
    contents = read_table(root) if found == "table" else read_image_folder(root)
    splits, notes = dict(contents.splits), list(contents.notes)
    everything = _join(splits)
    if split_file is not None:
        by_name = everything if found == "table" else sorted(everything, key=lambda record: record.name)
        splits, unlisted = apply_split(by_name, read_split(split_file), split_file)
        everything, origin = _join(splits), "file"
        if unlisted:
            notes.append(f"{root}: {unlisted} images aren't listed in {split_file} and were left out.")
    else:
        splits, origin = _cut(splits, "column" if found == "table" else "folders", val_fraction, split_seed)
    if len(contents.classes) == 1:
        notes.append(f"{root}: there is one class only, '{contents.classes[0]}'.")
    opened = AnnotatedImages(root, ALL, splits, everything, contents.classes, found, origin, tuple(notes))
    return opened.select(split)


def require_labels(images: AnnotatedImages) -> None:
    """Check that every image of the split has exactly one class, before a task that learns or measures one.

    Raises:
        DataError: Naming the first image that has no single ``label``, and what to do.
    """
    for record in images.records:
        if record.targets.get("label") is not None:
            continue
        reason = f"{images.root} gives it none"
        if "labels" in record.targets:
            reason = f"the table {images.root} gives several labels an image in its column 'labels'"
        raise DataError(
            f"{record.path}: the image has no single label; {reason}. A task with one label an image needs a column "
            "'label' with one class in each row."
        )


def _find_format(root: Path) -> str:
    if not root.exists():
        near = did_you_mean(root.name, [entry.name for entry in root.parent.iterdir()]) if root.parent.is_dir() else ""
        raise DataError(f"{root}: there is no such file or folder.{near}")
    if root.is_dir():
        return "image_folder"
    if root.suffix.lower() in TABLE_EXTENSIONS:
        return "table"
    raise DataError(
        f"{root}: a data set is a folder or a table ({', '.join(TABLE_EXTENSIONS)}), not a file like this. The folder "
        f"around it holds {describe_folder(root.parent)}."
    )


def _join(splits: Mapping[str, tuple[Record, ...]]) -> tuple[Record, ...]:
    return tuple(record for records in splits.values() for record in records)


def _cut(
    splits: dict[str, tuple[Record, ...]], given: str, fraction: float, seed: int
) -> tuple[dict[str, tuple[Record, ...]], str]:
    """Return the splits with a ``val``, cut from ``train`` or from everything where there is none, and their origin."""
    source = "" if "" in splits else "train"
    if "val" in splits or source not in splits:
        return splits, given
    cut = stratified_split(splits.pop(source), fraction=fraction, seed=seed)
    return {**cut, **splits}, f"seeded {fraction} of {source or 'everything'}, seed {seed}"


def _labels(record: Record) -> tuple[str, ...]:
    return (record.targets["label"],) if "label" in record.targets else tuple(record.targets.get("labels", ()))


def _excerpt(record: Record) -> tuple[int, str] | None:
    """Return a file's size and the hash of its two ends, or None if it can't be read."""
    try:
        with record.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(_EXCERPT_BYTES)
            file.seek(max(len(head), size - _EXCERPT_BYTES))
            return size, hashlib.sha256(head + file.read()).hexdigest()
    except OSError:
        return None
