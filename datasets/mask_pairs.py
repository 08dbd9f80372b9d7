"""Which mask file belongs to which picture: by name, by an ending of the name, or by lists."""

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from .coded_masks import MaskPair
from .contents import Contents
from .image_folder import walk_pictures
from .sample import DataError, Record
from .splits import find_split

SUFFIXES = ("_mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_gt", "_annotation", "_L")


class Folders(NamedTuple):
    """Where the pictures of a split are, and where their masks."""

    pictures: Path
    masks: Path


def by_stem(folder: Path) -> dict[str, list[Path]]:
    """Return the pictures below a folder by their path in it without ending."""
    found: dict[str, list[Path]] = {}
    for path in sorted(walk_pictures(folder)):
        found.setdefault(_stem(path, folder), []).append(path)
    return found


def match_masks(stems: Collection[str], masks: Mapping[str, list[Path]]) -> dict[str, list[Path]]:
    """Return the masks of each picture: those of its name, else those with an ending that begins with _, - or a dot."""
    found = {stem: list(masks.get(stem, ())) for stem in stems}
    for name, paths in masks.items():
        if name in found:
            continue
        # the longest name wins: 1_2_manual is of picture 1_2, not of 1
        starts = (name[:place] for place in range(len(name) - 1, 0, -1) if name[place] in "_-.")
        owner = next((start for start in starts if start in found), None)
        if owner is not None and owner not in masks:
            found[owner] += paths
    return found


def pair_folders(root: Path, folders: Folders, contents: Contents) -> dict[str, MaskPair]:
    """Return the pictures of a folder with their masks, by stem; one that has none gets a mask that says so.

    Raises:
        DataError: No mask is of any picture.
    """
    pictures, masks = by_stem(folders.pictures), by_stem(folders.masks)
    matched = match_masks(pictures, masks)
    if pictures and not any(matched.values()):
        raise DataError(f"{folders.masks}: none of its masks has the name of a picture in {folders.pictures}.")
    pairs = {}
    for stem, found in matched.items():
        picture = only(pictures[stem], f"{folders.pictures / stem}: {{}} pictures have this name", contents)
        mask = only(found, f"{picture}: {{}} masks have its name", contents) or folders.masks / f"{stem}.png"
        assert picture is not None
        pairs[stem] = MaskPair(Record(picture, {}, picture.relative_to(root).as_posix()), mask)
    used = {path for found in matched.values() for path in found}
    unused = sorted({path for found in masks.values() for path in found} - used)
    if unused:
        contents.notes.append(f"{folders.masks}: {len(unused)} masks have no picture, e.g. {unused[0].name}.")
    return pairs


def only(paths: list[Path], what: str, contents: Contents) -> Path | None:
    """Return the first of several paths, and add to the faults that there are several; None of none."""
    if len(paths) > 1:
        contents.faults.append(f"{what.format(len(paths))}: {', '.join(path.name for path in paths)}. Keep one.")
    return paths[0] if paths else None


def find_suffix(stems: Collection[str]) -> str | None:
    """Return the ending that tells masks from the pictures beside them, or None where no picture has such a mask."""
    return next(
        (each for each in SUFFIXES if any(stem.endswith(each) and stem.removesuffix(each) in stems for stem in stems)),
        None,
    )


def pair_by_suffix(root: Path, contents: Contents) -> dict[str, list[MaskPair]]:
    """Return the pictures that have a mask beside them, and the others with one that is missing, by split."""
    stems = by_stem(root)
    suffix = find_suffix(stems)
    if suffix is None:
        return {}
    pairs, unused = [], []
    for stem, paths in stems.items():
        if stem.endswith(suffix):
            unused += [] if stem.removesuffix(suffix) in stems else paths
            continue
        picture = only(paths, f"{root / stem}: {{}} pictures have this name", contents)
        assert picture is not None
        masks = stems.get(stem + suffix, [])
        mask = only(masks, f"{picture}: {{}} masks have its name", contents) or root / f"{stem}{suffix}.png"
        pairs.append(MaskPair(Record(picture, {}, picture.relative_to(root).as_posix()), mask))
    if unused:
        contents.notes.append(f"{root}: {len(unused)} masks have no picture, e.g. {unused[0].name}.")
    return _by_split_folder(pairs)


def _by_split_folder(pairs: list[MaskPair]) -> dict[str, list[MaskPair]]:
    """Return the pairs by the split folder they lie in, where all lie in such; else under the empty text."""
    splits = [find_split(pair.record.name.split("/")[0]) if "/" in pair.record.name else None for pair in pairs]
    found: dict[str, list[MaskPair]] = {}
    for pair, split in zip(pairs, splits, strict=True):
        found.setdefault(split if split and None not in splits else "", []).append(pair)
    return found


def find_lists(root: Path) -> dict[str, Path]:
    """Return the text files that list the pictures of a split.

    Raises:
        DataError: Two of them list the same split.
    """
    for folder in (root, root / "splits", root / "ImageSets" / "Segmentation"):
        found: dict[str, Path] = {}
        for path in sorted(folder.glob("*.txt")):
            if (split := find_split(path.stem)) is None:
                continue
            if split in found:
                raise DataError(
                    f"{path}: '{found[split].name}' and '{path.name}' both list the split '{split}'. Keep one."
                )
            found[split] = path
        if found:
            return found
    return {}


def read_lists(
    root: Path, lists: Mapping[str, Path], named: Mapping[str, MaskPair], contents: Contents
) -> dict[str, list[MaskPair]]:
    """Return the pairs of each list: a picture and its mask a line, or a name of the pairs that were found by name.

    Args:
        root: Where paths in the lists begin.
        lists: Split -> list.
        named: Pairs by the stem of their picture.
        contents: Its faults get lines that are neither, and pictures that are listed twice.

    Raises:
        DataError: A list can't be read, or is empty.
    """
    find = _finder(named)
    seen: dict[str, str] = {}
    pairs: dict[str, list[MaskPair]] = {}
    for split, path in lists.items():
        pairs[split] = []
        for number, line in _lines(path):
            words, where = line.split(), f"{path}, line {number}"
            pair = find(line) or (_listed_pair(root, words) if len(words) == 2 else None)
            if pair is None:
                contents.faults.append(
                    f"{where}: '{line}' is neither a picture and its mask, nor the name of a picture that is there."
                )
            elif pair.record.name in seen:
                contents.faults.append(f"{where}: '{pair.record.name}' is listed already in {seen[pair.record.name]}.")
            else:
                seen[pair.record.name] = f"{path.name}, line {number}"
                pairs[split].append(pair)
    unlisted = [pair.record.name for pair in named.values() if pair.record.name not in seen]
    if unlisted:
        contents.notes.append(
            f"{root}: {len(unlisted)} pictures are in none of the lists and were left out, e.g. {unlisted[0]}."
        )
    return pairs


def _listed_pair(root: Path, words: list[str]) -> MaskPair:
    picture, mask = (word.lstrip("/") for word in words)
    return MaskPair(Record(root / picture, {}, Path(picture).as_posix()), root / mask)


def _finder(named: Mapping[str, MaskPair]) -> Callable[[str], MaskPair | None]:
    """Return what finds a pair by a path, a stem, or a file's name where only one has it."""
    by_name: dict[str, list[MaskPair]] = {}
    for stem, pair in named.items():
        for name in {stem, pair.record.name, stem.rsplit("/", 1)[-1], pair.record.path.name}:
            by_name.setdefault(name, []).append(pair)

    def find(line: str) -> MaskPair | None:
        bare = Path(line).with_suffix("").as_posix() if line.strip("./") else line
        for name in (line, bare, bare.rsplit("/", 1)[-1]):
            if name in named:
                return named[name]
            if len(found := by_name.get(name, [])) == 1:
                return found[0]
        return None

    return find


def _lines(path: Path) -> Iterable[tuple[int, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the list can't be read ({error}).") from error
    if not any(line.strip() for line in lines):
        raise DataError(f"{path}: the list is empty. Fill or remove it.")
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()
