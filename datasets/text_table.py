"""Tables in which an image has any number of texts, in several rows or in one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .contents import Contents
from .sample import DataError, Record
from .table_files import Row, open_table
from .table_rows import find_faults, finish_table, read_row
from .texts import note_bare, note_empty

_SYNONYMS = (("image", "path"),)

_OTHERS = ("label", "labels")
"""Columns for another task."""


@dataclass(frozen=True)
class TextColumns:
    """How the texts of an image stand in the rows of a table.

    Attributes:
        what: One of the texts, for messages, such as ``caption``; with an ``s`` the key of a record's targets.
        columns: The columns that are read besides path, subject and split.
        check: Raises a ``DataError`` where a column is missing; takes the columns, in which ``image`` is called
            ``path`` already, and the file.
        read: Returns the texts of a row, None for each that is empty; raises a ``DataError`` without a place, which
            becomes the fault of the row.
    """

    what: str
    columns: Sequence[str]
    check: Callable[[list[str], Path], None]
    read: Callable[[Row], Sequence[Any]]


@dataclass
class _Told:
    """An image with its texts so far."""

    row: int
    split: str
    record: Record
    texts: list[Any] = field(default_factory=list)


def read_text_table(path: Path, texts: TextColumns) -> Contents:
    """Read a table of images with texts; rows of the same image are joined, and no picture is opened.

    Images stand in the order of their first rows. What is empty is left out with a note (``texts.py``).

    Raises:
        DataError: As ``read_table``; or no text is left. Its ``faults`` name the rows: a number of values that isn't
            the columns', an empty path or subject, an unknown split, an image whose split or subject differs between
            rows, or what ``texts.read`` says.
    """
    contents, rows = open_table(path, texts.check, columns=texts.columns, synonyms=_SYNONYMS)
    found: dict[str, _Told] = {}
    empty = []
    for number, row in ((number, _without(row)) for number, row in rows):
        where = f"{path}, row {number}"
        faults = list(find_faults(row, number, path))
        read: Sequence[Any] = ()
        try:
            read = texts.read(row)
        except DataError as error:
            faults.append(f"{where}: {error}")
        if not faults:
            split, record = read_row(row, path.parent)
            told = found.setdefault(record.name, _Told(number, split, record))
            if (told.split, told.record) != (split, record):
                faults.append(f"{where}: '{record.name}' has another subject or split in row {told.row}.")
            told.texts += [text for text in read if text is not None]
            empty += [f"row {number} ({record.name})"] * (len(read) - sum(text is not None for text in read))
        contents.faults += faults
    contents.notes += note_empty(path, texts.what, empty)
    return _finish(contents, found, path, texts.what)


def _without(row: Row) -> Row:
    return {key: row[key] for key in row if key not in _OTHERS}


def _finish(contents: Contents, found: dict[str, _Told], path: Path, what: str) -> Contents:
    kept = [told for told in found.values() if told.texts]
    if found and not kept and not contents.faults:
        raise DataError(f"{path}: every {what} is empty; there is none to learn.")
    contents.notes += note_bare(path, what, [name for name, told in found.items() if not told.texts])
    records = [
        (told.split, replace(told.record, targets={**told.record.targets, f"{what}s": tuple(told.texts)}))
        for told in kept
    ]
    return finish_table(contents, records, path)
