"""The layout of the PASCAL VOC challenges, read for classification: which classes there are in a picture.

::

    VOC2007/JPEGImages/000005.jpg
    VOC2007/Annotations/000005.xml
    VOC2007/ImageSets/Main/train.txt      one name a line, such as 000005

Everingham et al. 2010 (The PASCAL Visual Object Classes Challenge, section 3.1) ask of each picture whether an object
of a class is in it. So the ``labels`` of a picture are the sorted names of its objects, each once; a picture without
objects is one of no class, a negative. An object marked ``difficult`` doesn't count. The challenge's own measure
leaves a picture out for a class of which it has difficult objects only; here it counts as one without that class.

The splits are ``train``, ``val`` and ``test`` of ``ImageSets/Main``. ``trainval`` is read where neither train nor val
is there, and then val is cut from it by a seed. The lists of a single class (``cat_train.txt``) and other folders of
``ImageSets`` aren't read. Without lists the annotated pictures are one set without splits.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple
from xml.etree import ElementTree

from .contents import Contents
from .image_folder import walk_pictures
from .sample import DataError, Record
from .splits import SPLITS, find_split

_PICTURES, _ANNOTATIONS, _LISTS = "JPEGImages", "Annotations", "ImageSets/Main"


def holds_voc(folder: Path) -> bool:
    """Whether a folder has the two folders that make up the layout."""
    return (folder / _PICTURES).is_dir() and (folder / _ANNOTATIONS).is_dir()


def find_voc_below(folder: Path) -> list[Path]:
    """Return the folders of this layout right below a folder, such as ``VOC2007`` below ``VOCdevkit``."""
    return sorted(path.parent for path in folder.glob(f"*/{_PICTURES}") if holds_voc(path.parent))


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
    annotations = {path.stem: path for path in (root / _ANNOTATIONS).glob("[!.]*.xml")}
    if not annotations:
        raise DataError(f"{root / _ANNOTATIONS}: no annotations; they end in .xml.")
    pictures = _find_pictures(root / _PICTURES)
    contents = Contents({})
    lists = _read_lists(root, annotations, contents) or {"": sorted(annotations)}
    read: dict[str, list[_Annotation]] = {split: [] for split in lists}
    for split, names in lists.items():
        for name in names:
            with contents.gathering():
                read[split].append(_read_annotation(annotations[name], pictures.get(name, []), root / _PICTURES))
    contents.splits = {split: _make_records(found, root) for split, found in read.items()}
    hidden = sum(len(one.difficult - one.classes) for found in read.values() for one in found)
    if hidden:
        contents.notes.append(
            f"{root}: {hidden} times all objects of a class in a picture are marked as difficult; they don't count."
        )
    contents.notes += _note_left_out(root, lists, annotations, pictures)
    return contents


class _Annotation(NamedTuple):
    picture: Path
    classes: set[str]
    """Of the objects that aren't difficult."""
    difficult: set[str]
    """Of the difficult ones."""


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


def _read_lists(root: Path, annotations: Mapping[str, Path], contents: Contents) -> dict[str, list[str]]:
    """Return the names in each split, or nothing where there are no lists."""
    files: dict[str, Path] = {}
    for path in sorted((root / _LISTS).glob("*.txt")):
        split = find_split(path.stem)
        if split in files:
            raise DataError(f"{path}: '{files[split].name}' and '{path.name}' both list the split '{split}'. Keep one.")
        if split is not None:
            files[split] = path
    both = root / _LISTS / "trainval.txt"
    if both.is_file() and not files.keys() & {"train", "val"}:
        files["train"] = both
    seen: dict[str, str] = {}
    return {split: list(_read_list(files[split], annotations, seen, contents)) for split in SPLITS if split in files}


def _read_list(path: Path, annotations: Mapping[str, Path], seen: dict[str, str], contents: Contents) -> Iterator[str]:
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
            contents.faults.append(f"{where}: '{name}' has no annotation; there is no {_ANNOTATIONS}/{name}.xml.")
        else:
            seen[name] = f"{path.name}, line {number}"
            yield name


def _read_annotation(path: Path, pictures: list[Path], folder: Path) -> _Annotation:
    """Return the objects of a file, and which of the pictures of its name is its own."""
    try:
        annotation = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(f"{path}: the annotation can't be read as XML ({error}).") from error
    if annotation.tag != "annotation":
        raise DataError(f"{path}: the outermost element is '{annotation.tag}', not 'annotation'.")
    classes: dict[bool, set[str]] = {False: set(), True: set()}
    for number, element in enumerate(annotation.findall("object"), start=1):
        name = (element.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{path}: object {number} has no name; the element 'name' is missing or empty.")
        difficult = (element.findtext("difficult") or "0").strip() or "0"
        if difficult not in ("0", "1"):
            raise DataError(f"{path}: the element 'difficult' of object {number} is '{difficult}', neither 0 nor 1.")
        classes[difficult == "1"].add(name)
    picture = _find_picture(path, (annotation.findtext("filename") or "").strip(), pictures, folder)
    return _Annotation(picture, classes[False], classes[True])


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
) -> list[str]:
    """Return notes on annotations that no list names, and pictures without annotation."""
    notes = []
    if (root / "ImageSets").is_dir() and "" in lists:
        notes.append(f"{root / _LISTS}: no train.txt, val.txt, test.txt or trainval.txt; the pictures aren't split.")
    unlisted = len(annotations) - sum(map(len, lists.values()))
    if unlisted:
        notes.append(f"{root}: {unlisted} annotated pictures are in none of the lists of {_LISTS} and were left out.")
    bare = sorted(pictures.keys() - annotations.keys())
    if bare:
        notes.append(
            f"{root}: {len(bare)} pictures have no annotation and were left out, e.g. {pictures[bare[0]][0].name}."
        )
    return notes
