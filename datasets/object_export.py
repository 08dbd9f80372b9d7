"""A data set of objects made ready to be written in another format: names of files, sizes, classes, all checked."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from .annotated_images import AnnotatedImages, note_splits
from .contents import raise_faults
from .findings import count
from .images import check_image, picture_size
from .objects import Objects
from .open import open_with_faults
from .sample import DataError, Record

Copy = Literal["copy", "symlink", "none"]
"""What becomes of the pictures: copies, links to the originals, or nothing."""

_READERS = 8


@dataclass(frozen=True)
class Picture:
    """A picture that is to be written."""

    path: Path
    """The original."""
    name: str
    """Its path below the folder that all pictures of its split share, with ``/``."""
    size: tuple[int, int]
    """Height and width when it is upright."""
    objects: Objects


@dataclass(frozen=True)
class Export:
    """What is to be written."""

    splits: Mapping[str, tuple[Picture, ...]]
    """By split; the only key is the empty text where the data set has none."""
    classes: tuple[str, ...]
    """In their order, with those that only ignored objects have behind the others."""
    numbers: Mapping[str, int]
    """COCO's category ids, where the data set has such."""
    notes: tuple[str, ...]
    """What was left aside already when it was read."""

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures of all splits."""
        return tuple(picture for found in self.splits.values() for picture in found)

    def count(self, test: str) -> int:
        """Return how many sound objects have a certain attribute of ``Objects`` set: ``ignored``, ``regions``..."""
        values = ((getattr(one.objects, test), one.objects.sound) for one in self.pictures)
        return sum(bool(found[place]) for found, sound in values for place in (sound if found else ()))


def prepare_export(data: Path | str) -> Export:
    """Open a data set of objects and look at each picture.

    Args:
        data: A folder or file that ``open_dataset`` understands.

    Raises:
        DataError: As ``open_dataset``; or pictures that can't be read, or aren't those of their boxes, naming them.
    """
    opened, faults = open_with_faults(data, kind="objects")
    raise_faults(opened.root, faults)
    splits = {split: records for split, records in opened.found.items() if records}
    with ThreadPoolExecutor(_READERS) as pool:
        looked = {split: list(pool.map(_look, records)) for split, records in splits.items()}
    raise_faults(opened.root, [one for found in looked.values() for one in found if isinstance(one, str)])
    pictures = {}
    for split, records in splits.items():
        names = _short_names(records)
        pictures[split] = tuple(
            Picture(record.path, name, size, record.targets["objects"])
            for record, name, size in zip(records, names, looked[split], strict=True)
            if not isinstance(size, str)
        )
    return Export(
        pictures,
        _all_classes(opened),
        opened.numbers,
        tuple(_keep_notes(opened)),
    )


def place_picture(picture: Picture, path: Path, copy: Copy) -> None:
    """Copy or link a picture; folders on the way are made."""
    if copy == "none":
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if copy == "symlink":
        path.symlink_to(picture.path.resolve())
    else:
        shutil.copy2(picture.path, path)


def check_stems(named: Iterable[tuple[str, Picture]], format_name: str) -> None:
    """Check that each annotation file belongs to one picture.

    Args:
        named: What each picture is to be called, with the picture.
        format_name: Of the format, for the message.

    Raises:
        DataError: Naming two pictures that would share an annotation.
    """
    seen: dict[str, Picture] = {}
    for name, picture in named:
        first = seen.setdefault(name.rpartition(".")[0], picture)
        if first is not picture:
            raise DataError(
                f"{picture.path}: {first.path} has the same name but for folder or ending, so in {format_name} both "
                "would have the same annotation. Rename either."
            )


def plain_number(value: float) -> float | int:
    """Return a number to a millionth, whole where it is that."""
    rounded = round(value, 6)
    return int(rounded) if rounded == int(rounded) else rounded


def note_left_out(export: Export, format_name: str, *attributes: str) -> Iterator[str]:
    """Return a sentence for each of the attributes of ``Objects`` that a format has no place for."""
    what = {
        "ignored": ("to be ignored, such as a crowd", "was left out", "were left out"),
        "regions": ("with a region", "has its box only", "have their boxes only"),
        "sets": ("in WIDER FACE's sets", "isn't told as such", "aren't told as such"),
    }
    for attribute in attributes:
        if number := export.count(attribute):
            noun, one, many = what[attribute]
            which = f"{count(number, 'object')} {noun} {one if number == 1 else many}"
            yield f"{format_name}: {which}; the format has no place for it."


def _look(record: Record) -> tuple[int, int] | str:
    """Return a picture's size, or what is wrong with it."""
    if fault := check_image(record.path):
        return fault
    size = picture_size(record.path)
    fault = record.targets["objects"].misfit(size)
    return f"{record.path}: {fault}" if fault else size


def _short_names(records: tuple[Record, ...]) -> list[str]:
    """Return the paths of pictures below the folder that all of them share."""
    paths = [os.path.abspath(record.path) for record in records]
    shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [PurePath(os.path.relpath(path, shared)).as_posix() for path in paths]


def _all_classes(opened: AnnotatedImages) -> tuple[str, ...]:
    names = {name for record in opened.everything for name in record.targets["objects"].names}
    return (*opened.classes, *sorted(names - set(opened.classes)))


def _keep_notes(opened: AnnotatedImages) -> list[str]:
    """Return the notes without those on a cut, which isn't written, but with one on subjects, which aren't either."""
    cut = note_splits(opened.root, opened.splits)
    notes = [note for note in opened.notes if note not in cut]
    if any("subject" in record.targets for record in opened.everything):
        notes.append(f"{opened.root}: which subject each image shows isn't kept; the formats have no place for it.")
    return notes
