"""The files that tables are read from: CSV, also with ``;`` or tabs between columns, Parquet, and JSON lines.

In JSON lines (``.jsonl``) each line is one object, whose keys are the columns: ``{"path": "1.jpg", "label": "cat"}``.
A key that a line lacks, or ``null``, is an empty value. Numbers stay as they are written; a list may stand where a
column takes several values.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..backbones.errors import did_you_mean
from .contents import Contents, raise_faults
from .sample import DataError

TABLE_EXTENSIONS = (".csv", ".tsv", ".parquet", ".jsonl")

BOX = ("xmin", "ymin", "xmax", "ymax")

SINGLE = ("path", "label", "mask", *BOX, "subject", "split")
"""The columns of which a row has one value, not a list."""

_COLUMNS = (*SINGLE, "labels")

_LIKE_SUBJECT = {
    *("subject", "subjects", "subject_id", "subject_name", "person", "person_id", "patient", "patient_id"),
    *("patientid", "participant", "participant_id", "animal", "animal_id", "identity"),
}

Row = dict[str, Any]
"""The values of a row by column: text in CSV, also lists and None in the other formats."""

_Numbered = Iterable[tuple[int, Row]]


def open_table(
    path: Path,
    check: Callable[[list[str], Path], None],
    *,
    columns: Sequence[str] = (),
    synonyms: Sequence[tuple[str, str]] = (),
) -> tuple[Contents, _Numbered]:
    """Open a table's file, and check its columns.

    Args:
        path: The file.
        check: Raises a ``DataError`` where a column is missing; takes the columns and the file.
        columns: Those that are read besides the ones that every table may have.
        synonyms: Other names of columns, each with the name it stands for where that isn't there.

    Returns:
        Empty contents, to which faults of the file are added while rows are taken; and its rows, each with the number
        of its line. Rows that can't be read aren't among them.

    Raises:
        DataError: The file can't be read, ``check`` says so, or a column is there twice.
    """
    contents = Contents({})
    names, rows = _read_file(path, contents, (*_COLUMNS, *columns, *(other for other, _ in synonyms)))
    renamed = {other: name for other, name in synonyms if other in names and name not in names}
    names = [renamed.get(name, name) for name in names]
    check(names, path)
    _check_columns(names, path, (*_COLUMNS, *columns))
    contents.notes += _note_subjects(names, path)
    if renamed:
        rows = ((number, {renamed.get(key, key): value for key, value in row.items()}) for number, row in rows)
    return contents, rows


def read_columns(path: Path) -> list[str]:
    """Return the names of a table's columns.

    Raises:
        DataError: As ``open_table``.
    """
    return _read_file(path, Contents({}), _COLUMNS)[0]


def _read_file(path: Path, contents: Contents, wanted: Sequence[str]) -> tuple[list[str], _Numbered]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path, wanted)
    return _read_json_lines(path, contents) if suffix == ".jsonl" else _read_csv(path, contents)


def _read_json_lines(path: Path, contents: Contents) -> tuple[list[str], _Numbered]:
    """Return the keys of all objects in the order of their appearance, and the objects."""
    rows: list[tuple[int, Row]] = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        except ValueError as error:
            contents.faults.append(f"{path}, row {number}: this is no JSON object ({error}). Each line holds one.")
            continue
        if fault := _find_shape_fault(row):
            contents.faults.append(f"{path}, row {number}: {fault}")
        else:
            rows.append((number, row))
    columns = list(dict.fromkeys(key for _, row in rows for key in row))
    if not columns:
        raise_faults(path, contents.faults)
    return columns, [(number, {name: row.get(name) for name in columns}) for number, row in rows]


def _find_shape_fault(row: Any) -> str:
    """Return what is wrong with the value of a line of JSON, empty where nothing is."""
    if not isinstance(row, dict):
        return f'this is no JSON object, but {_describe(row)}. Each line holds one, such as {{"path": "1.jpg"}}.'
    for name in SINGLE:
        if isinstance(row.get(name), list | dict | bool):
            return f"'{name}' is one value, text or a number, not {_describe(row[name])}."
    return ""


def _describe(value: Any) -> str:
    kinds: dict[type, str] = {list: "a list", dict: "an object", bool: "true or false", str: "text or a number"}
    return kinds.get(type(value), "null")


def _read_csv(path: Path, contents: Contents) -> tuple[list[str], Iterator[tuple[int, Row]]]:
    text = _read_text(path)
    header = (text.splitlines() or [""])[0]
    delimiter = max(",;\t", key=header.count)
    lines = _read_lines(csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True), path, contents)
    columns = [name.strip() for name in next(lines, (1, []))[1]]
    raise_faults(path, contents.faults)  # of the header

    def rows() -> Iterator[tuple[int, Row]]:
        for number, values in lines:
            if len(values) == len(columns):
                yield number, dict(zip(columns, values, strict=True))
            else:
                contents.faults.append(
                    f"{path}, row {number}: {len(values)} values for the {len(columns)} columns "
                    f"{', '.join(columns)}. Put values that contain '{delimiter}' in quotes."
                )

    return columns, rows()


def _read_lines(reader: Any, path: Path, contents: Contents) -> Iterator[tuple[int, list[str]]]:
    """Return the number and the values of each row that isn't blank; what isn't CSV is a fault."""
    while True:
        start = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            contents.faults.append(f"{path}, row {start}: this is no row of CSV ({error}). Is a quote left open?")
            continue
        if values is None:
            return
        if any(value.strip() for value in values):
            yield reader.line_num, values


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: the table can't be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the table isn't UTF-8 text ({error}). Save it as CSV in UTF-8.") from error


def _read_parquet(path: Path, wanted: Sequence[str]) -> tuple[list[str], _Numbered]:
    import pyarrow
    from pyarrow import parquet

    try:
        columns = parquet.read_schema(path).names
        table = parquet.read_table(path, columns=list(dict.fromkeys(name for name in wanted if name in columns)))
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: the Parquet table can't be read ({error}).") from error
    return columns, enumerate(table.to_pylist(), start=1)


def _check_columns(columns: list[str], path: Path, read: Sequence[str]) -> None:
    present = ", ".join(columns) or "none"
    if twice := [name for name in read if columns.count(name) > 1]:
        raise DataError(
            f"{path}: the column '{twice[0]}' is there {columns.count(twice[0])} times; columns: {present}."
        )
    if "split" not in columns and (near := did_you_mean("split", columns)):
        # without a word, rows that were kept for testing would be trained on
        wording = near.replace("Did you mean", "Is it").replace("?", "? Call it 'split', or something else.")
        raise DataError(f"{path}: there is no column 'split'; columns: {present}.{wording}")


def require(names: Sequence[str], columns: list[str], path: Path) -> None:
    """Raise a ``DataError`` if a column is missing, with the one that may have been meant."""
    for name in names:
        if name not in columns:
            present = ", ".join(columns) or "none"
            raise DataError(f"{path}: the column '{name}' is missing; columns: {present}.{name_near(name, columns)}")


def name_near(wanted: str, columns: list[str]) -> str:
    """Return the question whether one of the columns was meant to be the wanted one."""
    usual = {
        "path": ("image", "file", "filename", "file_name", "image_path", "image_name"),
        "label": ("class", "category", "target"),
        "mask": ("mask_path", "annotation", "segmentation"),
        "caption": ("text", "sentence", "description", "comment", "raw"),
        "question": ("text", "query", "prompt"),
        **{
            name: (name[1:] + name[0], f"{name[0]}_{name[1:]}", name[0] + {"min": "1", "max": "2"}[name[1:]])
            for name in BOX
        },
    }
    by_lower_case = {name.lower(): name for name in columns}
    likely = next((by_lower_case[name] for name in (wanted, *usual.get(wanted, ())) if name in by_lower_case), None)
    if likely is None:
        return did_you_mean(wanted, columns).replace("Did you mean", "Is it").replace("?", f"? Call it '{wanted}'.")
    return f" Is it '{likely}'? Call it '{wanted}'."


def _note_subjects(columns: list[str], path: Path) -> list[str]:
    """Return a note if the table seems to tell who is shown under a name that isn't read."""
    likely = [name for name in columns if name.lower().replace(" ", "_") in _LIKE_SUBJECT]
    if "subject" in columns or not likely:
        return []
    return [
        f"{path}: the column '{likely[0]}' isn't read. If it tells which images show the same one, call it 'subject', "
        "and no cut will put those on both sides."
    ]
