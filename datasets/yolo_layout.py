"""Where the pictures and the classes of a data set in YOLO's text files are.

::

    set/data.yaml              path: .
                               train: images/train        a folder, a list of folders, or a .txt file with a path a line
                               val: images/val
                               names: {0: cat, 1: dog}    or [cat, dog]
    set/classes.txt            where there is no such file: a class a line; or obj.names
    set/images/train/1.jpg     or  set/train/images/1.jpg  or  set/images/1.jpg, not split
    set/labels/train/1.txt         set/train/labels/1.txt      set/labels/1.txt

Files made elsewhere name folders as they were there: ``../train/images``, or ``/home/me/set/train``. Such a path is
looked for from the file's own folder as well, without its leading ``..`` and then without one part after another.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

from .image_folder import describe_folder, walk_pictures
from .sample import DataError
from .splits import SPLITS, find_split

_CLASS_FILES = ("classes.txt", "obj.names")
_UNDERSTOOD = (
    "Understood are: data.yaml with names, train and val; or images/train with labels/train, train/images with "
    "train/labels, or images with labels, and classes.txt beside."
)


class YoloLayout(NamedTuple):
    """What there is besides the boxes."""

    source: Path
    """The file that names the classes."""
    names: tuple[str, ...]
    """The classes, in the order of their numbers."""
    pictures: dict[str, list[Path]]
    """By split; the only key is the empty text where there are none."""
    faults: list[str]
    has_keypoints: bool = False
    """Whether points of a skeleton follow the box in each line."""


def holds_yolo(root: Path) -> bool:
    """Whether a path is a folder with YOLO's data.yaml or label files where they belong, or a data.yaml itself."""
    if root.is_file():
        return root.suffix.lower() in (".yaml", ".yml") and _is_description(_load(root))
    return bool(_descriptions(root)) or any(
        any(path.name not in _CLASS_FILES for path in labels.glob("**/*.txt")) for _, labels in _folders(root).values()
    )


def find_layout(root: Path) -> YoloLayout:
    """Return where the pictures of each split are, and what the classes are called.

    Args:
        root: The folder, or its data.yaml.

    Raises:
        DataError: Neither data.yaml nor a list of classes, or several; an entry that names nothing that is there; no
            pictures; classes that aren't numbered from 0 on, are twice there, or more or fewer than ``nc``.
    """
    found = [root] if root.is_file() else _descriptions(root)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{root}: {names} all describe a data set. Give the one that is meant by its own path.")
    return _described(found[0]) if found else _plain(root)


def find_labels(picture: Path, root: Path) -> Path:
    """Return where the label file of a picture belongs: below ``labels`` instead of the last ``images`` of its path.

    Without such a folder below the root it is beside the picture.
    """
    above = os.fspath(root) if root.parts and picture.is_relative_to(root) else ""
    padded = os.sep + os.fspath(picture)[len(above) :]  # so that the first folder has one in front as well
    before, found, after = padded.rpartition(f"{os.sep}images{os.sep}")
    below = f"{before}{os.sep}labels{os.sep}{after}" if found else padded
    return Path(f"{above}{os.path.splitext(below[1:])[0]}.txt")


def _descriptions(root: Path) -> list[Path]:
    """Return the files that describe a data set: data.yaml, or else any other ones."""
    files = sorted(path for path in root.glob("*") if path.suffix.lower() in (".yaml", ".yml"))
    plain = {path: _load(path) for path in files}
    # one of this name that lacks something, or can't be read, is refused where it is read
    named = [path for path in files if path.stem == "data" and (plain[path] is None or "names" in plain[path])]
    return named[:1] or [path for path in files if _is_description(plain[path])]


def _load(path: Path) -> Any:
    """Return what a YAML file holds; nothing where it can't be read, which is said where it has to be."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _is_description(plain: Any) -> bool:
    return isinstance(plain, dict) and "names" in plain and any(find_split(str(key)) for key in plain)


def _described(path: Path) -> YoloLayout:
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path}: this can't be read as YAML ({' '.join(str(error).split())}).") from error
    if not _is_description(plain):
        raise DataError(f"{path}: it has no names, or neither train nor val. {_UNDERSTOOD}")
    layout = YoloLayout(path, _read_names(path, plain), {}, [], "kpt_shape" in plain)
    keys: dict[str, str] = {}
    for key, entries in plain.items():
        split = find_split(str(key))
        if split is None or not entries:
            continue
        if split in keys:
            raise DataError(f"{path}: '{keys[split]}' and '{key}' both name the split '{split}'. Keep one.")
        keys[split] = str(key)
        layout.pictures[split] = list(_find_entries(entries, str(key), path, plain.get("path"), layout.faults))
    if not layout.pictures:
        raise DataError(f"{path}: train, val and test are all empty.")
    return layout._replace(pictures={split: layout.pictures[split] for split in SPLITS if split in layout.pictures})


def _read_names(path: Path, plain: Mapping[str, Any]) -> tuple[str, ...]:
    names, count = plain["names"], plain.get("nc")
    if isinstance(names, dict):
        if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
            raise DataError(
                f"{path}: the numbers of names are {', '.join(map(str, names))}; they run from 0 to {len(names) - 1} "
                "without a gap."
            )
        names = [name for _, name in sorted(names.items(), key=lambda entry: int(entry[0]))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: names is neither a list of classes nor numbers with classes, but {names!r}.")
    for number, name in enumerate(names):
        if name is None or isinstance(name, bool | list | dict):
            raise DataError(f"{path}: the name of class {number} is {name!r}, no text. Put it between quotes.")
    if count is not None and count != len(names):
        raise DataError(f"{path}: nc is {count}, and there are {len(names)} names. Mend either.")
    return _check_names([str(name).strip() for name in names], path)


def _check_names(names: list[str], path: Path) -> tuple[str, ...]:
    for number, name in enumerate(names):
        if not name:
            raise DataError(f"{path}: the name of class {number} is empty.")
        if (first := names.index(name)) != number:
            raise DataError(f"{path}: the classes {first} and {number} are both called '{name}'.")
    return tuple(names)


def _find_entries(entries: Any, key: str, path: Path, base: Any, faults: list[str]) -> Iterator[Path]:
    """Return the pictures of a split in a data.yaml."""
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, str):
            raise DataError(
                f"{path}: '{key}' holds {entry!r}; it is a folder, a list of them, or a .txt file of paths."
            )
        places = _candidates(entry, path.parent, base)
        found = next((place for place in places if place.exists()), None)
        if found is None:
            looked = ", ".join(map(str, places[:4]))
            raise DataError(
                f"{path}: '{key}' is '{entry}', which isn't there; looked for {looked}. Mend the entry, or empty it."
            )
        if found.is_dir():
            pictures = sorted(walk_pictures(found))
            if not pictures:
                raise DataError(
                    f"{path}: '{key}' is {found}, which has no pictures; it holds {describe_folder(found)}."
                )
            yield from pictures
        else:
            yield from _read_list(found, path.parent, base, faults)


def _candidates(entry: str, folder: Path, base: Any) -> list[Path]:
    """Return where a path may be that was written on another machine, the likeliest first."""
    plain = entry.strip().replace("\\", "/")
    bases = [folder / str(base).replace("\\", "/")] if base else []
    parts = [part for part in PurePosixPath(plain).parts if part not in ("..", "/", ".") and not part.endswith(":")]
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    places = [place / name for name in (plain, *tails[:1]) for place in (*bases, folder)]
    places += [folder / tail for tail in tails[1:]]
    return [Path(place) for place in dict.fromkeys(os.path.normpath(place) for place in places)]


def _read_list(path: Path, folder: Path, base: Any, faults: list[str]) -> Iterator[Path]:
    """Return the pictures that a file lists; those that aren't there become faults."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the list of pictures can't be read ({error}).") from error
    if not any(line.strip() for line in lines):
        raise DataError(f"{path}: the list of pictures is empty.")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        places = [*_candidates(line, folder, base), *_candidates(line, path.parent, None)]
        found = next((place for place in places if place.is_file()), None)
        if found is not None:
            yield found
        else:
            faults.append(f"{path}, line {number}: the picture '{line.strip()}' isn't there; looked for {places[0]}.")


def _folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Return the folders of pictures and of labels by split, where no data.yaml names them."""
    for pictures, labels in (("images/{}", "labels/{}"), ("{}/images", "{}/labels")):
        above = root / "images" if pictures.startswith("images") else root
        names = sorted(path.name for path in above.glob("*") if find_split(path.name)) if above.is_dir() else []
        pairs = [(name, root / pictures.format(name), root / labels.format(name)) for name in names]
        found = [(find_split(name), one, two) for name, one, two in pairs if one.is_dir() and two.is_dir()]
        for split in SPLITS:
            if len(both := [str(one) for which, one, _ in found if which == split]) > 1:
                raise DataError(f"{root}: {' and '.join(both)} both name the split '{split}'. Keep one.")
        if found:
            return {split: (one, two) for split in SPLITS for which, one, two in found if which == split}
    whole = (root / "images", root / "labels")
    return {"": whole} if all(folder.is_dir() for folder in whole) else {}


def _plain(root: Path) -> YoloLayout:
    folders = _folders(root)
    if not folders:
        raise DataError(f"{root}: no label files of YOLO; it holds {describe_folder(root)}. {_UNDERSTOOD}")
    files = [root / name for name in _CLASS_FILES] + [root / "labels" / name for name in _CLASS_FILES]
    path = next((path for path in files if path.is_file()), None)
    if path is None:
        raise DataError(
            f"{root}: there is neither data.yaml nor classes.txt, so nothing says what the numbers of classes stand "
            f"for. Write a class a line, that of number 0 first, into {files[0]}."
        )
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the list of classes can't be read ({error}).") from error
    if not names:
        raise DataError(f"{path}: the list of classes is empty.")
    found = {split: sorted(walk_pictures(pictures)) for split, (pictures, _) in folders.items()}
    if bare := next((split for split, pictures in found.items() if not pictures), None):
        raise DataError(f"{folders[bare][0]}: no pictures; it holds {describe_folder(folders[bare][0])}.")
    return YoloLayout(path, _check_names(names, path), found, [])
