"""COCO's JSON files: pictures, categories, and annotations with boxes and regions (Lin et al. 2014).

::

    coco/annotations/instances_train2017.json     the split stands in the name of the file
    coco/train/_annotations.coco.json             or in the name of its folder, as Roboflow writes it
    coco/train2017/000000000009.jpg               pictures: found by file_name below the folder, below images, or below
                                                  a folder of the split

For segmentation regions are drawn into one mask: matter (``isthing`` 0) below, objects above it, the smaller ones over
the larger; what nothing covers is ``background``. For localization every picture has objects of one category. For
detection all objects stay with their areas and regions, crowds as ignored, and pictures without any; all categories are
classes, in the order of their ids, which may have gaps and may begin with 0.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from .boxes import Box, keep_sound, note_dropped
from .coco_categories import join_categories, read_categories
from .contents import Contents, one_label
from .masks import BACKGROUND, MAX_CLASSES, DrawnMask, Region
from .objects import Objects, note_objects
from .regions import encode_region
from .sample import DataError, Record
from .splits import SPLITS, find_split_in

_ROBOFLOW = "_annotations.coco.json"


class Picture(NamedTuple):
    """A picture of a file, with its annotations."""

    path: Path
    name: str
    size: tuple[int, int]
    """Height and width; 0 where they aren't stated."""
    annotations: list[Mapping[str, Any]]
    image_id: int | str


class CocoSplit(NamedTuple):
    """The file of a split."""

    source: Path
    categories: dict[int, str]
    stuff: set[int]
    pictures: list[Picture]


def find_coco_files(root: Path) -> dict[str, Path]:
    """Return the annotation files of a folder by split; the only key is the empty text where names tell no split."""
    if root.is_file():
        return {"": root}
    found: dict[str, Path] = {}
    for path in annotation_files(root):
        words = path.parent.name if path.name == _ROBOFLOW else path.stem
        found.setdefault(find_split_in(words) or "", path)
    return found if set(found) == {""} else {split: found[split] for split in SPLITS if split in found}


def annotation_files(root: Path) -> list[Path]:
    """Return the JSON files of a folder, COCO's instances before stuff before anything else.

    Those of the superset aren't among them.
    """
    files = [path for path in sorted((root / "annotations").glob("*.json")) if not path.stem.startswith("superset")]
    files += sorted(root.glob(f"*/{_ROBOFLOW}"))
    files += [path for path in sorted(root.glob("*.json")) if not _is_list(path)]
    order = ("instances", "stuff")
    return sorted(files, key=lambda path: next((k for k, name in enumerate(order) if path.stem.startswith(name)), 2))


def _is_list(path: Path) -> bool:
    """Whether a JSON file begins with a list, as predictions do; COCO's are objects."""
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip().startswith(b"[")
    except OSError:
        return False  # what is wrong with it is said where it is read


def note_unread(root: Path, files: Mapping[str, Path]) -> list[str]:
    """Return a note on JSON files that aren't read."""
    unread = [path for path in annotation_files(root) if path not in files.values()] if root.is_dir() else []
    if not unread:
        return []
    read = ", ".join(path.name for path in files.values())
    return [f"{root}: read are {read}; not read: {', '.join(path.name for path in unread)}. One file a split is."]


def guess_coco_kind(root: Path) -> Literal["masks", "objects"] | None:
    """Return what COCO files seem to be made for, by whether they have regions; None where there are no such files."""
    for path in find_coco_files(root).values():
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            if {"images", "categories", "annotations"} <= set(plain):
                has_regions = any(each.get("segmentation") for each in plain["annotations"])
                return "masks" if has_regions else "objects"
        except (OSError, ValueError, TypeError, AttributeError):
            continue
    return None


def read_coco_masks(root: Path) -> Contents:
    """Read COCO files for segmentation; no picture is opened.

    Raises:
        DataError: A file can't be read or isn't COCO's; ``faults`` name annotations by their id.
    """
    return mask_contents(root, *_read_files(root))


def mask_contents(root: Path, contents: Contents, splits: Mapping[str, CocoSplit]) -> Contents:
    """Return contents with the masks of the pictures that were read.

    Raises:
        DataError: There are more categories than a mask can have, or splits name them differently.
    """
    categories = join_categories({found.source: found.categories for found in splits.values()})
    contents.order = (BACKGROUND, *(name for _, name in sorted(categories.items()) if name != BACKGROUND))
    if len(contents.order) > MAX_CLASSES:
        raise DataError(
            f"{root}: {len(categories)} categories; a segmentation has at most {MAX_CLASSES} classes, one of them "
            f"'{BACKGROUND}'."
        )
    for split, found in splits.items():
        contents.splits[split] = tuple(_mask_record(picture, found) for picture in found.pictures)
    return contents


def read_coco_boxes(root: Path) -> Contents:
    """Read COCO files for localization; no picture is opened. Crowds are passed over, and pictures without objects.

    Raises:
        DataError: As ``read_coco_masks``.
    """
    return box_contents(*_read_files(root))


def box_contents(contents: Contents, splits: Mapping[str, CocoSplit]) -> Contents:
    """Return contents with the boxes, of one category a picture, of the pictures that were read.

    Raises:
        DataError: Splits name their categories differently.
    """
    join_categories({found.source: found.categories for found in splits.values()})
    for split, found in splits.items():
        records, bare, annotated = [], 0, 0
        for picture in found.pictures:
            objects = [each for each in picture.annotations if not each.get("iscrowd")]
            bare += not objects
            with contents.gathering():
                if objects:
                    records.append(_box_record(picture, objects, found))
                    annotated += len(objects)
        if bare:
            contents.notes.append(f"{found.source}: {bare} pictures without an object were left out.")
        used = sum(len(record.targets["boxes"]) for record in records)
        contents.notes += note_dropped(found.source, annotated, used)
        contents.splits[split] = tuple(records)
    return contents


def read_coco_objects(root: Path) -> Contents:
    """Read COCO files for detection; no picture is opened. Crowds are ignored, and pictures without objects stay.

    Raises:
        DataError: As ``read_coco_masks``, but the size of a picture needn't be stated.
    """
    return object_contents(root, *_read_files(root, needs_sizes=False))


def object_contents(root: Path, contents: Contents, splits: Mapping[str, CocoSplit]) -> Contents:
    """Return contents with the objects of the pictures that were read.

    Raises:
        DataError: Splits name their categories differently.
    """
    categories = dict(sorted(join_categories({found.source: found.categories for found in splits.values()}).items()))
    contents.order = tuple(categories.values())
    contents.numbers = {name: number for number, name in categories.items()}
    for split, found in splits.items():
        records = []
        for picture in found.pictures:
            faults = len(contents.faults)
            objects = _read_objects(picture, found, contents)
            if len(contents.faults) == faults:
                records.append(Record(picture.path, {"objects": objects, "labels": objects.labels}, picture.name))
        contents.splits[split] = tuple(records)
    contents.notes += note_objects(root, contents.splits)
    return contents


def _read_files(root: Path, *, needs_sizes: bool = True) -> tuple[Contents, dict[str, CocoSplit]]:
    files = find_coco_files(root)
    contents = Contents({}, notes=note_unread(root, files))
    folder = root if root.is_dir() else root.parent
    return contents, {split: _read_file(path, folder, split, contents, needs_sizes) for split, path in files.items()}


def _read_file(path: Path, root: Path, split: str, contents: Contents, needs_sizes: bool) -> CocoSplit:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        categories = read_categories(plain["categories"], path)
        stuff = {int(each["id"]) for each in plain["categories"] if each.get("isthing", 1) == 0}
        annotations = group_annotations(plain.get("annotations", []), categories, path, contents)
        images = plain["images"] if needs_sizes else list(map(with_size, plain["images"]))
        pictures = make_pictures(images, annotations, picture_folders(root, path, split), root)
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: this can't be read as COCO annotations ({type(error).__name__}: {error}).") from error
    if not pictures:
        raise DataError(f"{path}: the list of images is empty.")
    for image_id in list(annotations)[:3]:
        contents.faults.append(f"{path}: annotations are of image {image_id}, which isn't in the list of images.")
    return CocoSplit(path, categories, stuff, drop_repeated(pictures, path, contents))


def group_annotations(
    annotations: list[Mapping[str, Any]], categories: Mapping[int, str], path: Path, contents: Contents
) -> dict[Any, list[Mapping[str, Any]]]:
    """Return the annotations of each image, without those of no category."""
    grouped: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for each in annotations:
        if each["category_id"] in categories:
            grouped[each["image_id"]].append(each)
        else:
            contents.faults.append(
                f"{path}: annotation {each.get('id')}: its category {each['category_id']} isn't in the list of "
                "categories."
            )
    return grouped


def make_pictures(
    images: list[Mapping[str, Any]],
    annotations: dict[Any, list[Mapping[str, Any]]],
    folders: list[Path],
    root: Path,
) -> list[Picture]:
    """Return the pictures sorted by name, and take their annotations out of the others."""
    pictures = []
    for image in sorted(images, key=lambda each: str(each["file_name"])):
        found = find_picture(str(image["file_name"]), folders)
        size = (int(image["height"]), int(image["width"]))
        pictures.append(Picture(found, relative_name(found, root), size, annotations.pop(image["id"], []), image["id"]))
    return pictures


def with_size(image: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of the list of images with 0 for a size that it doesn't state."""
    return {**image, "height": image.get("height") or 0, "width": image.get("width") or 0}


def drop_repeated(pictures: list[Picture], path: Path, contents: Contents) -> list[Picture]:
    """Return the pictures without those whose id or file was there before, which become faults."""
    ids: set[int | str] = set()
    names: set[str] = set()
    kept = []
    for picture in pictures:
        if picture.image_id in ids or picture.name in names:
            contents.faults.append(f"{path}: image {picture.image_id}, {picture.name}, is there twice.")
        else:
            kept.append(picture)
        ids.add(picture.image_id)
        names.add(picture.name)
    return kept


def picture_folders(root: Path, source: Path, split: str) -> list[Path]:
    """Return where pictures may lie, the likeliest first."""
    named = source.stem.split("_")[-1]  # train2017
    base = base_of(source)
    folders = [root, base, base / "images", base / named, base / "images" / named, source.parent]
    folders += [base / split, base / "images" / split] if split else []
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def base_of(source: Path) -> Path:
    """Return the folder of a data set by its file of annotations."""
    return source.parent.parent if source.parent.name == "annotations" else source.parent


def find_picture(file_name: str, folders: list[Path]) -> Path:
    """Return where a picture is; where it isn't, the first place it was looked for."""
    return next((folder / file_name for folder in folders if (folder / file_name).is_file()), folders[0] / file_name)


def relative_name(path: Path, root: Path) -> str:
    """Return how manifests name a picture: its path below the root where it is there."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _mask_record(picture: Picture, found: CocoSplit) -> Record:
    regions, fault = [], None
    for each in picture.annotations:
        try:
            regions.append(_region(each, picture.size, found))
        except KeyError:
            fault = f"{found.source}: annotation {each.get('id')}: it has no segmentation, with counts or corners."
        except Exception as error:  # pycocotools raises plain ones
            fault = f"{found.source}: annotation {each.get('id')}: its segmentation can't be read ({error})."
    mask = DrawnMask(() if fault else tuple(regions), picture.size, found.source, picture.image_id, fault=fault)
    labels = () if fault else tuple(sorted(name for name, number in mask.pixels.items() if number))
    return Record(picture.path, {"mask": mask, "labels": labels}, picture.name)


def _region(annotation: Mapping[str, Any], size: tuple[int, int], found: CocoSplit) -> Region:
    from pycocotools import mask as coco_mask

    counts = encode_region(annotation["segmentation"], size)
    category = annotation["category_id"]
    return Region(
        found.categories[category],
        counts,
        int(coco_mask.area({"size": list(size), "counts": counts})),
        category in found.stuff,
    )


def _box_record(picture: Picture, objects: list[Mapping[str, Any]], found: CocoSplit) -> Record:
    boxes = [_read_box(each, picture, found) for each in objects]
    names = dict.fromkeys(found.categories[each["category_id"]] for each in objects)
    targets = {"label": one_label(tuple(names), picture.path), "boxes": keep_sound(boxes)}
    return Record(picture.path, targets, picture.name)


def _read_objects(picture: Picture, found: CocoSplit, contents: Contents) -> Objects:
    """Return the objects of a picture; those whose box isn't one become faults."""
    boxes: list[Box] = []
    for each in picture.annotations:
        with contents.gathering():
            boxes.append(_read_box(each, picture, found))
    areas: list[Any] = [each.get("area") for each in picture.annotations]
    regions = tuple(each.get("segmentation") or None for each in picture.annotations)
    return Objects(
        boxes=tuple(boxes),
        names=tuple(found.categories[each["category_id"]] for each in picture.annotations),
        ignored=tuple(bool(each.get("iscrowd")) for each in picture.annotations),
        areas=tuple(float(area) if _is_number(area) else None for area in areas) if any(map(_is_number, areas)) else (),
        regions=regions if any(regions) else (),
        places=tuple(f"annotation {each.get('id')}" for each in picture.annotations),
        source=str(found.source),
        size=picture.size if all(picture.size) else None,
        image_id=picture.image_id,
    )


def _read_box(annotation: Mapping[str, Any], picture: Picture, found: CocoSplit) -> Box:
    try:
        left, top, width, height = map(float, annotation["bbox"])
    except (KeyError, TypeError, ValueError) as error:
        where = f"{found.source}: annotation {annotation.get('id')} of {picture.name}"
        raise DataError(f"{where}: its bbox is not four numbers.") from error
    return (left, top, left + width, top + height)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
