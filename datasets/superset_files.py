"""The files of the COCO superset (``superset.py``): which there are, and what they hold of each picture."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ..backbones.errors import did_you_mean
from .asked_pictures import few
from .coco import CocoSplit, base_of, drop_repeated, group_annotations, make_pictures, picture_folders
from .coco_categories import read_categories
from .contents import Contents
from .sample import DataError
from .splits import SPLITS, find_split_in
from .superset_schema import read_checked
from .texts import list_some

KEYS = ("labels", "annotations", "captions", "qa")
"""What may be known of a picture."""

_kept: ContextVar[dict[Path, dict[str, Any]] | None] = ContextVar("kept", default=None)
"""The files that were read, where they are wanted more than once."""


@contextmanager
def reading_once() -> Iterator[None]:
    """Read each file once in the block, however many kinds of what it holds are opened."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def holds_superset(root: Path) -> bool:
    """Whether a folder has such files; or a file is named like one."""
    return bool(_candidates(root))


def find_superset_files(root: Path) -> dict[str, Path]:
    """Return the files of a folder by split; the only key is the empty text where names tell no split.

    Raises:
        DataError: Two files are for one split, or only some names tell one.
    """
    if root.is_file():
        return {"": root}
    found: dict[str, Path] = {}
    for path in _candidates(root):
        split = find_split_in(path.stem.removeprefix("superset")) or ""
        if split in found:
            what = f"are both for '{split}'" if split else "both name no split"
            raise DataError(f"{root}: '{found[split].name}' and '{path.name}' {what}. Keep one.")
        found[split] = path
    if "" in found and len(found) > 1:
        raise DataError(
            f"{root}: the name of '{found[''].name}' tells no split, but those of other files do. Rename it, such as "
            "superset_train.json."
        )
    return {split: found[split] for split in ("", *SPLITS) if split in found}


def _candidates(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix == ".json" and root.stem.startswith("superset") else []
    return sorted((root / "annotations").glob("superset*.json"))


def keys_of_superset(root: Path) -> tuple[str, ...]:
    """Return which of ``KEYS`` are in any of the files.

    Raises:
        DataError: A file can't be read or isn't of the format.
    """
    every = [_read_plain(path) for path in find_superset_files(root).values()]
    return tuple(key for key in KEYS if any(key in plain for plain in every))


def has_regions(root: Path) -> bool:
    """Whether any annotation has a region."""
    every = [_read_plain(path) for path in find_superset_files(root).values()]
    return any(each.get("segmentation") for plain in every for each in plain.get("annotations", ()))


def read_files(root: Path, key: str) -> tuple[Contents, dict[str, CocoSplit]]:
    """Return the pictures of which a key is known, with its entries, by split.

    Raises:
        DataError: A file can't be read or isn't of the format, or the key is known of no picture.
    """
    contents = Contents({})
    files = find_superset_files(root)
    splits = {split: _read_file(path, superset_base(root), split, key, contents) for split, path in files.items()}
    contents.faults += _find_shared(root, splits)
    known = {split: found for split, found in splits.items() if found.pictures}
    if not known and not contents.faults:
        present = sorted({name for path in files.values() for name in _read_plain(path)})
        raise DataError(
            f"{root}: of no picture '{key}' is known; the files have the keys {', '.join(present)}."
            f"{did_you_mean(key, present)} Known and empty is an empty list '{key}'."
        )
    return contents, known


def superset_base(root: Path) -> Path:
    """Return the folder of a data set, of which a file may have been given."""
    return root if root.is_dir() else base_of(root)


def count_pictures(number: int) -> str:
    """Return a number of pictures, for a sentence."""
    return "1 picture" if number == 1 else f"{number:,} pictures"


def _read_plain(path: Path) -> dict[str, Any]:
    kept = _kept.get()
    if kept is None:
        return read_checked(path)
    if path not in kept:
        kept[path] = read_checked(path)
    return kept[path]


def _read_file(path: Path, root: Path, split: str, key: str, contents: Contents) -> CocoSplit:
    plain = _read_plain(path)
    categories = read_categories(plain.get("categories", ()), path)
    stuff = {int(each["id"]) for each in plain.get("categories", ()) if each.get("isthing", 1) == 0}
    entries = plain.get(key, [])
    if key == "annotations":
        grouped = group_annotations(entries, categories, path, contents)
    else:
        grouped = defaultdict(list)
        for each in entries:
            grouped[each["image_id"]].append(each)
    known = [image for image in plain["images"] if key in image.get("known", KEYS) and key in plain]
    pictures = make_pictures(known, grouped, picture_folders(root, path, split), root)
    contents.faults += _find_contradictions(path, key, plain, grouped)
    if unknown := len(plain["images"]) - len(known):
        contents.notes.append(f"{path}: '{key}' isn't known of {count_pictures(unknown)}, left out for it.")
    return CocoSplit(path, categories, stuff, drop_repeated(pictures, path, contents))


def _find_contradictions(
    path: Path, key: str, plain: Mapping[str, Any], entries: Mapping[int | str, Any]
) -> Iterator[str]:
    """Return a fault for each way in which images and a list of entries don't go together.

    Args:
        path: The file.
        key: The list.
        plain: What the file holds.
        entries: The entries by image that are of no picture of which the key is known.
    """
    listed = {image["id"] for image in plain["images"]}
    if alike := sorted(number for number in listed if isinstance(number, str) and _number_of(number) in listed):
        yield (
            f"{path}: there are images with the ids {few(alike)} as text and as number, which look alike. Give each "
            "image an id of its own."
        )
    written = {str(number): number for number in listed}
    of_none = [number for number in entries if number not in listed]
    other = [number for number in of_none if str(number) in written]
    unknown = [number for number in entries if number in listed]
    lacking = [image["id"] for image in plain["images"] if key in image.get("known", ()) and key not in plain]
    if other:
        yield (
            f"{path}: '{key}' has entries of image {few(map(_quoted, other))}, and the list of images has "
            f"{few(_quoted(written[str(number)]) for number in other)}. A number and a text are two ids, even if they "
            "look alike: write both in one way."
        )
    elif of_none:
        yield f"{path}: '{key}' has entries of images that aren't in the list of images: {few(of_none)}."
    if unknown:
        yield (
            f"{path}: '{key}' has entries of images whose 'known' doesn't list it: {few(unknown)}. Add it there, or "
            "take the entries out."
        )
    if lacking:
        yield (
            f"{path}: images say that '{key}' is known of them, but the file has no '{key}': {few(lacking)}. Add it, "
            "an empty list if there is nothing."
        )


def _quoted(number: int | str) -> str:
    return f"'{number}' (text)" if isinstance(number, str) else f"{number} (a number)"


def _number_of(text: str) -> int | None:
    """Return the number that a text is how JSON writes it."""
    is_written_so = text.isascii() and text.removeprefix("-").isdigit() and str(int(text)) == text
    return int(text) if is_written_so else None


def _find_shared(root: Path, splits: Mapping[str, CocoSplit]) -> list[str]:
    """Return a fault if pictures are in more than one split."""
    splits_of: dict[str, list[str]] = defaultdict(list)
    for split, found in splits.items():
        for picture in found.pictures:
            splits_of[picture.name].append(split)
    shared = [f"'{name}' in {' and '.join(found)}" for name, found in splits_of.items() if len(found) > 1]
    if not shared:
        return []
    are = "is" if len(shared) == 1 else "are"
    return [
        f"{root}: {count_pictures(len(shared))} {are} in more than one split: {list_some(shared)}. A picture is for "
        "training or for measuring; keep it in one."
    ]
