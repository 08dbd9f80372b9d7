"""Tables of images: CSV (also with ``;`` or tabs between columns) and Parquet.

==============  ================================================================================================
column          meaning
==============  ================================================================================================
``path``        the image, absolute or relative to the table's folder
``label``       its one class, taken as text: ``01`` stays ``01``
``labels``      instead of ``label``: any number of classes with ``;`` between them, or a list column in Parquet
``mask``        for segmentation, instead of them: the mask (``masks.py``), absolute or relative to the table's folder
``xmin`` ...    for localization and detection, beside ``label``: ``xmin``, ``ymin``, ``xmax``, ``ymax`` of a box in
                pixels of the upright picture, the upper bounds exclusive; several boxes of an image stand in several
                rows. For detection they may differ in their labels, and a row without label and box is an image
                without objects
``subject``     optional: who or what is shown, a patient for example; no cut puts its images on both sides
``split``       optional: train, val or test, or a synonym
==============  ================================================================================================

Other columns are passed over. A row's number in messages is the line a text editor or a spreadsheet shows.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

from ..backbones.errors import did_you_mean
from .boxes import Box, keep_sound, note_dropped
from .coded_masks import MaskPair, code_masks
from .contents import Contents, raise_faults
from .objects import Objects, note_objects
from .sample import DataError, Record
from .splits import SPLITS, find_split

TABLE_EXTENSIONS = (".csv", ".tsv", ".parquet")

_BOX = ("xmin", "ymin", "xmax", "ymax")

_COLUMNS = ("path", "label", "labels", "mask", *_BOX, "subject", "split")

_LIKE_SUBJECT = {
    *("subject", "subjects", "subject_id", "subject_name", "person", "person_id", "patient", "patient_id"),
    *("patientid", "participant", "participant_id", "animal", "animal_id", "identity"),
}

_Row = dict[str, Any]


def read_table(path: Path) -> Contents:
    """Read a table of images with labels; no picture is opened.

    Returns:
        What it holds. Its ``faults`` name the rows: a number of values that isn't the columns', quotes that don't
        match, an empty path, label or subject, an image that stands in two rows, an unknown split; or that no image is
        there at all.

    Raises:
        DataError: Naming the file: the table can't be read or is empty, a column is missing.
    """
    contents, rows = _open_table(path, _check_label_columns)
    records: list[tuple[str, Record]] = []
    seen: dict[str, int] = {}
    for number, row in rows:
        faults = [*_find_faults(row, number, path), *_find_repeated(row, number, seen, path)]
        contents.faults += faults
        if not faults:
            records.append(_read_row(row, path.parent))
    return _finish(contents, records, path)


def read_mask_table(path: Path) -> Contents:
    """Read a table of images with masks; the masks are opened, to find the classes and what is wrong with them.

    Raises:
        DataError: As ``read_table``; or the list of classes beside the table can't be read.
    """
    contents, every = _open_table(path, lambda columns, _: _require(["path", "mask"], columns, path))
    # the classes are those of the masks; labels are for another task
    rows = ((number, {key: row[key] for key in row if key not in ("label", "labels")}) for number, row in every)
    pairs: list[MaskPair] = []
    splits: dict[str, str] = {}
    seen: dict[str, int] = {}
    for number, row in rows:
        faults = [*_find_faults(row, number, path), *_find_repeated(row, number, seen, path)]
        if not _text(row["mask"]):
            faults.append(f"{path}, row {number}: the mask of '{_text(row['path'])}' is empty.")
        contents.faults += faults
        if not faults:
            split, record = _read_row(row, path.parent)
            splits[record.name] = split
            pairs.append(MaskPair(record, path.parent / _text(row["mask"])))
    coded = code_masks(path.parent, pairs)
    contents.order, contents.notes = coded.classes, [*contents.notes, *coded.notes]
    return _finish(contents, [(splits[record.name], record) for record in coded.records], path)


def read_box_table(path: Path) -> Contents:
    """Read a table of images with a label and one or more boxes each; no picture is opened.

    Raises:
        DataError: As ``read_table``.
    """
    contents, rows = _open_table(path, lambda columns, _: _require(["path", "label", *_BOX], columns, path))
    found: dict[str, tuple[str, Record]] = {}
    boxes: dict[str, list[Box]] = {}
    for number, row in rows:
        faults, box = list(_find_faults(row, number, path)), _read_box(row, f"{path}, row {number}")
        faults += [box] if isinstance(box, str) else []
        if not faults:
            read = _read_row(row, path.parent)
            first = found.setdefault(read[1].name, read)
            if first != read:
                faults.append(f"{path}, row {number}: '{read[1].name}' has another label, subject or split before.")
        contents.faults += faults
        if not faults and not isinstance(box, str):
            boxes.setdefault(read[1].name, []).append(box)
    records = [
        (split, replace(record, targets={**record.targets, "boxes": keep_sound(boxes[name])}))
        for name, (split, record) in found.items()
        if name in boxes
    ]
    contents.notes += note_dropped(
        path, sum(map(len, boxes.values())), sum(len(record.targets["boxes"]) for _, record in records)
    )
    return _finish(contents, records, path)


def read_object_table(path: Path) -> Contents:
    """Read a table of images with any number of labelled boxes each, or none; no picture is opened.

    Raises:
        DataError: As ``read_table``.
    """
    contents, rows = _open_table(path, lambda columns, _: _require(["path", "label", *_BOX], columns, path))
    found: dict[str, _Boxed] = {}
    for number, row in rows:
        where = f"{path}, row {number}"
        is_bare = not any(_text(row[name]) for name in ("label", *_BOX))
        faults = list(_find_faults({**row, "label": "none"} if is_bare else row, number, path))
        box = None if is_bare else _read_box(row, where)
        if isinstance(box, str):
            faults.append(f"{box} An image without objects is a row with neither label nor box.")
        elif not faults:
            split, record = _read_row({key: row[key] for key in row if key not in ("label", "labels")}, path.parent)
            boxed = found.setdefault(record.name, _Boxed(number, split, record, []))
            if (boxed.split, boxed.record) != (split, record):
                faults.append(f"{where}: '{record.name}' has another subject or split in row {boxed.row}.")
            elif number != boxed.row and (box is None or not boxed.objects):
                faults.append(
                    f"{where}: '{record.name}' is in row {boxed.row} already. An image without objects has one row."
                )
            elif box is not None:
                boxed.objects.append((box, _text(row["label"]), f"row {number}"))
        contents.faults += faults
    contents = _finish(contents, [each.read(path) for each in found.values()], path)
    contents.notes += note_objects(path, contents.splits)
    return contents


class _Boxed(NamedTuple):
    """An image with its objects so far: box, class and place of each."""

    row: int
    split: str
    record: Record
    objects: list[tuple[Box, str, str]]

    def read(self, path: Path) -> tuple[str, Record]:
        boxes, names, places = zip(*self.objects, strict=True) if self.objects else ((), (), ())
        objects = Objects(boxes=boxes, names=names, places=places, source=str(path))
        targets = {**self.record.targets, "objects": objects, "labels": objects.labels}
        return self.split, replace(self.record, targets=targets)


def kind_of_table(path: Path) -> Literal["labels", "masks", "objects"]:
    """Return what a table's columns say of its images."""
    columns = (_read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path, Contents({})))[0]
    if "mask" in columns:
        return "masks"
    return "objects" if {*_BOX} <= set(columns) else "labels"


def _open_table(path: Path, check: Callable[[list[str], Path], None]) -> tuple[Contents, Iterable[tuple[int, _Row]]]:
    contents = Contents({})
    columns, rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path, contents)
    check(columns, path)
    _check_columns(columns, path)
    contents.notes += _note_subjects(columns, path)
    return contents, rows


def _finish(contents: Contents, records: list[tuple[str, Record]], path: Path) -> Contents:
    if not records and not contents.faults:
        raise DataError(f"{path}: the table has no rows.")
    contents.faults += _none_exists([record for _, record in records], path)
    contents.splits = _sort_out(records)
    return contents


def _read_csv(path: Path, contents: Contents) -> tuple[list[str], Iterator[tuple[int, _Row]]]:
    text = _read_text(path)
    header = (text.splitlines() or [""])[0]
    delimiter = max(",;\t", key=header.count)
    lines = _read_lines(csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True), path, contents)
    columns = [name.strip() for name in next(lines, (1, []))[1]]
    raise_faults(path, contents.faults)  # of the header

    def rows() -> Iterator[tuple[int, _Row]]:
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
    if twice := [name for name in _COLUMNS if columns.count(name) > 1]:
        raise DataError(
            f"{path}: the column '{twice[0]}' is there {columns.count(twice[0])} times; columns: {present}."
        )
    if "split" not in columns and (near := did_you_mean("split", columns)):
        # without a word, rows that were kept for testing would be trained on
        wording = near.replace("Did you mean", "Is it").replace("?", "? Call it 'split', or something else.")
        raise DataError(f"{path}: there is no column 'split'; columns: {present}.{wording}")


def _check_label_columns(columns: list[str], path: Path) -> None:
    present = ", ".join(columns) or "none"
    _require(["path"], columns, path)
    if ("label" in columns) == ("labels" in columns) and columns.count("label") < 2:
        problem = "'label' and 'labels' can't both be there" if "label" in columns else "the column 'label' is missing"
        near = "" if "label" in columns else _near("label", columns)
        raise DataError(f"{path}: {problem}; columns: {present}.{near}")


def _require(names: Sequence[str], columns: list[str], path: Path) -> None:
    for name in names:
        if name not in columns:
            present = ", ".join(columns) or "none"
            raise DataError(f"{path}: the column '{name}' is missing; columns: {present}.{_near(name, columns)}")


def _near(wanted: str, columns: list[str]) -> str:
    """Return the question whether one of the columns was meant to be the wanted one."""
    usual = {
        "path": ("image", "file", "filename", "file_name", "image_path"),
        "label": ("class", "category", "target"),
        "mask": ("mask_path", "annotation", "segmentation"),
        **{
            name: (name[1:] + name[0], f"{name[0]}_{name[1:]}", name[0] + {"min": "1", "max": "2"}[name[1:]])
            for name in _BOX
        },
    }
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


def _find_faults(row: _Row, number: int, table: Path) -> Iterator[str]:
    """Return what is wrong with a row."""
    where, path = f"{table}, row {number}", _text(row["path"])
    if not path:
        yield f"{where}: the path is empty."
    if "label" in row and not _text(row["label"]):
        yield f"{where}: the label of '{path}' is empty."
    if "subject" in row and not _text(row["subject"]):
        yield (
            f"{where}: the subject of '{path}' is empty. If it isn't known, but nobody else's, make up a name for it."
        )
    split = _text(row.get("split", "train"))
    if find_split(split) is None:
        yield f"{where}: the split '{split}' isn't one of {', '.join(SPLITS)}.{did_you_mean(split, SPLITS)}"


def _find_repeated(row: _Row, number: int, seen: dict[str, int], table: Path) -> Iterator[str]:
    """Return whether a row's image stands in a row before, and note in which row it was seen first."""
    name = _name(_text(row["path"]))
    if _text(row["path"]) and seen.setdefault(name, number) != number:
        yield f"{table}, row {number}: the image '{name}' is in row {seen[name]} already."


def _read_box(row: _Row, where: str) -> Box | str:
    """Return the box of a row, or what is wrong with it."""
    try:
        box = tuple(float(_text(row[name])) for name in _BOX)
    except ValueError:
        return f"{where}: a box is four numbers, not {', '.join(repr(_text(row[name])) for name in _BOX)}."
    return (box[0], box[1], box[2], box[3])


def _read_row(row: _Row, folder: Path) -> tuple[str, Record]:
    """Return the split, empty where there are none, and the record of a row without faults."""
    path = _text(row["path"])
    targets: dict[str, Any] = {}
    if "label" in row:
        targets["label"] = _text(row["label"])
    elif "labels" in row:
        labels = row["labels"] if isinstance(row["labels"], list) else _text(row["labels"]).split(";")
        targets["labels"] = tuple(dict.fromkeys(text for label in labels if (text := _text(label))))
    if "subject" in row:
        targets["subject"] = _text(row["subject"])
    return find_split(_text(row.get("split"))) or "", Record(folder / path, targets, _name(path))


def _name(path: str) -> str:
    return PurePath(path).as_posix()


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _none_exists(records: list[Record], path: Path) -> list[str]:
    """Tell a wrong folder, in which no image exists, from single missing ones, which count as bad data."""
    if not records or any(record.path.exists() for record in records):
        return []
    return [
        f"{path}: none of its {len(records)} images exists, e.g. {records[0].path}. Paths are relative to the "
        "table's folder."
    ]


def _sort_out(records: list[tuple[str, Record]]) -> dict[str, tuple[Record, ...]]:
    return {
        split: tuple(record for one, record in records if one == split)
        for split in ("", *SPLITS)
        if any(one == split for one, _ in records)
    }
