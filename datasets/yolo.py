"""YOLO's text files: a line for each object of a picture, in shares of the picture's width and height.

::

    0 0.5 0.4 0.2 0.1                    class, centre x and y, width, height
    0 0.4 0.3 0.6 0.3 0.6 0.5            class, and the corners of a polygon, three or more

Where the files lie says ``yolo_layout.py``. Classes are numbered from 0. A picture whose file is empty or missing
shows no object. Shares are of the upright picture, so its header is read for its size. A polygon becomes a region, with
the box around it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from .boxes import Box
from .contents import Contents
from .images import picture_size
from .objects import Objects, note_objects
from .sample import DataError, Record
from .yolo_layout import YoloLayout, find_labels, find_layout, holds_yolo

__all__ = ["holds_yolo", "read_yolo"]

#: How far a share may lie outside of 0 to 1: what rounding does.
_TOLERANCE = 1e-3

#: Threads that read headers: more of them help a slow disk, and hinder one another where the files are in memory.
_READERS = 4


class _Line(NamedTuple):
    name: str
    values: tuple[float, ...]
    """Four for a box, else the corners of a polygon."""
    place: str


class _Reading(NamedTuple):
    """What became of a picture: a record, or what is wrong with its labels."""

    record: Record | None
    faults: Sequence[str] = ()
    is_missing: bool = False
    """Whether there is no label file."""


def read_yolo(root: Path) -> Contents:
    """Read the label files of a YOLO data set, and the size of each picture that shows something.

    A picture whose header can't be read is kept without objects: whoever loads it says what is wrong with it.

    Args:
        root: The folder, or its data.yaml.

    Returns:
        What it holds. Its ``faults`` name the file and the line: a class or a share that is no such, the wrong number
        of values; pictures that are listed but not there, or are in two splits; a split of which no picture has labels.

    Raises:
        DataError: As ``find_layout``.
    """
    layout = find_layout(root)
    folder = root if root.is_dir() else root.parent
    contents = Contents({}, faults=layout.faults, order=layout.names)
    seen: dict[Path, str] = {}
    for split, pictures in layout.pictures.items():
        kept = _drop_repeated(pictures, split, seen, layout, contents)
        with ThreadPoolExecutor(_READERS) as pool:
            readings = list(pool.map(lambda picture: _read_picture(picture, folder, layout), kept))
        contents.faults += [fault for reading in readings for fault in reading.faults]
        records = [reading.record for reading in readings if reading.record is not None]
        contents.splits[split] = tuple(sorted(records, key=lambda record: record.name))
        _tell_missing(readings, kept, split, folder, contents)
    if layout.has_keypoints:
        contents.notes.append(f"{layout.source}: the points that follow the boxes (kpt_shape) aren't read.")
    contents.notes += note_objects(root, contents.splits)
    return contents


def _drop_repeated(
    pictures: Sequence[Path], split: str, seen: dict[Path, str], layout: YoloLayout, contents: Contents
) -> list[Path]:
    """Return a split's pictures without those that are in another one, which become a fault; each once."""
    kept = list(dict.fromkeys(pictures))
    twice = [picture for picture in kept if picture in seen]
    if twice:
        contents.faults.append(
            f"{layout.source}: {len(twice)} of the {len(kept)} pictures of '{split}' are in '{seen[twice[0]]}' too, "
            f"e.g. {twice[0]}. A picture is of one split; without 'val' a part of 'train' is cut for it."
        )
    kept = [picture for picture in kept if picture not in seen]
    seen |= dict.fromkeys(kept, split)
    return kept


def _tell_missing(
    readings: Sequence[_Reading], pictures: Sequence[Path], split: str, folder: Path, contents: Contents
) -> None:
    """Add a note on pictures without a label file; a fault where no picture of a split has one."""
    missing = [picture for reading, picture in zip(readings, pictures, strict=True) if reading.is_missing]
    if not missing:
        return
    of = f"the {len(pictures)} pictures" + (f" of '{split}'" if split else "")
    expected = find_labels(missing[0], folder)
    if len(missing) == len(pictures):
        contents.faults.append(
            f"{folder}: none of {of} has a label file, e.g. there is no {expected}. A picture without one counts as "
            "one that shows nothing, which can't be meant of all of them."
        )
    else:
        contents.notes.append(
            f"{folder}: {len(missing)} of {of} have no label file, e.g. there is no {expected}. They count as pictures "
            "without an object."
        )


def _read_picture(picture: Path, root: Path, layout: YoloLayout) -> _Reading:
    path = find_labels(picture, root)
    read = Contents({})
    lines = _read_lines(path, layout, read)
    if read.faults:
        return _Reading(None, read.faults)
    objects = _place(lines, picture, path) if lines else Objects(source=str(path))
    name = picture.relative_to(root) if picture.is_relative_to(root) else picture
    record = Record(picture, {"objects": objects, "labels": objects.labels}, name.as_posix())
    return _Reading(record, is_missing=lines is None)


def _read_lines(path: Path, layout: YoloLayout, contents: Contents) -> list[_Line] | None:
    """Return the lines of a label file, None where there is none; all that is wrong with it goes to the contents."""
    try:
        texts = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        contents.faults.append(f"{path}: the labels can't be read ({error}).")
        return []
    lines = []
    for number, text in enumerate(texts, start=1):
        with contents.gathering():
            if text.strip():
                lines.append(_read_line(text.split(), path, number, layout))
    return lines


def _read_line(words: Sequence[str], path: Path, number: int, layout: YoloLayout) -> _Line:
    where = f"{path}, line {number}"
    try:
        first, *values = map(float, words)
    except ValueError as error:
        raise DataError(f"{where}: a line is a class and shares, all numbers, not '{' '.join(words)}'.") from error
    name = _find_name(first, words[0], where, layout)
    if layout.has_keypoints:
        values = values[:4]
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        hint = " The sixth number of a prediction is its score; labels have none." if len(values) == 5 else ""
        raise DataError(
            f"{where}: {len(words)} numbers; a line has five, class, centre x and y, width, height, or a class and the "
            f"x and y of three corners or more.{hint}"
        )
    for value in values:
        if not -_TOLERANCE <= value <= 1 + _TOLERANCE:  # NaN fails this too
            hint = " Are these pixels?" if value > 1 else ""
            raise DataError(f"{where}: {value:g} is no share of the picture; shares go from 0 to 1.{hint}")
    return _Line(name, tuple(values), f"line {number}")


def _find_name(number: float, text: str, where: str, layout: YoloLayout) -> str:
    if not number.is_integer():
        raise DataError(f"{where}: the class '{text}' is no whole number.")
    if not 0 <= number < len(layout.names):
        raise DataError(
            f"{where}: there is no class {number:g}; {layout.source.name} names {len(layout.names)}, 0 to "
            f"{len(layout.names) - 1}. Classes are counted from 0."
        )
    return layout.names[int(number)]


def _place(lines: Sequence[_Line], picture: Path, source: Path) -> Objects:
    """Return objects in pixels of their picture; none where its size can't be read."""
    try:
        height, width = picture_size(picture)
    except DataError:
        return Objects(source=str(source))
    regions = [_polygon(line, height, width) for line in lines]
    return Objects(
        boxes=tuple(_box(line, region, height, width) for line, region in zip(lines, regions, strict=True)),
        names=tuple(line.name for line in lines),
        regions=tuple(None if region is None else [region] for region in regions) if any(regions) else (),
        places=tuple(line.place for line in lines),
        source=str(source),
    )


def _polygon(line: _Line, height: int, width: int) -> list[float] | None:
    if len(line.values) == 4:
        return None
    return [value * (height if place % 2 else width) for place, value in enumerate(line.values)]


def _box(line: _Line, region: list[float] | None, height: int, width: int) -> Box:
    if region is not None:
        return (min(region[::2]), min(region[1::2]), max(region[::2]), max(region[1::2]))
    x, y, wide, high = line.values
    return ((x - wide / 2) * width, (y - high / 2) * height, (x + wide / 2) * width, (y + high / 2) * height)
