"""The command ``onetrunk data digits``."""

from dataclasses import dataclass
from pathlib import Path

from .written_folder import writing_folder


@dataclass(kw_only=True)
class DigitsOptions:
    """Write scikit-learn's handwritten digits as a folder of pictures."""

    output: str
    """The folder to write."""
    size: int = 32
    """Height and width of the pictures in pixels, 1 to 1,024; the originals have 8."""
    overwrite: bool = False
    """Delete the folder first, if it holds digits."""


def write_digits(options: DigitsOptions) -> None:
    """Write 1,797 digits as class folders under ``train`` and ``val``, for trying things without a network.

    Raises:
        UserError: If the size is out of range, or the folder exists, and isn't one of digits that may be overwritten.
    """
    from ... import datasets
    from ...datasets.digits import check_digits

    check_digits(size=options.size)
    folder = Path(options.output)
    with writing_folder(folder, what="digits", overwrite=options.overwrite) as written:
        counts = datasets.write_digits(written, size=options.size)
    print(f"{folder}: " + ", ".join(f"{count:,} {split}" for split, count in counts.items()) + " images")
