"""Tables of images: CSV (also with ``;`` or tabs between columns) and Parquet.

==============  ================================================================================================
column          meaning
==============  ================================================================================================
``path``        the image, absolute or relative to the table's folder
``label``       its one class, taken as text: ``01`` stays ``01``
``labels``      instead of ``label``: any number of classes with ``;`` between them, or a list column in Parquet
``subject``     optional: who or what is shown, a patient for example; no cut puts its images on both sides
``split``       optional: train, val or test, or a synonym
==============  ================================================================================================

Other columns are passed over. A row's number in messages is the line a text editor or a spreadsheet shows.
"""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any

from ..backbones.errors import did_you_mean
from .contents import Contents
from .sample import DataError, Record
from .splits import SPLITS, find_split

TABLE_EXTENSIONS = (".csv", ".tsv", ".parquet")

_COLUMNS = ("path", "label", "labels", "subject", "split")

_LIKE_SUBJECT = {
    *("subject", "subjects", "subject_id", "subject_name", "person", "person_id", "patient", "patient_id"),
    *("patientid", "participant", "participant_id", "animal", "animal_id", "identity"),
}

_Row = dict[str, Any]


def read_table(path: Path) -> Contents:
    """Read a table of images; no picture is opened.

    Raises:
        DataError: Naming the file, and the row where there is one: the table can't be read or is empty, a column is
            missing, a path, label or subject is empty, an image stands in two rows, a split isn't known, no image is
            there.
    """
    columns, rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    _check_columns(columns, path)
    records: list[tuple[str, Record]] = []
    seen: dict[str, int] = {}
    for number, row in rows:
        where = f"{path}, row {number}"
        record = _read_row(row, path.parent, where)
        if record.name in seen:
            raise DataError(f"{where}: the image '{record.name}' is in row {seen[record.name]} already.")
        seen[record.name] = number
        records.append((_read_split(row, where), record))
    if not records:
        raise DataError(f"{path}: the table has no rows.")
    _check_some_exist([record for _, record in records], path)
    contents = _sorted_out(records)
    contents.notes += _note_subjects(columns, path)
    return contents


def _read_csv(path: Path) -> tuple[list[str], Iterator[tuple[int, _Row]]]:
    text = _read_text(path)
    lines = text.splitlines()
    header = lines[0] if lines else ""
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    columns = [name.strip() for name in next(reader, [])]

    def rows() -> Iterator[tuple[int, _Row]]:
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(columns):
                raise DataError(
                    f"{path}, row {reader.line_num}: {len(values)} values for the {len(columns)} columns "
                    f"{', '.join(columns)}. Put values that contain '{delimiter}' in quotes."
                )
            yield reader.line_num, dict(zip(columns, values, strict=True))

    return columns, rows()


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: the table can't be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the table isn't UTF-8 text ({error}). Save it as CSV in UTF-8.") from error


def _read_parquet(path: Path) -> tuple[list[str], Iterable[tuple[int, _Row]]]:
    import pyarrow
    from pyarrow import parquet

    try:
        columns = parquet.read_schema(path).names
        table = parquet.read_table(path, columns=[name for name in _COLUMNS if name in columns])
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: the Parquet table can't be read ({error}).") from error
    return columns, enumerate(table.to_pylist(), start=1)


def _check_columns(columns: list[str], path: Path) -> None:
    present = ", ".join(columns) or "none"
    if "path" not in columns:
        raise DataError(f"{path}: the column 'path' is missing; columns: {present}.{_near('path', columns)}")
    if ("label" in columns) == ("labels" in columns):
        problem = "'label' and 'labels' can't both be there" if "label" in columns else "the column 'label' is missing"
        near = "" if "label" in columns else _near("label", columns)
        raise DataError(f"{path}: {problem}; columns: {present}.{near}")
    if "split" not in columns and (near := did_you_mean("split", columns)):
        # without a word, rows that were kept for testing would be trained on
        wording = near.replace("Did you mean", "Is it").replace("?", "? Call it 'split', or something else.")
        raise DataError(f"{path}: there is no column 'split'; columns: {present}.{wording}")


def _near(wanted: str, columns: list[str]) -> str:
    """Return the question whether one of the columns was meant to be the wanted one."""
    usual = {"path": ("image", "file", "filename", "file_name", "image_path"), "label": ("class", "category", "target")}
    by_lower_case = {name.lower(): name for name in columns}
    likely = next((by_lower_case[name] for name in (wanted, *usual[wanted]) if name in by_lower_case), None)
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


def _read_row(row: _Row, folder: Path, where: str) -> Record:
    path = _text(row["path"])
    if not path:
        raise DataError(f"{where}: the path is empty.")
    return Record(folder / path, _read_targets(row, path, where), PurePath(path).as_posix())


def _read_targets(row: _Row, path: str, where: str) -> dict[str, Any]:
    targets: dict[str, Any] = {}
    if "label" in row:
        targets["label"] = _text(row["label"])
    else:
        labels = row["labels"] if isinstance(row["labels"], list) else _text(row["labels"]).split(";")
        targets["labels"] = tuple(dict.fromkeys(text for label in labels if (text := _text(label))))
    if "subject" in row:
        targets["subject"] = _text(row["subject"])
    if targets.get("label") == "":
        raise DataError(f"{where}: the label of '{path}' is empty.")
    if targets.get("subject") == "":
        raise DataError(
            f"{where}: the subject of '{path}' is empty. If it isn't known, but nobody else's, make up a name for it."
        )
    return targets


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _read_split(row: _Row, where: str) -> str:
    if "split" not in row:
        return ""
    given = _text(row["split"])
    split = find_split(given)
    if split is None:
        raise DataError(f"{where}: the split '{given}' isn't one of {', '.join(SPLITS)}.{did_you_mean(given, SPLITS)}")
    return split


def _check_some_exist(records: list[Record], path: Path) -> None:
    """Tell a wrong folder, in which no image exists, from single missing ones, which count as bad data."""
    if not any(record.path.exists() for record in records):
        raise DataError(
            f"{path}: none of its {len(records)} images exists, e.g. {records[0].path}. Paths are relative to the "
            "table's folder."
        )


def _sorted_out(records: list[tuple[str, Record]]) -> Contents:
    splits = {
        split: tuple(record for one, record in records if one == split)
        for split in ("", *SPLITS)
        if any(one == split for one, _ in records)
    }
    return Contents(splits)
