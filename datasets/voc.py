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
``ImageSets`` aren't read. Without lists the annotated pictures are one set without splits.

For localization all objects of a picture that aren't difficult have to be of one class. Bounds in the files count from
1 and include the last pixel; ours are ``xmin - 1, ymin - 1, xmax, ymax``.

For segmentation the masks are palette PNGs whose indices are those of ``SEGMENTED``, and 255 is ignored: the bands
around objects and what is difficult.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple
from xml.etree import ElementTree

from .boxes import Box, keep_sound, note_dropped
from .coded_masks import MaskPair, code_masks
from .contents import Contents, one_label
from .image_folder import walk_pictures
from .mask_pairs import only
from .masks import MaskCoding
from .sample import DataError, Record
from .splits import SPLITS, find_split

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
    contents, read = _read_annotations(root, wants_boxes=True)
    bare = 0
    for split, found in read.items():
        records = []
        for one in found:
            if not one.classes:
                bare += 1
                continue
            with contents.gathering():
                label = one_label(tuple(sorted(one.classes)), one.picture)
                targets = {"label": label, "boxes": keep_sound([box for _, box in one.boxes])}
                records.append(Record(one.picture, targets, one.picture.relative_to(root).as_posix()))
        contents.splits[split] = tuple(sorted(records, key=lambda record: record.name))
    annotated = sum(len(one.boxes) for found in read.values() for one in found)
    used = sum(len(record.targets["boxes"]) for found in contents.splits.values() for record in found)
    if not contents.faults:
        contents.notes += note_dropped(root, annotated, used)
    if bare:
        contents.notes.append(f"{root}: {bare} pictures without an object were left out.")
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


def _read_annotations(root: Path, *, wants_boxes: bool = False) -> "tuple[Contents, dict[str, list[_Annotation]]]":
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
    read: dict[str, list[_Annotation]] = {split: [] for split in lists}
    for split, listed in lists.items():
        for name in listed:
            with contents.gathering():
                found = pictures.get(name, [])
                read[split].append(
                    _read_annotation(annotations[name], found, root / names.pictures, wants_boxes=wants_boxes)
                )
    contents.notes += _note_left_out(root, lists, annotations, pictures, names.lists)
    return contents, read


class _Annotation(NamedTuple):
    picture: Path
    classes: set[str]
    """Of the objects that aren't difficult."""
    hidden: set[str]
    """Of which all objects are difficult."""
    boxes: list[tuple[str, Box]]
    """Of the objects that aren't difficult, where boxes are wanted."""


def _make_records(annotations: list[_Annotation], root: Path) -> tuple[Record, ...]:
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
    files: dict[str, Path] = {}
    for path in sorted((root / folder).glob("*.txt")):
        split = find_split(path.stem)
        if split in files:
            raise DataError(f"{path}: '{files[split].name}' and '{path.name}' both list the split '{split}'. Keep one.")
        if split is not None:
            files[split] = path
    both = root / folder / "trainval.txt"
    if both.is_file() and not files.keys() & {"train", "val"}:
        files["train"] = both
    seen: dict[str, str] = {}
    return {
        split: list(_read_list(files[split], annotations, seen, contents, what)) for split in SPLITS if split in files
    }


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


def _read_annotation(path: Path, pictures: list[Path], folder: Path, *, wants_boxes: bool) -> _Annotation:
    """Return the objects of a file, and which of the pictures of its name is its own."""
    try:
        annotation = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(f"{path}: the annotation can't be read as XML ({error}).") from error
    if annotation.tag != "annotation":
        raise DataError(f"{path}: the outermost element is '{annotation.tag}', not 'annotation'.")
    classes: dict[bool, set[str]] = {False: set(), True: set()}
    boxes: list[tuple[str, Box]] = []
    for number, element in enumerate(annotation.findall("object"), start=1):
        name = (element.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{path}: object {number} has no name; the element 'name' is missing or empty.")
        difficult = (element.findtext("difficult") or "0").strip() or "0"
        if difficult not in ("0", "1"):
            raise DataError(f"{path}: the element 'difficult' of object {number} is '{difficult}', neither 0 nor 1.")
        classes[difficult == "1"].add(name)
        if wants_boxes and difficult == "0":
            boxes.append((name, _read_box(element, f"{path}: object {number} ('{name}')")))
    picture = _find_picture(path, (annotation.findtext("filename") or "").strip(), pictures, folder)
    return _Annotation(picture, classes[False], classes[True] - classes[False], boxes)


def _read_box(element: ElementTree.Element, where: str) -> Box:
    texts = [(element.findtext(f"bndbox/{bound}") or "").strip() for bound in ("xmin", "ymin", "xmax", "ymax")]
    try:
        left, top, right, bottom = map(float, texts)
    except ValueError as error:
        raise DataError(f"{where}: its bndbox is not four numbers, but {', '.join(texts)}.") from error
    return (left - 1, top - 1, right, bottom)


def _find_picture(path: Path, filename: str, pictures: list[Path], folder: Path) -> Path:
    """Return the picture of an annotation, which has its name; what ``filename`` says has to agree."""
    if filename and path.stem not in (filename, PurePath(filename).stem):
        raise DataError(
            f"{path}: the element 'filename' says '{filename}', but this is the annotation of '{path.stem}'. Rename "
            "the file, or mend the element."
        )
    if not pictures:
        raise DataError(f"{path}: its picture is missing; {folder} holds no '{filename or path.stem}'.")
    named = [picture for picture in pictures if picture.name == filename]
    if len(pictures) > 1 and not named:
        names = " and ".join(picture.name for picture in pictures)
        raise DataError(f"{path}: {folder} holds {names}, and the element 'filename' doesn't say which it is.")
    return (named or pictures)[0]


def _note_left_out(
    root: Path,
    lists: Mapping[str, Sequence[str]],
    annotations: Mapping[str, Path],
    pictures: Mapping[str, list[Path]],
    folder: str,
) -> list[str]:
    """Return notes on annotations that no list names, and pictures without annotation."""
    notes = []
    if (root / "ImageSets").is_dir() and "" in lists:
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
