"""The command ``onetrunk data convert``."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .written_folder import writing_folder

if TYPE_CHECKING:
    from ...datasets.conversion import Conversion

#: Where pictures lie in each format, and what is in the place of a split where there is none.
_PICTURES = {"coco": "{}", "voc": "JPEGImages", "yolo": "images/{}"}
_UNSPLIT = {"coco": "images", "voc": "", "yolo": "train"}


@dataclass(kw_only=True)
class ConvertOptions:
    """Write a data set of boxes, with its splits and pictures, in another format."""

    data: str
    """The data set: COCO, VOC, YOLO or WIDER FACE, or a table of boxes. It stays as it is."""
    to: Literal["coco", "voc", "yolo"]
    """The format."""
    output: str
    """The folder to write."""
    copy: Literal["copy", "symlink", "none"] = "copy"
    """What becomes of the pictures: copies; links to the originals; or ``none``, the annotations alone."""
    overwrite: bool = False
    """Delete the folder first, if it holds what this command wrote."""


def convert_data_set(options: ConvertOptions) -> Conversion:
    """Write a data set of objects in another format, print what came of it, and return that.

    Raises:
        UserError: The data set can't be read, a picture of it can't be, or the folder is there or can't be written to;
            then nothing was written.
    """
    from ...datasets.conversion import convert_objects, refuse_among_data

    folder = Path(options.output)
    refuse_among_data(Path(options.data), folder)
    with writing_folder(folder, what="converted", overwrite=options.overwrite) as written, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata in pictures that it reads all the same
        conversion = convert_objects(options.data, written, options.to, copy=options.copy, replaces=folder)
    _print_conversion(folder, options, conversion)
    return conversion


def _print_conversion(folder: Path, options: ConvertOptions, conversion: Conversion) -> None:
    from ...datasets.findings import count

    images = ", ".join(f"{number:,} {split}".strip() for split, number in conversion.images.items())
    objects = count(conversion.objects, "object")
    classes = count(len(conversion.classes), "class", "classes")
    for note in conversion.notes:
        print(note)
    if options.copy == "none":
        places = {_PICTURES[options.to].format(split or _UNSPLIT[options.to]) for split in conversion.images}
        where = ", ".join(str(folder / place) for place in sorted(places))
        print(f"No pictures were written; they belong into {where}.")
    noun = "image" if sum(conversion.images.values()) == 1 else "images"
    print(f"{folder}: {images} {noun}, {objects} of {classes} ({options.to})")
