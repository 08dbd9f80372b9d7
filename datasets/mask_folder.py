"""The folder layouts of segmentation: pictures, and beside them a mask for each.

::

    roads/images/1.jpg, roads/masks/1.png                 parallel folders, also below train, val and test
    roads/train/1.jpg, roads/trainannot/1.png             the CamVid layout of SegNet
    roads/1.jpg, roads/1_mask.png                         side by side, told by the ending of the name
    roads/images/1.jpg, roads/masks/road/1.png, ...       a folder of masks a class: a pixel may be of several
    roads/train.txt                                       a line for each picture: images/1.jpg masks/1.png

A mask has its picture's name, or that and an ending which all masks of a folder share (``1_manual.png``). What the
values stand for: ``class_lists.py``.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .coded_masks import CodedMasks, MaskPair, code_class_masks, code_masks
from .contents import Contents
from .image_folder import describe_folder, walk_pictures
from .masks import MaskCoding
from .sample import DataError, Record
from .splits import SPLITS, find_split

PICTURE_FOLDERS = ("images", "image", "imgs", "img", "JPEGImages", "photos")

MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "segmentation", "segmentations"),
    *("SegmentationClass", "groundtruth", "ground_truth", "gt", "manual", "manual1", "1st_manual", "lbl"),
)

SUFFIXES = ("_mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_gt", "_annotation", "_L")

#: What stands behind the name of a split in the folder of its masks.
_SPLIT_SUFFIXES = ("annot", "_annot", "_masks", "_mask", "_labels", "_label", "masks", "labels")

#: The classes of the 11-class CamVid of SegNet (Badrinarayanan 2017), by value; 11 is what is not labelled.
CAMVID = MaskCoding(
    dict(
        enumerate(
            (
                *("sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car"),
                *("pedestrian", "bicyclist"),
            )
        )
    ),
    frozenset({11, 255}),
)

LAYOUTS = (
    "Understood are: ROOT/images and ROOT/masks (also below ROOT/train, ROOT/val and ROOT/test), ROOT/train and "
    "ROOT/trainannot, pictures with NAME_mask.png beside them, ROOT/train.txt with a picture and its mask a line, the "
    "VOC layout (JPEGImages, SegmentationClass), COCO JSON files, and a table with the columns path and mask, given by "
    "its own path."
)


class _Folders(NamedTuple):
    """Where the pictures of a split are, and where their masks."""

    pictures: Path
    masks: Path


def holds_mask_folders(root: Path) -> bool:
    """Whether a folder has masks in one of the layouts with folders of their own."""
    try:
        return bool(_find_folders(root))
    except DataError:
        return True


def read_mask_folder(root: Path) -> Contents:
    """Read the pictures and masks of a folder; masks are decoded, to find the classes and what is wrong with them.

    Raises:
        DataError: Saying what was found instead, or what is wrong with a list of classes or pictures.
    """
    contents = Contents({})
    folders = _find_folders(root)
    pairs: dict[str, list[MaskPair]] = {}
    if (lists := _find_lists(root)) and not set(folders) - {""}:
        pairs = _read_pair_lists(root, lists, folders.get(""))
    elif folders:
        if (only := folders.get("")) and (classes := _class_folders(only.masks)):
            return _read_class_masks(root, only, classes)
        pairs = {split: _pair(root, found, contents) for split, found in folders.items()}
        _note_other_masks(root, folders, contents)
    elif side_by_side := _pair_by_suffix(root):
        pairs = {"": side_by_side}
    if not any(pairs.values()):
        raise DataError(f"{root}: no pictures with masks; it holds {describe_folder(root)}. {LAYOUTS}")
    is_camvid = bool(folders) and all(each.masks.name.endswith("annot") for each in folders.values())
    everything = [pair for found in pairs.values() for pair in found]
    hint = "no list of classes; the values are taken for those of the 11-class CamVid, of which 11 and 255 are ignored."
    coded = code_masks(root, everything, known=CAMVID if is_camvid else None, hint=hint)
    return _sort_out(contents, coded, {pair.record.name: split for split, found in pairs.items() for pair in found})


def _sort_out(contents: Contents, coded: CodedMasks, splits: Mapping[str, str]) -> Contents:
    contents.order = coded.classes
    contents.notes += coded.notes
    contents.splits = {
        split: tuple(sorted((each for each in coded.records if splits[each.name] == split), key=lambda each: each.name))
        for split in ("", *SPLITS)
        if split in splits.values()
    }
    return contents


def _find_folders(root: Path) -> dict[str, _Folders]:
    """Return the folders of each split; the only key is the empty text where there are no splits."""
    names = _folders_in(root)
    found: dict[str, _Folders] = {}
    for name in names:
        if (split := find_split(name)) is None:
            continue
        inner = _parallel(root / name)
        beside = next((root / (name + suffix) for suffix in _SPLIT_SUFFIXES if name + suffix in names), None)
        if inner is not None or beside is not None:
            if split in found:
                raise DataError(f"{root}: two folders name the split '{split}'. Keep one.")
            found[split] = inner or _Folders(root / name, beside or root)
    if found or (outer := _parallel(root)) is None:
        return found
    below = {find_split(name): name for name in _folders_in(outer.pictures)}
    masks = {find_split(name): name for name in _folders_in(outer.masks)}
    split_folders = {
        split: _Folders(outer.pictures / below[split], outer.masks / masks[split])
        for split in SPLITS
        if split in below and split in masks
    }
    return split_folders or {"": outer}


def _parallel(folder: Path) -> _Folders | None:
    """Return the folder of pictures and that of masks in a folder, if there are both."""
    names = {name.lower(): name for name in _folders_in(folder)}
    pictures = next((names[name.lower()] for name in PICTURE_FOLDERS if name.lower() in names), None)
    masks = next(
        (
            names[name.lower()]
            for name in MASK_FOLDERS
            if name.lower() in names and any(walk_pictures(folder / names[name.lower()]))
        ),
        None,
    )
    return _Folders(folder / pictures, folder / masks) if pictures and masks else None


def _folders_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []


def _class_folders(masks: Path) -> tuple[str, ...]:
    """Return the folders of a folder of masks that hold those of one class each; nothing where masks lie in it."""
    loose = [path for path in walk_pictures(masks) if path.parent == masks]
    folders = _folders_in(masks)
    return tuple(folders) if folders and not loose else ()


def _pair(root: Path, folders: _Folders, contents: Contents) -> list[MaskPair]:
    """Return the pictures of a folder with their masks; one that has none gets a mask that says so."""
    masks = _by_stem(folders.masks)
    pictures = [path for path in sorted(walk_pictures(folders.pictures))]
    used: set[Path] = set()
    pairs = []
    for picture in pictures:
        stem = picture.relative_to(folders.pictures).with_suffix("").as_posix()
        found = masks.get(stem) or _with_suffix(stem, masks)
        mask = found[0] if len(found) == 1 else folders.masks / f"{stem}.png"
        used.update(found)
        name = picture.relative_to(root).as_posix()
        if len(found) > 1:
            contents.faults.append(
                f"{picture}: {len(found)} masks have its name: {', '.join(path.name for path in found)}. Keep one."
            )
        pairs.append(MaskPair(Record(picture, {}, name), mask))
    unused = sorted({path for found in masks.values() for path in found} - used)
    if unused:
        contents.notes.append(f"{folders.masks}: {len(unused)} masks have no picture, e.g. {unused[0].name}.")
    return pairs


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(walk_pictures(folder)):
        found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    return found


def _with_suffix(stem: str, masks: Mapping[str, Sequence[Path]]) -> list[Path]:
    """Return the masks whose name is the picture's and an ending that begins with ``_``, ``-`` or ``.``."""
    return [
        path for name, found in masks.items() if name.startswith(stem) and name[len(stem)] in "_-." for path in found
    ]


def _pair_by_suffix(root: Path) -> list[MaskPair]:
    """Return the pictures of a folder that have a mask beside them, and the others with one that is missing."""
    stems = _by_stem(root)
    suffix = next((each for each in SUFFIXES if any(stem.endswith(each) for stem in stems)), None)
    if suffix is None:
        return []
    pairs = []
    for stem, pictures in stems.items():
        if stem.endswith(suffix) and stem.removesuffix(suffix) in stems:
            continue
        mask = (stems.get(stem + suffix) or [root / f"{stem}{suffix}.png"])[0]
        pairs.append(MaskPair(Record(pictures[0], {}, pictures[0].relative_to(root).as_posix()), mask))
    return pairs


def _find_lists(root: Path) -> dict[str, Path]:
    """Return the text files that list the pictures of a split."""
    for folder in (root, root / "splits", root / "ImageSets" / "Segmentation"):
        found = {split: path for path in sorted(folder.glob("*.txt")) if (split := find_split(path.stem))}
        if found:
            return found
    return {}


def _read_pair_lists(root: Path, lists: Mapping[str, Path], folders: _Folders | None) -> dict[str, list[MaskPair]]:
    """Return the pairs of each list: a picture and its mask a line, or a name where there are parallel folders."""
    named = _pair(root, folders, Contents({})) if folders else []
    by_stem = {Path(pair.record.name).with_suffix("").name: pair for pair in named}
    pairs: dict[str, list[MaskPair]] = {}
    for split, path in lists.items():
        pairs[split] = []
        for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
            words = line.split()
            if not words:
                continue
            if len(words) == 2:
                picture, mask = (root / word.lstrip("/") for word in words)
                pairs[split].append(MaskPair(Record(picture, {}, Path(words[0].lstrip("/")).as_posix()), mask))
            elif len(words) == 1 and Path(words[0]).with_suffix("").name in by_stem:
                pairs[split].append(by_stem[Path(words[0]).with_suffix("").name])
            else:
                raise DataError(
                    f"{path}, line {number}: '{line.strip()}' is neither a picture and its mask, nor the name of a "
                    "picture that is there."
                )
    return pairs


def _read_class_masks(root: Path, folders: _Folders, classes: tuple[str, ...]) -> Contents:
    pictures = sorted(walk_pictures(folders.pictures))
    by_class = {name: _by_stem(folders.masks / name) for name in classes}
    records, masks = [], []
    for picture in pictures:
        stem = picture.relative_to(folders.pictures).with_suffix("").as_posix()
        found = {name: stems.get(stem) or _with_suffix(stem, stems) for name, stems in by_class.items()}
        masks.append({name: paths[0] for name, paths in found.items() if paths})
        records.append(Record(picture, {}, picture.relative_to(root).as_posix()))
    if not any(masks):
        raise DataError(f"{folders.masks}: none of its masks has the name of a picture in {folders.pictures}.")
    coded = code_class_masks(records, masks, classes)
    contents = Contents({})
    bare = [record.name for record, found in zip(records, masks, strict=True) if not found]
    if bare:
        contents.notes.append(
            f"{root}: {len(bare)} pictures have no mask of any class, e.g. {bare[0]}; nothing is taken to be in them."
        )
    return _sort_out(contents, coded, dict.fromkeys((record.name for record in records), ""))


def _note_other_masks(root: Path, folders: Mapping[str, _Folders], contents: Contents) -> None:
    """Note folders of masks that aren't read."""
    if "" not in folders:
        return
    used = folders[""]
    others = [
        name
        for name in _folders_in(root)
        if root / name not in (used.pictures, used.masks) and _by_stem(root / name).keys() and find_split(name) is None
    ]
    if others:
        contents.notes.append(
            f"{root}: masks are read from '{used.masks.name}'; not used: {', '.join(others)}. To choose others, list "
            "pictures and masks in a table with the columns path and mask."
        )
