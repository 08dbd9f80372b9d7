"""What the rows of tables have in common: an image, and optionally its subject and split."""

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from ..backbones.errors import did_you_mean
from .contents import Contents
from .sample import DataError, Record
from .splits import SPLITS, find_split
from .table_files import Row

_RELATIVE = "Paths are relative to the table's folder."


def finish_table(contents: Contents, records: list[tuple[str, Record]], path: Path) -> Contents:
    """Return the contents with records, each of a split, sorted out.

    Raises:
        DataError: There are no rows.
    """
    if not records and not contents.faults:
        raise DataError(f"{path}: the table has no rows.")
    contents.faults += none_exists([record for _, record in records], path)
    contents.splits = sort_out(records)
    return contents


def find_faults(row: Row, number: int, table: Path) -> Iterator[str]:
    """Return what is wrong with a row."""
    where, path = f"{table}, row {number}", as_text(row["path"])
    if not path:
        yield f"{where}: the path is empty."
    if "label" in row and not as_text(row["label"]):
        yield f"{where}: the label of '{path}' is empty."
    if "subject" in row and not as_text(row["subject"]):
        yield (
            f"{where}: the subject of '{path}' is empty. If it isn't known, but nobody else's, make up a name for it."
        )
    split = as_text(row.get("split", "train"))
    if find_split(split) is None:
        yield f"{where}: the split '{split}' isn't one of {', '.join(SPLITS)}.{did_you_mean(split, SPLITS)}"


def find_repeated(row: Row, number: int, seen: dict[str, int], table: Path) -> Iterator[str]:
    """Return whether a row's image stands in a row before, and note in which row it was seen first."""
    name = image_name(as_text(row["path"]))
    if as_text(row["path"]) and seen.setdefault(name, number) != number:
        yield f"{table}, row {number}: the image '{name}' is in row {seen[name]} already."


def read_row(row: Row, folder: Path) -> tuple[str, Record]:
    """Return the split, empty where there are none, and the record of a row without faults."""
    path = as_text(row["path"])
    targets: dict[str, Any] = {}
    if "label" in row:
        targets["label"] = as_text(row["label"])
    elif "labels" in row:
        labels = row["labels"] if isinstance(row["labels"], list) else as_text(row["labels"]).split(";")
        targets["labels"] = tuple(dict.fromkeys(text for label in labels if (text := as_text(label))))
    if "subject" in row:
        targets["subject"] = as_text(row["subject"])
    return find_split(as_text(row.get("split"))) or "", Record(folder / path, targets, image_name(path))


def image_name(path: str) -> str:
    """Return how manifests name the image of a path in a table."""
    return PurePath(path).as_posix()


def as_text(value: Any) -> str:
    """Return a value without white space around it; empty where there is none."""
    return "" if value is None else str(value).strip()


def none_exists(records: list[Record], path: Path, hint: str = _RELATIVE) -> list[str]:
    """Tell a wrong folder, in which no image exists, from single missing ones, which count as bad data."""
    if not records or any(record.path.exists() for record in records):
        return []
    return [f"{path}: none of its {len(records)} images exists, e.g. {records[0].path}. {hint}"]


def sort_out(records: list[tuple[str, Record]]) -> dict[str, tuple[Record, ...]]:
    """Return records by their splits, the empty text for none, in the usual order of splits."""
    return {
        split: tuple(record for one, record in records if one == split)
        for split in ("", *SPLITS)
        if any(one == split for one, _ in records)
    }
