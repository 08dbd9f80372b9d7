"""The layout of the PASCAL VOC challenges: which classes there are in a picture, where, and of which each pixel is.

::

    VOC2007/JPEGImages/000005.jpg                     or    raccoon/images/1.jpg
    VOC2007/Annotations/000005.xml                          raccoon/annotations/1.xml
    VOC2007/ImageSets/Main/train.txt                        raccoon/splits/train.txt       one name a line
    VOC2012/SegmentationClass/2007_000032.png
    VOC2012/ImageSets/Segmentation/train.txt

Everingham et al. 2010 (The PASCAL Visual Object Classes Challenge, section 3.1) ask of each picture whether an object
of a class is in it. So the ``labels`` of a picture are the sorted names of its objects, each once; a picture without
objects is one of no class, a negative. An object marked ``difficult`` doesn't count. The challenge's own measure
leaves a picture out for a class of which it has difficult objects only; here it counts as one without that class.

The splits are ``train``, ``val`` and ``test`` of ``ImageSets/Main``. ``trainval`` is read where neither train nor val
is there, and then val is cut from it by a seed. The lists of a single class (``cat_train.txt``) and other folders of
``ImageSets`` aren't read. Where ``splits`` has no list of such a name, one of a word does, as ``dev_train.txt``.
Without lists the annotated pictures are one set without splits.

For detection all objects stay, the difficult ones as ignored, and pictures without any. For localization all objects of
a picture that aren't difficult have to be of one class. Bounds in the files count from 1 and include the last pixel;
ours are ``xmin - 1, ymin - 1, xmax, ymax``. In detection a box of which xmax isn't above xmin, or ymax above ymin, has
no area.

For segmentation the masks are palette PNGs whose indices are those of ``SEGMENTED``, and 255 is ignored: the bands
around objects and what is difficult.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .boxes import keep_sound, note_dropped
from .coded_masks import MaskPair, code_masks
from .contents import Contents, one_label
from .image_folder import walk_pictures
from .mask_pairs import only
from .masks import MaskCoding
from .objects import note_objects
from .sample import DataError, Record
from .splits import SPLITS, find_split, find_split_in
from .voc_annotations import VocAnnotation, read_annotation

_MASKS = "SegmentationClass"

SEGMENTED = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The classes of VOC's segmentation, by value."""


class _Names(NamedTuple):
    """What the folders of the layout are called."""

    pictures: str
    annotations: str
    lists: str


_NAMES = (_Names("JPEGImages", "Annotations", "ImageSets/Main"), _Names("images", "annotations", "splits"))


def _names_in(folder: Path) -> _Names | None:
    """Return what the folders of the layout are called in a folder, the challenges' names first."""
    for names in _NAMES:
        annotations = folder / names.annotations
        is_there = (folder / names.pictures).is_dir() and annotations.is_dir()
        # the plain names are common: only XML files tell
        if is_there and (names is _NAMES[0] or any(annotations.glob("*.xml"))):
            return names
    return None


def holds_voc(folder: Path) -> bool:
    """Whether a folder has the two folders that make up the layout."""
    return _names_in(folder) is not None


def holds_voc_masks(folder: Path) -> bool:
    """Whether a folder has the layout's pictures and masks."""
    return (folder / _NAMES[0].pictures).is_dir() and (folder / _MASKS).is_dir()


def find_voc_below(folder: Path) -> list[Path]:
    """Return the folders of this layout right below a folder, such as ``VOC2007`` below ``VOCdevkit``."""
    found = {path.parent for path in folder.glob(f"*/{_NAMES[0].pictures}")}
    return sorted(path for path in found if holds_voc(path) or holds_voc_masks(path))


def read_voc(root: Path) -> Contents:
    """Read the names, lists and annotations of a VOC folder; no picture is opened.

    Args:
        root: The folder that holds ``JPEGImages`` and ``Annotations``.

    Returns:
        What it holds. Its ``faults`` name the file, and the element or line: XML that can't be parsed, an object
        without a name, ``difficult`` that is neither 0 nor 1; an annotation of another file or without a picture; a
        listed name without annotation, or listed twice.

    Raises:
        DataError: No annotations, an empty list, two lists for one split.
    """
    contents, read = _read_annotations(root)
    contents.splits = {split: _make_records(found, root) for split, found in read.items()}
    hidden = sum(len(one.hidden) for found in read.values() for one in found)
    if hidden:
        contents.notes.append(
            f"{root}: {hidden} times all objects of a class in a picture are marked as difficult; they don't count."
        )
    return contents


def read_voc_boxes(root: Path) -> Contents:
    """Read a VOC folder for localization; no picture is opened. Pictures without objects are left out, and said so.

    Returns:
        As ``read_voc``; ``faults`` also name boxes that are no numbers, and pictures with objects of
        several classes.

    Raises:
        DataError: As ``read_voc``.
    """
    contents, read = _read_annotations(root)
    annotated = bare = 0
    for split, found in read.items():
        records = []
        for one in found:
            if not one.classes:
                bare += 1
                continue
            with contents.gathering():
                label = one_label(tuple(sorted(one.classes)), one.picture)
                boxes = one.read_boxes()
                annotated += len(boxes)
                targets = {"label": label, "boxes": keep_sound(boxes)}
                records.append(Record(one.picture, targets, one.picture.relative_to(root).as_posix()))
        contents.splits[split] = tuple(sorted(records, key=lambda record: record.name))
    used = sum(len(record.targets["boxes"]) for found in contents.splits.values() for record in found)
    if not contents.faults:
        contents.notes += note_dropped(root, annotated, used)
    if bare:
        contents.notes.append(f"{root}: {bare} pictures without an object were left out.")
    return contents


def read_voc_objects(root: Path) -> Contents:
    """Read a VOC folder for detection; no picture is opened. Objects marked as ``difficult`` are ignored.

    Returns:
        As ``read_voc``; ``faults`` also name objects without a box, and boxes that are no numbers.

    Raises:
        DataError: As ``read_voc``.
    """
    contents, read = _read_annotations(root)
    for split, found in read.items():
        records = []
        for one in found:
            with contents.gathering():
                objects = one.read_objects()
                targets = {"objects": objects, "labels": objects.labels}
                records.append(Record(one.picture, targets, one.picture.relative_to(root).as_posix()))
        contents.splits[split] = tuple(sorted(records, key=lambda record: record.name))
    contents.notes += [*note_objects(root, contents.splits), *_note_json(root)]
    return contents


def read_voc_masks(root: Path) -> Contents:
    """Read the masks of a VOC folder, and decode them to find what is wrong with them.

    Raises:
        DataError: No masks, an empty list, or the list of classes beside them can't be read.
    """
    masks = {path.stem: path for path in sorted((root / _MASKS).glob("[!.]*.png"))}
    if not masks:
        raise DataError(f"{root / _MASKS}: no masks; they end in .png.")
    contents = Contents({})
    pictures = _find_pictures(root / _NAMES[0].pictures)
    lists = _read_lists(root, "ImageSets/Segmentation", masks, contents, what=f"mask; there is no {_MASKS}/NAME.png")
    pairs: dict[str, list[MaskPair]] = {}
    for split, names in (lists or {"": sorted(masks)}).items():
        pairs[split] = []
        for name in names:
            found = only(pictures.get(name, []), f"{masks[name]}: {{}} pictures have its name", contents)
            if found is None:
                contents.faults.append(f"{masks[name]}: its picture is missing in {root / _NAMES[0].pictures}.")
                continue
            record = Record(found, {}, found.relative_to(root).as_posix())
            pairs[split].append(MaskPair(record, masks[name]))
    if lists and (unlisted := len(masks) - sum(map(len, lists.values()))):
        contents.notes.append(
            f"{root}: {unlisted} masks are in none of the lists of ImageSets/Segmentation and were left out."
        )
    everything = [pair for found in pairs.values() for pair in found]
    known = MaskCoding(dict(enumerate(SEGMENTED)))
    coded = code_masks(root, everything, known=known, hint="no list of classes; the values are taken for VOC's 21.")
    by_name = {record.name: record for record in coded.records}
    contents.order = coded.classes
    contents.notes += coded.notes
    contents.splits = {
        split: tuple(by_name[name] for name in sorted(pair.record.name for pair in found))
        for split, found in pairs.items()
    }
    return contents


def _read_annotations(root: Path) -> tuple[Contents, dict[str, list[VocAnnotation]]]:
    """Return the annotations of each split, and contents with notes and faults."""
    names = _names_in(root)
    assert names is not None
    annotations = {path.stem: path for path in (root / names.annotations).glob("[!.]*.xml")}
    if not annotations:
        raise DataError(f"{root / names.annotations}: no annotations; they end in .xml.")
    pictures = _find_pictures(root / names.pictures)
    contents = Contents({})
    missing = f"annotation; there is no {names.annotations}/NAME.xml"
    lists = _read_lists(root, names.lists, annotations, contents, what=missing) or {"": sorted(annotations)}
    read: dict[str, list[VocAnnotation]] = {split: [] for split in lists}
    for split, listed in lists.items():
        for name in listed:
            with contents.gathering():
                found = pictures.get(name, [])
                read[split].append(read_annotation(annotations[name], found, root / names.pictures))
    contents.notes += _note_left_out(root, lists, annotations, pictures, names.lists)
    return contents, read


def _make_records(annotations: list[VocAnnotation], root: Path) -> tuple[Record, ...]:
    records = [
        Record(one.picture, {"labels": tuple(sorted(one.classes))}, one.picture.relative_to(root).as_posix())
        for one in annotations
    ]
    return tuple(sorted(records, key=lambda record: record.name))


def _find_pictures(folder: Path) -> dict[str, list[Path]]:
    """Return the pictures by name without ending."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(walk_pictures(folder)):
        found[path.relative_to(folder).with_suffix("").as_posix()].append(path)
    return found


def _read_lists(
    root: Path, folder: str, annotations: Mapping[str, Path], contents: Contents, *, what: str
) -> dict[str, list[str]]:
    """Return the names in each split, or nothing where there are no lists."""
    files = _find_lists(root / folder)
    if not files and folder == _NAMES[1].lists:
        files = _find_lists(root / folder, find_split_in)
        if files:
            taken = ", ".join(f"{path.name} for '{split}'" for split, path in files.items())
            contents.notes.append(f"{root / folder}: the lists are taken by a word of their names: {taken}.")
    seen: dict[str, str] = {}
    return {
        split: list(_read_list(files[split], annotations, seen, contents, what)) for split in SPLITS if split in files
    }


def _find_lists(folder: Path, find: Callable[[str], str | None] = find_split) -> dict[str, Path]:
    """Return the list of each split, ``trainval`` for ``train`` where there is neither of the two."""
    files: dict[str, Path] = {}
    for path in sorted(folder.glob("*.txt")):
        split = find(path.stem)
        if split in files:
            raise DataError(f"{path}: '{files[split].name}' and '{path.name}' both list the split '{split}'. Keep one.")
        if split is not None:
            files[split] = path
    both = folder / "trainval.txt"
    if both.is_file() and not files.keys() & {"train", "val"}:
        files["train"] = both
    return files


def _read_list(
    path: Path, annotations: Mapping[str, Path], seen: dict[str, str], contents: Contents, what: str
) -> Iterator[str]:
    """Return the names in a list, and add the place of each to those seen in all lists; faults go to the contents."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the list can't be read ({error}).") from error
    if not any(line.strip() for line in lines):
        raise DataError(f"{path}: the list is empty. Fill or remove it.")
    for number, line in enumerate(lines, start=1):
        name, where = line.strip(), f"{path}, line {number}"
        if not name:
            continue
        if name in seen:
            contents.faults.append(f"{where}: '{name}' is listed already in {seen[name]}.")
        elif name not in annotations:
            contents.faults.append(f"{where}: '{name}' has no {what.replace('NAME', name)}.")
        else:
            seen[name] = f"{path.name}, line {number}"
            yield name


def _note_json(root: Path) -> list[str]:
    """Return a note on COCO files, which some data sets have beside this layout."""
    names = _names_in(root)
    folders = [root, *([root / names.annotations] if names else [])]
    if found := [path for folder in folders for path in sorted(folder.glob("*.json"))]:
        return [
            f"{root}: the VOC layout is read; not read: {', '.join(path.name for path in found)}. A COCO file can be "
            f"given by its own path, such as {found[0]}."
        ]
    return []


def _note_left_out(
    root: Path,
    lists: Mapping[str, Sequence[str]],
    annotations: Mapping[str, Path],
    pictures: Mapping[str, list[Path]],
    folder: str,
) -> list[str]:
    """Return notes on annotations that no list names, and pictures without annotation."""
    notes = []
    if ((root / "ImageSets").is_dir() or (root / folder).is_dir()) and "" in lists:
        notes.append(f"{root / folder}: no train.txt, val.txt, test.txt or trainval.txt; the pictures aren't split.")
    unlisted = len(annotations) - sum(map(len, lists.values()))
    if unlisted:
        notes.append(f"{root}: {unlisted} annotated pictures are in none of the lists of {folder} and were left out.")
    bare = sorted(pictures.keys() - annotations.keys())
    if bare:
        notes.append(
            f"{root}: {len(bare)} pictures have no annotation and were left out, e.g. {pictures[bare[0]][0].name}."
        )
    return notes
