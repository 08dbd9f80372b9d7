"""WIDER FACE (Yang et al. 2016): faces in pictures of 61 events, and which of them are easy, medium or hard.

::

    wider_face_split/wider_face_train_bbx_gt.txt      or beside the folders of pictures
    WIDER_train/images/0--Parade/0_Parade_marchingband_1_849.jpg
    ground_truth/wider_easy_val.mat                   or eval_tools/ground_truth, or beside the folders of pictures

A text file has blocks: the path of a picture, the number of its faces, and a line for each, ``x y width height blur
expression illumination occlusion pose invalid``. A picture without faces has one line of zeros. Of the numbers behind
the box only ``invalid`` is used: such a face is ignored.

The three measures of the benchmark count different faces, which the files of its evaluation list for ``val``:
``wider_easy_val.mat``, ``wider_medium_val.mat`` and ``wider_hard_val.mat``. Without them the sets aren't known.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .boxes import Box
from .contents import Contents
from .images import IMAGE_EXTENSIONS
from .objects import Objects, note_objects
from .sample import DataError, Record

FACE = "face"
"""The only class."""

WIDER_SETS = {"easy": 1, "medium": 2, "hard": 4}
"""The numbers of the sets, which are added up."""

_SPLITS = ("train", "val")
_NUMBERS = 10


class _Block(NamedTuple):
    """The lines on a picture."""

    picture: str
    line: int
    """Where its path stands, from 1."""
    lines: list[str]
    """What follows: the number of faces, and the faces."""


def holds_wider(folder: Path) -> bool:
    """Whether a folder has one of the benchmark's text files."""
    return any(_find_list(folder, split) is not None for split in _SPLITS)


def read_wider(root: Path) -> Contents:
    """Read the faces of WIDER FACE; no picture is opened.

    Args:
        root: The folder that holds ``wider_face_split``.

    Returns:
        What it holds. Its ``faults`` name the file and the line: a number that is none, more or fewer faces than were
        announced, a picture that is there twice; or the picture with which the files of the evaluation disagree.

    Raises:
        DataError: There is no text file with pictures beside it, or a file can't be read.
    """
    contents = Contents({}, order=(FACE,))
    for split in _SPLITS:
        path, pictures = _find_list(root, split), root / f"WIDER_{split}" / "images"
        if path is None:
            continue
        if not pictures.is_dir():
            contents.notes.append(f"{path}: its pictures aren't there, {pictures}; the split '{split}' was left out.")
            continue
        contents.splits[split] = tuple(sorted(_read_list(path, pictures, root, contents), key=lambda one: one.name))
        contents.notes += _note_missing(path, pictures, contents.splits[split])
    if not contents.splits:
        raise DataError(
            f"{root}: no pictures of WIDER FACE. {' '.join(contents.notes)} The archives of the benchmark are unpacked "
            "beside one another: wider_face_split, WIDER_train, WIDER_val."
        )
    contents.notes += note_objects(root, contents.splits)
    if "val" in contents.splits:
        _add_sets(root, contents)
    return contents


def _find_list(root: Path, split: str) -> Path | None:
    name = f"wider_face_{split}_bbx_gt.txt"
    return next((path for path in (root / "wider_face_split" / name, root / name) if path.is_file()), None)


def _read_list(path: Path, pictures: Path, root: Path, contents: Contents) -> Iterator[Record]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the list of faces can't be read ({error}).") from error
    seen: dict[str, int] = {}
    for block in _cut(lines, path, contents):
        with contents.gathering():
            if block.picture in seen:
                raise DataError(
                    f"{path}, line {block.line}: '{block.picture}' is there already, in line {seen[block.picture]}."
                )
            seen[block.picture] = block.line
            objects = _read_block(block, path)
            found = pictures / block.picture
            yield Record(found, {"objects": objects, "labels": objects.labels}, found.relative_to(root).as_posix())


def _cut(lines: Sequence[str], path: Path, contents: Contents) -> list[_Block]:
    """Return the blocks of a file. Each begins with a path, so that one with a wrong number doesn't spoil the next."""
    blocks: list[_Block] = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line.lower().endswith(IMAGE_EXTENSIONS):
            blocks.append(_Block(line, number, []))
        elif blocks:
            blocks[-1].lines.append(line)
        elif line:
            contents.faults.append(f"{path}, line {number}: the path of a picture was expected, not '{line}'.")
            break
    for block in blocks:
        while block.lines and not block.lines[-1]:
            block.lines.pop()
    if not blocks and not contents.faults:
        raise DataError(f"{path}: the list of faces is empty.")
    return blocks


def _read_block(block: _Block, path: Path) -> Objects:
    if not block.lines or not block.lines[0].isdecimal():
        found = f"'{block.lines[0]}'" if block.lines else "the end of the block"
        raise DataError(
            f"{path}, line {block.line + 1}: the number of faces of '{block.picture}' was expected, not {found}."
        )
    count, lines = int(block.lines[0]), block.lines[1:]
    if count == 0 and len(lines) == 1 and not any(map(float, _read_face(lines[0], f"{path}, line {block.line + 2}"))):
        lines = []  # that there are none is said by a face of zeros
    if len(lines) != count:
        raise DataError(
            f"{path}, line {block.line + 1}: '{block.picture}' is said to show {count} faces, and {len(lines)} lines "
            "follow. Is the file cut off?"
        )
    places = [block.line + 2 + place for place in range(count)]
    faces = [_read_face(line, f"{path}, line {place}") for line, place in zip(lines, places, strict=True)]
    ignored = tuple(face[-1] == 1 for face in faces)
    return Objects(
        boxes=tuple(_box(face) for face in faces),
        names=(FACE,) * count,
        ignored=ignored if any(ignored) else (),
        places=tuple(f"line {place}" for place in places),
        source=str(path),
    )


def _read_face(line: str, where: str) -> list[float]:
    try:
        numbers = [float(word) for word in line.split()]
    except ValueError as error:
        raise DataError(f"{where}: a face is {_NUMBERS} numbers, not '{line}'.") from error
    if len(numbers) != _NUMBERS:
        raise DataError(
            f"{where}: {len(numbers)} numbers; a face has {_NUMBERS}: x, y, width, height, blur, expression, "
            "illumination, occlusion, pose, invalid."
        )
    if numbers[-1] not in (0, 1):
        raise DataError(f"{where}: the last number, whether the face is invalid, is {numbers[-1]:g}, neither 0 nor 1.")
    return numbers


def _box(face: Sequence[float]) -> Box:
    left, top, width, height = face[:4]
    return (left, top, left + width, top + height)


def _note_missing(path: Path, pictures: Path, records: Sequence[Record]) -> list[str]:
    """Return a note on pictures that aren't there.

    Raises:
        DataError: None is there.
    """
    missing = [record for record in records if not record.path.is_file()]
    if missing and len(missing) == len(records):
        raise DataError(f"{path}: none of its {len(records)} pictures is in {pictures}, e.g. {missing[0].path}.")
    of = f"{len(missing)} of the {len(records)} pictures"
    return [f"{pictures}: {of} are missing, e.g. {missing[0].path}."] if missing else []


def _add_sets(root: Path, contents: Contents) -> None:
    """Add to the faces of ``val`` in which sets they are, where the files of the evaluation are there."""
    names = {name: f"wider_{name}_val.mat" for name in WIDER_SETS}
    folders = (root / "ground_truth", root / "eval_tools" / "ground_truth", root)
    files = {key: next((f / name for f in folders if (f / name).is_file()), None) for key, name in names.items()}
    if missing := [names[key] for key, path in files.items() if path is None]:
        contents.notes.append(
            f"{root}: easy, medium and hard faces can't be told apart, and not measured; {', '.join(missing)} of the "
            f"benchmark's evaluation, eval_tools, {'is' if len(missing) == 1 else 'are'} needed in {folders[0]}."
        )
        return
    listed = {key: (path, _read_mat(path)) for key, path in files.items() if path is not None}
    records = []
    for record in contents.splits["val"]:
        with contents.gathering():
            sets = [0] * len(record.targets["objects"])
            for key, (path, faces) in listed.items():
                for place in _counted(record, path, faces):
                    sets[place] += WIDER_SETS[key]
            objects = replace(record.targets["objects"], sets=tuple(sets))
            records.append(replace(record, targets={**record.targets, "objects": objects}))
    contents.splits["val"] = tuple(records)


class _Faces(NamedTuple):
    number: int
    """The faces of a picture, counted or not."""
    counted: tuple[int, ...]
    """Which of them are in the set, from 1."""


def _read_mat(path: Path) -> dict[str, _Faces]:
    """Return what a file of the evaluation says of each picture, by ``event/name`` without ending."""
    from scipy.io import loadmat

    found: dict[str, _Faces] = {}
    try:
        mat = loadmat(path)
        for event, files, boxes, counted in zip(
            *(mat[key].ravel() for key in ("event_list", "file_list", "face_bbx_list", "gt_list")), strict=True
        ):
            for file, box, places in zip(files.ravel(), boxes.ravel(), counted.ravel(), strict=True):
                name = f"{_text(event)}/{_text(file)}"
                found[name] = _Faces(len(box), tuple(int(place) for place in places.ravel()))
    except Exception as error:  # a damaged file can raise nearly anything from scipy's reader
        raise DataError(
            f"{path}: this can't be read as a list of WIDER FACE's evaluation ({type(error).__name__}: {error})."
        ) from error
    return found


def _text(cell: Any) -> str:
    return str(cell.ravel()[0])


def _counted(record: Record, path: Path, listed: Mapping[str, _Faces]) -> Iterator[int]:
    """Return the places of a picture's faces that count in a set."""
    name = f"{record.path.parent.name}/{record.path.stem}"
    count = len(record.targets["objects"])
    faces = listed.get(name)
    if faces is None:
        raise DataError(f"{path}: '{name}' isn't in it. Is it of another release?")
    if faces.number != count and count:
        source = record.targets["objects"].source
        raise DataError(f"{path}: '{name}' has {faces.number} faces, and {count} in {source}.")
    for place in faces.counted if count else ():
        if not 1 <= place <= count:
            raise DataError(f"{path}: '{name}' has no face {place}; its {count} are counted from 1.")
        yield place - 1
