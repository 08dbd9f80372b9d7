"""Data sets of objects from one format into another."""

from pathlib import Path
from typing import Literal, NamedTuple, get_args

from ..backbones.errors import UserError, unknown
from .coco_writer import write_coco
from .object_export import Copy, Export, prepare_export
from .voc_writer import write_voc
from .yolo_writer import write_yolo

ObjectFormat = Literal["coco", "voc", "yolo"]

_WRITERS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}


class Conversion(NamedTuple):
    """What was written."""

    images: dict[str, int]
    """The pictures of each split; the only key is the empty text where there are none."""
    objects: int
    """With an area, before what the format has no place for was left out."""
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    """What was left aside when the data set was read, and what the format couldn't hold, in sentences."""


def convert_objects(
    data: Path | str, folder: Path, to: ObjectFormat, *, copy: Copy = "copy", replaces: Path | None = None
) -> Conversion:
    """Write a data set of objects, with all its splits, in another format.

    Everything is checked before anything is written; the original is only read.

    Args:
        data: A folder or file that ``open_dataset`` understands.
        folder: Where to: one that isn't there, or is empty, and that isn't among the data.
        to: The format.
        copy: What becomes of the pictures.
        replaces: The folder that is deleted afterwards, if there is one.

    Raises:
        DataError: As ``prepare_export``; or pictures whose annotations would be one file.
        UserError: The folder holds something or is among the data, or pictures are in the one that is deleted.
    """
    if to not in _WRITERS:
        raise unknown("format", to, get_args(ObjectFormat))
    refuse_among_data(Path(data), folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"'{folder}' isn't empty.")
    export = prepare_export(data)
    if replaces is not None:
        _refuse_deleting(replaces, export)
    folder.mkdir(parents=True, exist_ok=True)
    notes = _WRITERS[to](folder, export, copy)
    return Conversion(
        images={split: len(pictures) for split, pictures in export.splits.items()},
        objects=sum(len(one.objects.sound) for one in export.pictures),
        classes=export.classes,
        notes=(*export.notes, *notes),
    )


def refuse_among_data(data: Path, folder: Path) -> None:
    """Check that a folder for output is neither that of the data, nor below it, nor around it.

    Raises:
        UserError: It is.
    """
    there, here = data.resolve(), folder.resolve()
    if here == there or here.is_relative_to(there):
        where = "is the data set itself" if here == there else f"lies in the data set '{data}'"
        raise UserError(f"'{folder}' {where}, which stays as it is. Choose another folder: --output DIR.")
    if there.is_relative_to(here) and folder.exists():
        raise UserError(f"'{folder}' holds the data set '{data}', which stays as it is. Choose another: --output DIR.")


def _refuse_deleting(folder: Path, export: Export) -> None:
    """Check that no original picture is in a folder that will be deleted."""
    here = folder.resolve()
    inside = next((one.path for one in export.pictures if one.path.resolve().is_relative_to(here)), None)
    if inside is not None:
        raise UserError(
            f"'{folder}' holds pictures of the data set, e.g. {inside}, and would be deleted. Choose another folder: "
            "--output DIR."
        )
