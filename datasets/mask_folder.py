"""The folder layouts of segmentation: pictures, and beside them a mask for each.

::

    roads/images/1.jpg, roads/masks/1.png                 parallel folders, also below train, val and test
    roads/train/1.jpg, roads/trainannot/1.png             the CamVid layout of SegNet
    roads/1.jpg, roads/1_mask.png                         side by side, told by the ending; also below train, val, test
    roads/images/1.jpg, roads/masks/road/1.png, ...       a folder of masks a class: a pixel may be of several
    roads/train.txt                                       a line for each picture: images/1.jpg masks/1.png; or only
                                                          its name, where there are parallel folders

A mask has its picture's name, or that and an ending which all masks of a folder share (``1_manual.png``). What the
values stand for: ``class_lists.py``.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from .coded_masks import CodedMasks, MaskPair, code_class_masks, code_masks
from .contents import Contents
from .image_folder import describe_folder, walk_pictures
from .images import IMAGE_EXTENSIONS
from .mask_pairs import (
    Folders,
    by_stem,
    find_lists,
    find_suffix,
    match_masks,
    only,
    pair_by_suffix,
    pair_folders,
    read_lists,
)
from .masks import MaskCoding
from .sample import DataError, Record
from .splits import SPLITS, find_split

PICTURE_FOLDERS = ("images", "image", "imgs", "img", "JPEGImages", "photos")

MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "segmentation", "segmentations"),
    *("SegmentationClass", "groundtruth", "ground_truth", "gt", "manual", "manual1", "1st_manual", "lbl"),
)

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


def holds_mask_folders(root: Path) -> bool:
    """Whether a folder has masks in one of the layouts, as far as its own and its folders' names tell."""
    try:
        names = {path.stem for path in root.iterdir() if path.suffix.lower() in IMAGE_EXTENSIONS}
        return bool(_find_folders(root)) or find_suffix(names) is not None
    except (DataError, OSError):
        return True


def read_mask_folder(root: Path) -> Contents:
    """Read the pictures and masks of a folder; masks are decoded, to find the classes and what is wrong with them.

    Raises:
        DataError: Saying what was found instead, or what is wrong with a list of classes or pictures.
    """
    contents = Contents({})
    folders = _find_folders(root)
    lists = {} if set(folders) - {""} else find_lists(root)
    if classes := _class_folders(folders):
        return _read_class_masks(root, folders, lists, classes)
    pairs = _find_pairs(root, folders, lists, contents)
    if not any(pairs.values()) and not contents.faults:
        raise DataError(f"{root}: no pictures with masks; it holds {describe_folder(root)}. {LAYOUTS}")
    is_camvid = bool(folders) and all(each.masks.name.endswith("annot") for each in folders.values())
    everything = [pair for found in pairs.values() for pair in found]
    hint = "no list of classes; the values are taken for those of the 11-class CamVid, of which 11 and 255 are ignored."
    coded = code_masks(root, everything, known=CAMVID if is_camvid else None, hint=hint)
    return _sort_out(contents, coded, {pair.record.name: split for split, found in pairs.items() for pair in found})


def _find_pairs(
    root: Path, folders: Mapping[str, Folders], lists: Mapping[str, Path], contents: Contents
) -> dict[str, list[MaskPair]]:
    """Return the pairs of each split, or under the empty text."""
    if lists:
        named = pair_folders(root, folders[""], contents) if folders else {}
        return read_lists(root, lists, named, contents)
    if folders:
        _note_other_masks(root, folders, contents)
        return {split: list(pair_folders(root, found, contents).values()) for split, found in folders.items()}
    return pair_by_suffix(root, contents)


def _sort_out(contents: Contents, coded: CodedMasks, splits: Mapping[str, str]) -> Contents:
    contents.order = coded.classes
    contents.notes += coded.notes
    contents.splits = {
        split: tuple(sorted((each for each in coded.records if splits[each.name] == split), key=lambda each: each.name))
        for split in ("", *SPLITS)
        if split in splits.values()
    }
    return contents


def _find_folders(root: Path) -> dict[str, Folders]:
    """Return the folders of each split; the only key is the empty text where there are no splits."""
    names = _folders_in(root)
    found: dict[str, Folders] = {}
    for name in names:
        if (split := find_split(name)) is None:
            continue
        inner = _parallel(root / name)
        beside = next((root / (name + suffix) for suffix in _SPLIT_SUFFIXES if name + suffix in names), None)
        if inner is not None or beside is not None:
            if split in found:
                raise DataError(f"{root}: two folders name the split '{split}'. Keep one.")
            found[split] = inner or Folders(root / name, beside or root)
    if found or (outer := _parallel(root)) is None:
        return found
    below = {find_split(name): name for name in _folders_in(outer.pictures)}
    masks = {find_split(name): name for name in _folders_in(outer.masks)}
    split_folders = {
        split: Folders(outer.pictures / below[split], outer.masks / masks[split])
        for split in SPLITS
        if split in below and split in masks
    }
    return split_folders or {"": outer}


def _parallel(folder: Path) -> Folders | None:
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
    return Folders(folder / pictures, folder / masks) if pictures and masks else None


def _folders_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []


def _class_folders(folders: Mapping[str, Folders]) -> tuple[str, ...]:
    """Return the folders that hold the masks of one class each; nothing where masks lie beside or above them."""
    names: set[str] = set()
    for each in folders.values():
        inner = set(_folders_in(each.masks))
        # pictures in folders of the same names: those are no classes
        if inner & set(_folders_in(each.pictures)) or any(path.parent == each.masks for path in _pictures(each.masks)):
            return ()
        names |= inner
    return tuple(sorted(names))


def _pictures(folder: Path) -> list[Path]:
    return list(walk_pictures(folder))


def _read_class_masks(
    root: Path, folders: Mapping[str, Folders], lists: Mapping[str, Path], classes: tuple[str, ...]
) -> Contents:
    contents = Contents({})
    masks: dict[str, dict[str, Path]] = {}
    pairs: dict[str, list[MaskPair]] = {}
    for split, each in folders.items():
        named = _match_classes(root, each, classes, masks, contents)
        pairs |= read_lists(root, lists, named, contents) if lists else {split: list(named.values())}
    records = [pair.record for found in pairs.values() for pair in found]
    files = [masks.get(record.name, {}) for record in records]
    if not any(files):
        some = next(iter(folders.values()))
        raise DataError(f"{some.masks}: none of its masks has the name of a picture in {some.pictures}.")
    bare = [record.name for record, found in zip(records, files, strict=True) if not found]
    if bare:
        contents.notes.append(
            f"{root}: {len(bare)} pictures have no mask of any class, e.g. {bare[0]}; nothing is taken to be in them."
        )
    coded = code_class_masks(records, files, classes)
    return _sort_out(contents, coded, {pair.record.name: split for split, found in pairs.items() for pair in found})


def _match_classes(
    root: Path, folders: Folders, classes: tuple[str, ...], masks: dict[str, dict[str, Path]], contents: Contents
) -> dict[str, MaskPair]:
    """Add the masks of each picture by class to ``masks``, and return the pictures by stem."""
    pictures = by_stem(folders.pictures)
    by_class = {name: match_masks(pictures, by_stem(folders.masks / name)) for name in classes}
    pairs = {}
    for stem, paths in pictures.items():
        picture = only(paths, f"{folders.pictures / stem}: {{}} pictures have this name", contents)
        assert picture is not None
        found = {
            name: only(matched[stem], f"{picture}: {{}} masks of '{name}' have its name", contents)
            for name, matched in by_class.items()
        }
        record = Record(picture, {}, picture.relative_to(root).as_posix())
        masks[record.name] = {name: path for name, path in found.items() if path is not None}
        pairs[stem] = MaskPair(record, folders.masks)
    return pairs


def _note_other_masks(root: Path, folders: Mapping[str, Folders], contents: Contents) -> None:
    """Note folders of masks that aren't read."""
    if "" not in folders:
        return
    used = folders[""]
    others = [
        name
        for name in _folders_in(root)
        if root / name not in (used.pictures, used.masks) and by_stem(root / name).keys() and find_split(name) is None
    ]
    if others:
        contents.notes.append(
            f"{root}: masks are read from '{used.masks.name}'; not used: {', '.join(others)}. To choose others, list "
            "pictures and masks in a table with the columns path and mask."
        )
