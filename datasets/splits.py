"""Which records are for training, validation and testing: found, drawn by a seed, or read from a file."""

import csv
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from .masks import BACKGROUND
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


def find_split_in(name: str) -> str | None:
    """Return the split that one of the words of a name stands for, the first of them, as in ``instances_train2017``."""
    words = "".join(letter if letter.isalpha() else " " for letter in name).split()
    return next((split for word in words if (split := find_split(word))), None)


def stratified_split(records: Sequence[Record], *, fraction: float, seed: int) -> dict[str, tuple[Record, ...]]:
    """Cut records into ``train`` and ``val``, class by class.

    Each record's place is decided by a hash of its name and the seed, so that the split depends on neither the order
    of the files nor the machine, and a file that is added moves at most one other of its class across. Records of
    several labels form a class by their first.

    Records of one ``subject`` stay together: the subject is what is counted and drawn, by a hash of its own name, in
    the class that most of its records have (of equally many, the first by name). A class that is nobody's most
    frequent may then end up on one side only.

    Args:
        records: What to cut; the records of each part keep their order.
        fraction: The share of each class for ``val``, rounded, but with two records or more at least one for either.
        seed: Any whole number.
    """
    if not 0 < fraction < 1:
        raise DataError(f"The share that is set aside for validation lies between 0 and 1; {fraction} doesn't.")
    val: set[_Unit] = set()
    for units in _strata(records).values():
        count = min(len(units) - 1, max(1, round(fraction * len(units))))
        val.update(_ranked(units, seed)[:count])
    return _divide(records, val)


def fold_splits(records: Sequence[Record], *, folds: int, seed: int) -> list[dict[str, tuple[Record, ...]]]:
    """Cut records into ``train`` and ``val`` in several ways, so that each record is in ``val`` exactly once.

    The records of a class are ranked as in ``stratified_split`` and dealt out to the folds in turn; the next class goes
    on where the last one stopped. So the number of records in ``val``, of a class and in all, differs by one at most
    between folds, and a class with fewer records than folds reaches as many folds as it has records. Where there are
    subjects, this holds for their number: all records of a subject are in the same fold.

    Args:
        records: What to cut; the records of each part keep their order.
        folds: From 2 up to the number of records, or of subjects: then one is left out at a time.
        seed: Any whole number.

    Returns:
        For each fold its ``train`` and ``val``.

    Raises:
        DataError: Fewer than 2 folds, or more than there are records or subjects.
    """
    strata = _strata(records)
    dealt = [unit for label in sorted(strata) for unit in _ranked(strata[label], seed)]
    if not 2 <= folds <= len(dealt):
        what = "subjects" if any(unit.is_subject for unit in dealt) else "images"
        raise DataError(
            f"{len(dealt)} {what} can't be cut into {folds} folds: each fold validates on at least one of them and "
            f"trains on the rest, so take from 2 to {len(dealt)}."
        )
    return [_divide(records, set(dealt[fold::folds])) for fold in range(folds)]


def find_cut_subjects(splits: Mapping[str, Iterable[Record]]) -> dict[str, tuple[str, ...]]:
    """Return the subjects with records in more than one split, sorted, and the splits of each."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for split, records in splits.items():
        for record in records:
            if "subject" in record.targets:
                found[record.targets["subject"]][split] = None
    return {subject: tuple(found[subject]) for subject in sorted(found) if len(found[subject]) > 1}


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


class _Unit(NamedTuple):
    """What a cut can't divide: all records of a subject, or one record of nobody in particular."""

    name: str
    is_subject: bool


def _unit(record: Record) -> _Unit:
    subject = record.targets.get("subject")
    return _Unit(record.name, False) if subject is None else _Unit(subject, True)


def _strata(records: Iterable[Record]) -> dict[str, list[_Unit]]:
    """Return the units of each class, by the class that most of a unit's records have."""
    labels: dict[_Unit, Counter[str]] = defaultdict(Counter)
    for record in records:
        labels[_unit(record)][_stratum(record)] += 1
    strata: dict[str, list[_Unit]] = defaultdict(list)
    for unit, counts in labels.items():
        strata[min(counts, key=lambda label: (-counts[label], label))].append(unit)
    return strata


def _stratum(record: Record) -> str:
    labels = record.targets.get("labels") or ("",)
    if "mask" in record.targets:  # nearly every mask shows it
        labels = [name for name in labels if name != BACKGROUND] or labels
    return str(record.targets.get("label", labels[0]))


def _ranked(units: Iterable[_Unit], seed: int) -> list[_Unit]:
    def rank(unit: _Unit) -> tuple[bytes, _Unit]:
        return hashlib.sha256(f"{seed}/{unit.name}".encode("utf-8", errors="surrogateescape")).digest(), unit

    return sorted(units, key=rank)


def _divide(records: Sequence[Record], val: Set[_Unit]) -> dict[str, tuple[Record, ...]]:
    return {
        "train": tuple(record for record in records if _unit(record) not in val),
        "val": tuple(record for record in records if _unit(record) in val),
    }
