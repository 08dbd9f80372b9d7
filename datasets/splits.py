"""Which records are for training, validation and testing: found, drawn by a seed, or read from a file."""

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .sample import DataError, Record

SPLITS = ("train", "val", "test")

ALL = "all"
"""Asks for every record of every split. It names no split itself: a folder of this name is a class."""

_SYNONYMS = {
    "train": ("training", "train_set", "training_set"),
    "val": ("valid", "validation", "val_set", "validation_set"),
    "test": ("testing", "test_set", "testing_set"),
}

_SPLIT_OF = {name: split for split, synonyms in _SYNONYMS.items() for name in (split, *synonyms)}

SPLIT_NAMES = ", ".join(f"{split} ({', '.join(synonyms)})" for split, synonyms in _SYNONYMS.items())
"""The names of splits with their synonyms, for messages."""


def find_split(name: str) -> str | None:
    """Return the split that a name or synonym stands for, or None. Case doesn't count, and ``-`` counts as ``_``."""
    return _SPLIT_OF.get(name.strip().lower().replace("-", "_"))


def stratified_split(records: Sequence[Record], *, fraction: float, seed: int) -> dict[str, tuple[Record, ...]]:
    """Cut records into ``train`` and ``val``, class by class.

    Each record's place is decided by a hash of its name and the seed, so that the split depends on neither the order
    of the files nor the machine, and a file that is added moves at most one other of its class across. Records of
    several labels form a class by their first.

    Args:
        records: What to cut; the records of each part keep their order.
        fraction: The share of each class for ``val``, rounded, but with two records or more at least one for either.
        seed: Any whole number.
    """
    if not 0 < fraction < 1:
        raise DataError(f"The share that is set aside for validation lies between 0 and 1; {fraction} doesn't.")
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[_stratum(record)].append(record)
    val: set[str] = set()
    for group in groups.values():
        count = min(len(group) - 1, max(1, round(fraction * len(group))))
        val.update(record.name for record in sorted(group, key=lambda record: _rank(record.name, seed))[:count])
    return {
        "train": tuple(record for record in records if record.name not in val),
        "val": tuple(record for record in records if record.name in val),
    }


def write_split(path: Path, splits: Mapping[str, Iterable[Record]]) -> None:
    """Write ``name,split`` rows, one a record, that ``read_split`` gives back. The file is replaced in one step.

    Its content is on the disk before it takes the name, so that a power cut leaves the old file or the new one.
    """
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("name", "split"))
        writer.writerows((record.name, split) for split, records in splits.items() for record in records)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read_split(path: Path) -> dict[str, str]:
    """Return the split of each name, as ``write_split`` wrote it.

    Raises:
        DataError: Naming the file and the row: it is missing or no such table, a split isn't known, a name is twice.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = list(csv.reader(file))
    except OSError as error:
        raise DataError(f"{path}: the split can't be read ({error.strerror}).") from error
    if not rows or rows[0] != ["name", "split"]:
        raise DataError(f"{path}: this is no split; its first line has to be 'name,split'.")
    found: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        split = find_split(row[1]) if len(row) == 2 else None
        if split is None or row[0] in found:
            reason = "a second row for the same name" if split else "not a name and one of train, val and test"
            raise DataError(f"{path}, row {number}: {reason}: {','.join(row)}")
        found[row[0]] = split
    return found


def apply_split(
    records: Iterable[Record], chosen: Mapping[str, str], path: Path
) -> tuple[dict[str, tuple[Record, ...]], int]:
    """Sort records into the splits that a file chose for them.

    Returns:
        The records of each split, and the number of records that the file doesn't list, which are in none.

    Raises:
        DataError: The file lists names that aren't there.
    """
    records = list(records)
    missing = sorted(chosen.keys() - {record.name for record in records})
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of the {len(chosen)} images it lists aren't in the data set, e.g. "
            f"{', '.join(missing[:3])}. Was it made for other data?"
        )
    splits = {
        split: tuple(record for record in records if chosen.get(record.name) == split)
        for split in SPLITS
        if split in chosen.values()
    }
    return splits, sum(record.name not in chosen for record in records)


def _stratum(record: Record) -> str:
    labels = record.targets.get("labels") or ("",)
    return str(record.targets.get("label", labels[0]))


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", errors="surrogateescape")).digest()
