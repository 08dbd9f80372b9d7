"""The command ``onetrunk data digits``."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from ...backbones.errors import UserError
from ..cli import Command


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
        UserError: If the folder isn't empty.
    """
    from ... import datasets

    folder = Path(options.output)
    if folder.is_dir() and any(folder.iterdir()):
        if not (options.overwrite and {entry.name for entry in folder.iterdir()} == {"train", "val"}):
            raise UserError(f"'{folder}' isn't empty. Choose another folder, or replace digits in it: --overwrite.")
        shutil.rmtree(folder)
    counts = datasets.write_digits(folder, size=options.size)
    print(f"{folder}: " + ", ".join(f"{count:,} {split}" for split, count in counts.items()) + " images")


COMMANDS = {"digits": Command(write_digits, DigitsOptions, "write handwritten digits as a folder of pictures")}
