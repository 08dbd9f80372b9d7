"""The commands ``onetrunk data check|convert|digits``."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ...backbones.errors import UserError
from ..cli import Command
from .check import CheckOptions, check_data_set
from .convert import ConvertOptions, convert_data_set

#: Tells a folder that this command wrote, and may delete, from others of the same layout.
_MARKER = ".onetrunk-digits"


@dataclass(kw_only=True)
class DigitsOptions:
    """Write scikit-learn's handwritten digits as a folder of pictures."""

    output: str
    """The folder to write."""
    size: int = 32
    """Height and width of the pictures in pixels; the originals have 8."""
    overwrite: bool = False
    """Delete the folder first, if it holds digits."""


def write_digits(options: DigitsOptions) -> None:
    """Write 1,797 digits as class folders under ``train`` and ``val``, for trying things without a network.

    Raises:
        UserError: If the folder exists, and isn't one of digits that may be overwritten.
    """
    from ... import datasets

    folder = Path(options.output)
    if folder.exists() and not (options.overwrite and (folder / _MARKER).is_file()):
        hint = "Replace it: --overwrite." if (folder / _MARKER).is_file() else "It doesn't hold digits written here."
        raise UserError(f"'{folder}' already exists. {hint} Or choose another folder: --output DIR.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # written beside it and renamed, so that an interruption leaves no half of it
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        counts = datasets.write_digits(Path(temporary) / "digits", size=options.size)
        (Path(temporary) / "digits" / _MARKER).touch()
        if folder.exists():
            shutil.rmtree(folder)
        (Path(temporary) / "digits").rename(folder)
    print(f"{folder}: " + ", ".join(f"{count:,} {split}" for split, count in counts.items()) + " images")


COMMANDS = {
    "check": Command(check_data_set, CheckOptions, "look for bad images, faulty labels, duplicates and imbalance"),
    "convert": Command(convert_data_set, ConvertOptions, "write boxes and pictures in the format of COCO, VOC or YOLO"),
    "digits": Command(write_digits, DigitsOptions, "write handwritten digits as a folder of pictures"),
}
