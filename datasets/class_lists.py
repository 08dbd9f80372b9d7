"""Lists of the classes of masks, as they lie beside the pictures of a segmentation data set.

::

    classes.txt         a name a line: value 0, 1, 2 ...          or   VALUE NAME          or   R G B NAME
    codes.txt, label_colors.txt                                   the same
    classes.csv, class_dict.csv      with a header: name, and value, or r, g and b

Names such as ``void`` or ``unlabelled`` say that those pixels count for nothing.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .mask_values import Color
from .masks import IGNORED_NAMES, MAX_CLASSES, MaskCoding
from .sample import IGNORED, DataError

TEXT_FILES = ("classes.txt", "class_names.txt", "codes.txt", "label_colors.txt")
TABLES = ("classes.csv", "class_dict.csv")


class _Entry(NamedTuple):
    name: str
    value: int | None
    color: Color | None


def read_class_list(root: Path) -> MaskCoding | None:
    """Return what the list of classes in a folder says of mask values, or None where there is no list.

    Raises:
        DataError: Naming the file and the line: a name is missing or twice there, a value or colour is none.
    """
    for name in (*TEXT_FILES, *TABLES):
        if (path := root / name).is_file():
            entries = list(_read_table(path) if name in TABLES else _read_lines(path))
            return _make_coding(entries, path)
    return None


def _read_lines(path: Path) -> Iterable[_Entry]:
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.replace(",", " ").split()
        numbers = [int(word) for word in words[:3] if word.isdecimal()]
        count = 3 if len(numbers) == 3 else 1 if words[0].isdecimal() and len(words) > 1 else 0
        name = " ".join(words[count:])
        color = (numbers[0], numbers[1], numbers[2]) if count == 3 else None
        yield _check(_Entry(name, numbers[0] if count == 1 else None, color), path, number)


def _read_table(path: Path) -> Iterable[_Entry]:
    rows = csv.DictReader(_read_text(path).splitlines(), skipinitialspace=True)
    columns = [column.strip().lower() for column in rows.fieldnames or []]
    if "name" not in columns:
        raise DataError(f"{path}: the column 'name' is missing; columns: {', '.join(columns) or 'none'}.")
    rows.fieldnames = columns
    for number, row in enumerate(rows, start=2):
        try:
            value = int(row["value"]) if "value" in columns else None
            color = (int(row["r"]), int(row["g"]), int(row["b"])) if {"r", "g", "b"} <= set(columns) else None
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}, row {number}: a value or colour is no whole number ({error}).") from error
        yield _check(_Entry((row["name"] or "").strip(), value, color), path, number)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the list of classes can't be read ({error}).") from error


def _check(entry: _Entry, path: Path, number: int) -> _Entry:
    if not entry.name:
        raise DataError(f"{path}, line {number}: the name of the class is missing.")
    if entry.color is not None and not 0 <= min(entry.color) <= max(entry.color) <= 255:
        raise DataError(f"{path}, line {number}: a colour is three numbers from 0 to 255, not {entry.color}.")
    if entry.value is not None and not 0 <= entry.value <= 65535:
        raise DataError(f"{path}, line {number}: a value is a number from 0 to 65535, not {entry.value}.")
    return entry


def _make_coding(entries: list[_Entry], path: Path) -> MaskCoding:
    names: dict[int, str] = {}
    ignored: set[int] = set()
    colors: dict[Color, int] = {}
    for place, entry in enumerate(entries):
        value = place if entry.value is None else entry.value
        if entry.name in names.values() or value in names or (entry.color is not None and entry.color in colors):
            raise DataError(f"{path}: the class '{entry.name}', its value or its colour is there twice.")
        if entry.name.lower() in IGNORED_NAMES:
            ignored.add(value)
        else:
            names[value] = entry.name
        if entry.color is not None:
            colors[entry.color] = value
    if not names:
        raise DataError(f"{path}: the list names no class.")
    if len(names) > MAX_CLASSES:
        raise DataError(f"{path}: {len(names)} classes; a segmentation has at most {MAX_CLASSES}.")
    return MaskCoding(names, frozenset(ignored | ({IGNORED} - names.keys())), colors or None)
