"""The XML files of the VOC layout (``voc.py``): one a picture, with its objects."""

from pathlib import Path, PurePath
from typing import NamedTuple
from xml.etree import ElementTree

from .boxes import Box
from .objects import Objects
from .sample import DataError

_BOUNDS = ("xmin", "ymin", "xmax", "ymax")


class VocObject(NamedTuple):
    """An ``object`` of a file."""

    name: str
    is_difficult: bool
    bounds: tuple[str, ...] | None
    """The texts of its ``bndbox``; None without one."""
    source: Path
    place: str

    def read_box(self) -> Box:
        """Return the box with the upper bounds exclusive, counted from 0.

        Raises:
            DataError: It isn't there, or isn't four numbers.
        """
        left, top, right, bottom = self._read_bounds()
        return (left - 1, top - 1, right, bottom)

    def read_stated_box(self) -> Box:
        """Return ``read_box``; but where no bound is above its lower one, the box as it stands, which has no area.

        Counted by pixels such a box would have one of its own. Nobody draws it: it is a click, or a slip.

        Raises:
            DataError: As ``read_box``.
        """
        left, top, right, bottom = stated = self._read_bounds()
        return stated if right <= left or bottom <= top else (left - 1, top - 1, right, bottom)

    def _read_bounds(self) -> Box:
        where = f"{self.source}: {self.place} ('{self.name}')"
        if self.bounds is None:
            raise DataError(f"{where}: it has no box; the element 'bndbox' is missing.")
        try:
            left, top, right, bottom = map(float, self.bounds)
        except ValueError as error:
            raise DataError(f"{where}: its bndbox is not four numbers, but {', '.join(self.bounds)}.") from error
        return (left, top, right, bottom)


class VocAnnotation(NamedTuple):
    """What a file says of a picture."""

    picture: Path
    source: Path
    objects: tuple[VocObject, ...]
    size: tuple[int, int] | None
    """Height and width, where they are stated."""

    @property
    def classes(self) -> set[str]:
        """The classes of the objects that aren't difficult."""
        return {each.name for each in self.objects if not each.is_difficult}

    @property
    def hidden(self) -> set[str]:
        """The classes of which all objects are difficult."""
        return {each.name for each in self.objects} - self.classes

    def read_boxes(self) -> list[Box]:
        """Return the boxes of the objects that aren't difficult.

        Raises:
            DataError: As ``VocObject.read_box``.
        """
        return [each.read_box() for each in self.objects if not each.is_difficult]

    def read_objects(self) -> Objects:
        """Return all objects, the difficult ones as ignored.

        Raises:
            DataError: As ``VocObject.read_box``.
        """
        return Objects(
            boxes=tuple(each.read_stated_box() for each in self.objects),
            names=tuple(each.name for each in self.objects),
            ignored=tuple(each.is_difficult for each in self.objects),
            places=tuple(each.place for each in self.objects),
            source=str(self.source),
            size=self.size,
        )


def read_annotation(path: Path, pictures: list[Path], folder: Path) -> VocAnnotation:
    """Return the objects of a file, and which of the pictures of its name is its own.

    Args:
        path: The file.
        pictures: Those of its name, in the folder.
        folder: Of the pictures, for messages.

    Raises:
        DataError: Naming the file and the object: XML that can't be parsed, an object without a name, ``difficult``
            that is neither 0 nor 1; an annotation of another file or without a picture.
    """
    try:
        annotation = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(f"{path}: the annotation can't be read as XML ({error}).") from error
    if annotation.tag != "annotation":
        raise DataError(f"{path}: the outermost element is '{annotation.tag}', not 'annotation'.")
    objects = tuple(
        _read_object(element, number, path) for number, element in enumerate(annotation.findall("object"), start=1)
    )
    picture = _find_picture(path, (annotation.findtext("filename") or "").strip(), pictures, folder)
    return VocAnnotation(picture, path, objects, _read_size(annotation))


def _read_object(element: ElementTree.Element, number: int, path: Path) -> VocObject:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{path}: object {number} has no name; the element 'name' is missing or empty.")
    difficult = (element.findtext("difficult") or "0").strip() or "0"
    if difficult not in ("0", "1"):
        raise DataError(f"{path}: the element 'difficult' of object {number} is '{difficult}', neither 0 nor 1.")
    box = element.find("bndbox")
    bounds = None if box is None else tuple((box.findtext(bound) or "").strip() for bound in _BOUNDS)
    return VocObject(name, difficult == "1", bounds, path, f"object {number}")


def _read_size(annotation: ElementTree.Element) -> tuple[int, int] | None:
    """Return height and width; None where a program wrote 0, nothing, or what is no number."""
    try:
        height, width = (int(float(annotation.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
    except (ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None


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
