"""The folder layouts of classification: a folder per class, with or without a folder per split above them.

::

    pets/train/cat/1.jpg      pets/cat/1.jpg
    pets/train/dog/2.jpg      pets/dog/2.jpg
    pets/val/cat/3.jpg

Pictures count at any depth below their class folder. Hidden files and folders are passed over.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from .contents import Contents
from .images import IMAGE_EXTENSIONS
from .sample import DataError, Record
from .splits import SPLIT_NAMES, SPLITS, find_split

LAYOUTS = (
    "Understood are: class folders of pictures (ROOT/cat/1.jpg), the same below split folders (ROOT/train/cat/1.jpg, "
    "with val or test beside train), the VOC layout (ROOT/JPEGImages, ROOT/Annotations), and a table, given by its own "
    "path (ROOT/labels.csv)."
)


def read_image_folder(root: Path) -> Contents:
    """Read the names in an image folder; no picture is opened.

    Returns:
        What it holds. Its ``faults`` name the empty class folders of the part that is trained on.

    Raises:
        DataError: Saying what was found instead: no pictures, pictures without class folders, two folders for one
            split, a folder one level too high, folders that look like splits under unknown names.
    """
    split_folders = _find_split_folders(root)
    if split_folders:
        return _read_splits(root, split_folders)
    contents = Contents({})
    contents.splits[""] = _read_classes(root, root, contents, is_trained_on=True)
    return contents


def walk_pictures(folder: Path) -> Iterator[Path]:
    """Return the files below a folder that are named like pictures, following links, without hidden ones."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        # a link to a folder above would never end
        folders[:] = [] if real in seen else [name for name in folders if not _is_hidden(name)]
        if real not in seen:
            yield from (Path(parent, name) for name in files if _is_picture(name))
        seen.add(real)


def describe_folder(folder: Path) -> str:
    """Return what a folder holds at its top, for messages: ``2 folders (a, b) and 3 pictures``."""
    folders, pictures, others = _list(folder)
    parts = [
        _count(folders, "folder", "folders") if folders else "",
        f"{len(pictures)} picture{'s' * (len(pictures) != 1)}" if pictures else "",
        _count(others, "other file", "other files") if others else "",
    ]
    parts = [part for part in parts if part]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts) or "nothing"


def _find_split_folders(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name in _list(root)[0]:
        split = find_split(name)
        if split in found:
            raise DataError(f"{root}: '{found[split].name}' and '{name}' both name the split '{split}'. Keep one.")
        if split is not None:
            found[split] = root / name
    return found


def _read_splits(root: Path, split_folders: dict[str, Path]) -> Contents:
    contents = Contents({})
    for split in SPLITS:
        if split not in split_folders:
            continue
        folder = split_folders[split]
        if _list(folder)[0]:
            contents.splits[split] = _read_classes(root, folder, contents, is_trained_on=split == "train")
        else:
            contents.notes.append(
                f"{folder} holds no class folders and isn't used; it holds {describe_folder(folder)}."
            )
    if not contents.splits:
        raise DataError(f"{root}: no class folders. {' '.join(contents.notes)} {LAYOUTS}")
    others = [name for name in _list(root)[0] if find_split(name) is None]
    if others:
        contents.notes.append(f"{root}: not used beside the split folders: {_count(others, 'folder', 'folders')}.")
    return contents


def _read_classes(root: Path, folder: Path, contents: Contents, *, is_trained_on: bool) -> tuple[Record, ...]:
    """Return the records below a folder of class folders; what is odd there goes to the notes and faults."""
    names, loose, _ = _list(folder)
    if not names:
        raise DataError(f"{folder}: no class folders, but {describe_folder(folder)}. {LAYOUTS}")
    records: list[Record] = []
    empty = []
    for name in names:
        pictures = list(walk_pictures(folder / name))
        records += [Record(path, {"label": name}, path.relative_to(root).as_posix()) for path in pictures]
        if not pictures:
            empty.append(folder / name)
    if not records:
        raise DataError(f"{folder}: no pictures in its folders; it holds {describe_folder(folder)}. {LAYOUTS}")
    _check_level(folder, names)
    if is_trained_on:
        contents.faults += [
            f"{path}: the class folder has no pictures, it holds {describe_folder(path)}. Fill or remove it. "
            f"Pictures end in {', '.join(IMAGE_EXTENSIONS)}."
            for path in empty
        ]
    else:
        contents.notes += [f"{path}: the class folder has no pictures." for path in empty]
    if loose:
        contents.notes.append(f"{folder}: left out, being in no class folder: {_count(loose, 'picture', 'pictures')}.")
    return tuple(sorted(records, key=lambda record: record.name))


def _check_level(folder: Path, classes: list[str]) -> None:
    """Refuse "classes" that hold the splits (the folder above the data set) or the classes (unknown names of splits).

    The latter are told by holding no pictures of their own, but all the same folders, two or more.
    """
    alike: set[tuple[str, ...]] = set()
    for name in classes:
        below, pictures, _ = _list(folder / name)
        if any(find_split(inner) for inner in below):
            raise DataError(f"{folder}: '{name}' isn't a class, it has split folders. Did you mean '{folder / name}'?")
        alike.add(() if pictures else tuple(below))
    shared = list(alike.pop())
    if alike or len(shared) < 2:
        return
    inner = _count(shared, "folder", "folders")
    if len(classes) == 1:
        raise DataError(
            f"{folder}: its only folder '{classes[0]}' isn't a class, it has no pictures of its own, but {inner}. "
            f"Did you mean '{folder / classes[0]}'? If it is a class, list its pictures in a table."
        )
    raise DataError(
        f"{folder}: its {_count(classes, 'folder', 'folders')} aren't classes, they have no pictures of their own, but "
        f"each the same {inner}. If they are splits, rename them; understood are {SPLIT_NAMES}. If they are classes, "
        "list their pictures in a table."
    )


def _list(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the sorted names of a folder's folders, pictures and other files, without hidden ones."""
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found if not _is_hidden(entry.name))
    except OSError as error:
        raise DataError(f"{folder}: the folder can't be read ({error.strerror}).") from error
    files = [name for name, is_folder in entries if not is_folder]
    folders = [name for name, is_folder in entries if is_folder]
    return folders, [name for name in files if _is_picture(name)], [name for name in files if not _is_picture(name)]


def _count(names: list[str], one: str, many: str) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {one if len(names) == 1 else many} ({shown})"


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_picture(name: str) -> bool:
    return not _is_hidden(name) and name.lower().endswith(IMAGE_EXTENSIONS)
