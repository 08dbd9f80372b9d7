"""Writing the layout of the PASCAL VOC challenges (``voc.py``): ``JPEGImages``, ``Annotations``, ``ImageSets/Main``."""

from pathlib import Path
from xml.etree import ElementTree

from .boxes import Box
from .findings import count
from .object_export import Copy, Export, Picture, check_stems, note_left_out, place_picture, plain_number


def write_voc(folder: Path, export: Export, copy: Copy) -> list[str]:
    """Write a data set in the VOC layout.

    All pictures are in one folder; ``parade/1.jpg`` becomes ``parade_1.jpg``. Ignored objects become difficult ones.
    Bounds count from 1 and include the last pixel, with decimals where they aren't whole.

    Args:
        folder: Where to; it has to be there.
        export: What to write.
        copy: What becomes of the pictures.

    Returns:
        What the layout couldn't hold, in sentences.

    Raises:
        DataError: Two pictures would have one annotation.
    """
    named = {split: [(_flatten(one), one) for one in pictures] for split, pictures in export.splits.items()}
    check_stems([pair for pairs in named.values() for pair in pairs], "VOC")
    for name in ("JPEGImages", "Annotations"):
        (folder / name).mkdir()
    thin = 0
    for split, pairs in named.items():
        for name, picture in pairs:
            thin += _write_annotation(folder / "Annotations" / f"{_stem(name)}.xml", name, picture)
            place_picture(picture, folder / "JPEGImages" / name, copy)
        if split:
            (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
            lines = "".join(f"{_stem(name)}\n" for name, _ in pairs)
            (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(lines, encoding="utf-8")
    notes = list(note_left_out(export, "VOC", "regions", "sets"))
    if thin:
        notes.append(
            f"VOC: {count(thin, 'box', 'boxes')} of a pixel or less in width or height left out; with the last pixel "
            "included, their bounds would be those of a box without an area."
        )
    notes.append("VOC: the layout has no list of classes; they are read back sorted, and those without an object not.")
    return notes


def _flatten(picture: Picture) -> str:
    return picture.name.replace("/", "_")


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _write_annotation(path: Path, name: str, picture: Picture) -> int:
    """Write the objects of a picture, and return how many of them can't be told from none."""
    root = ElementTree.Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", name)
    size = ElementTree.SubElement(root, "size")
    for tag, number in zip(("width", "height", "depth"), (*picture.size[::-1], 3), strict=True):
        _add(size, tag, str(number))
    thin = 0
    for place in picture.objects.sound:
        bounds = _bounds(picture.objects.boxes[place])
        if bounds[2] <= bounds[0] or bounds[3] <= bounds[1]:
            thin += 1
            continue
        element = ElementTree.SubElement(root, "object")
        _add(element, "name", picture.objects.names[place])
        _add(element, "difficult", str(int(bool(picture.objects.ignored) and picture.objects.ignored[place])))
        box = ElementTree.SubElement(element, "bndbox")
        for tag, bound in zip(("xmin", "ymin", "xmax", "ymax"), bounds, strict=True):
            _add(box, tag, str(bound))
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8")
    return thin


def _bounds(box: Box) -> tuple[float | int, ...]:
    return tuple(plain_number(value) for value in (box[0] + 1, box[1] + 1, box[2], box[3]))


def _add(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = text
