"""Tables of images: CSV (also with ``;`` or tabs between columns), Parquet, and JSON lines (``table_files.py``).

==============  ================================================================================================
column          meaning
==============  ================================================================================================
``path``        the image, absolute or relative to the table's folder
``label``       its one class, taken as text: ``01`` stays ``01``
``labels``      instead of ``label``: any number of classes with ``;`` between them, or a list in Parquet and JSON
``mask``        for segmentation, instead of them: the mask (``masks.py``), absolute or relative to the table's folder
``xmin`` ...    for localization and detection, beside ``label``: ``xmin``, ``ymin``, ``xmax``, ``ymax`` of a box in
                pixels of the upright picture, the upper bounds exclusive; several boxes of an image stand in several
                rows. For detection they may differ in their labels, and a row without label and box is an image
                without objects
``subject``     optional: who or what is shown, a patient for example; no cut puts its images on both sides
``split``       optional: train, val or test, or a synonym
==============  ================================================================================================

Captions and questions stand in tables too: ``caption_table.py``, ``question_table.py``. Other columns are passed over.
A row's number in messages is the line a text editor or a spreadsheet shows.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from .boxes import Box, keep_sound, note_dropped
from .coded_masks import MaskPair, code_masks
from .contents import Contents
from .objects import Objects, note_objects
from .sample import DataError, Record
from .table_files import BOX, Row, name_near, open_table, read_columns, require
from .table_rows import as_text, find_faults, find_repeated, finish_table, read_row


def read_table(path: Path) -> Contents:
    """Read a table of images with labels; no picture is opened.

    Returns:
        What it holds. Its ``faults`` name the rows: a number of values that isn't the columns', quotes that don't
        match, an empty path, label or subject, an image that stands in two rows, an unknown split; or that no image is
        there at all.

    Raises:
        DataError: Naming the file: the table can't be read or is empty, a column is missing.
    """
    contents, rows = open_table(path, _check_label_columns)
    records: list[tuple[str, Record]] = []
    seen: dict[str, int] = {}
    for number, row in rows:
        faults = [*find_faults(row, number, path), *find_repeated(row, number, seen, path)]
        contents.faults += faults
        if not faults:
            records.append(read_row(row, path.parent))
    return finish_table(contents, records, path)


def read_mask_table(path: Path) -> Contents:
    """Read a table of images with masks; the masks are opened, to find the classes and what is wrong with them.

    Raises:
        DataError: As ``read_table``; or the list of classes beside the table can't be read.
    """
    contents, every = open_table(path, lambda columns, _: require(["path", "mask"], columns, path))
    # the classes are those of the masks; labels are for another task
    rows = ((number, {key: row[key] for key in row if key not in ("label", "labels")}) for number, row in every)
    pairs: list[MaskPair] = []
    splits: dict[str, str] = {}
    seen: dict[str, int] = {}
    for number, row in rows:
        faults = [*find_faults(row, number, path), *find_repeated(row, number, seen, path)]
        if not as_text(row["mask"]):
            faults.append(f"{path}, row {number}: the mask of '{as_text(row['path'])}' is empty.")
        contents.faults += faults
        if not faults:
            split, record = read_row(row, path.parent)
            splits[record.name] = split
            pairs.append(MaskPair(record, path.parent / as_text(row["mask"])))
    coded = code_masks(path.parent, pairs)
    contents.order, contents.notes = coded.classes, [*contents.notes, *coded.notes]
    return finish_table(contents, [(splits[record.name], record) for record in coded.records], path)


def read_box_table(path: Path) -> Contents:
    """Read a table of images with a label and one or more boxes each; no picture is opened.

    Raises:
        DataError: As ``read_table``.
    """
    contents, rows = open_table(path, lambda columns, _: require(["path", "label", *BOX], columns, path))
    found: dict[str, tuple[str, Record]] = {}
    boxes: dict[str, list[Box]] = {}
    for number, row in rows:
        faults, box = list(find_faults(row, number, path)), _read_box(row, f"{path}, row {number}")
        faults += [box] if isinstance(box, str) else []
        if not faults:
            read = read_row(row, path.parent)
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
    return finish_table(contents, records, path)


def read_object_table(path: Path) -> Contents:
    """Read a table of images with any number of labelled boxes each, or none; no picture is opened.

    Raises:
        DataError: As ``read_table``.
    """
    contents, rows = open_table(path, lambda columns, _: require(["path", "label", *BOX], columns, path))
    found: dict[str, _Boxed] = {}
    for number, row in rows:
        where = f"{path}, row {number}"
        is_bare = not any(as_text(row[name]) for name in ("label", *BOX))
        faults = list(find_faults({**row, "label": "none"} if is_bare else row, number, path))
        box = None if is_bare else _read_box(row, where)
        if isinstance(box, str):
            faults.append(f"{box} An image without objects is a row with neither label nor box.")
        elif not faults:
            split, record = read_row({key: row[key] for key in row if key not in ("label", "labels")}, path.parent)
            boxed = found.setdefault(record.name, _Boxed(number, split, record, []))
            if (boxed.split, boxed.record) != (split, record):
                faults.append(f"{where}: '{record.name}' has another subject or split in row {boxed.row}.")
            elif number != boxed.row and (box is None or not boxed.objects):
                faults.append(
                    f"{where}: '{record.name}' is in row {boxed.row} already. An image without objects has one row."
                )
            elif box is not None:
                boxed.objects.append((box, as_text(row["label"]), f"row {number}"))
        contents.faults += faults
    contents = finish_table(contents, [each.read(path) for each in found.values()], path)
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


def kind_of_table(path: Path) -> Literal["labels", "masks", "objects", "captions", "questions"]:
    """Return what a table's columns say of its images."""
    columns = set(read_columns(path))
    if "mask" in columns:
        return "masks"
    if set(BOX) <= columns:
        return "objects"
    if columns & {"label", "labels"}:
        return "labels"
    if "question" in columns:
        return "questions"
    return "captions" if columns & {"caption", "captions"} else "labels"


def _check_label_columns(columns: list[str], path: Path) -> None:
    present = ", ".join(columns) or "none"
    require(["path"], columns, path)
    if ("label" in columns) == ("labels" in columns) and columns.count("label") < 2:
        problem = "'label' and 'labels' can't both be there" if "label" in columns else "the column 'label' is missing"
        near = "" if "label" in columns else name_near("label", columns)
        raise DataError(f"{path}: {problem}; columns: {present}.{near}")


def _read_box(row: Row, where: str) -> Box | str:
    """Return the box of a row, or what is wrong with it."""
    try:
        box = tuple(float(as_text(row[name])) for name in BOX)
    except ValueError:
        return f"{where}: a box is four numbers, not {', '.join(repr(as_text(row[name])) for name in BOX)}."
    return (box[0], box[1], box[2], box[3])
