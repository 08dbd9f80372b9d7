"""The handwritten digits that scikit-learn ships, as an image folder: a real data set that needs no network."""

from pathlib import Path

import numpy as np
from PIL import Image

from .sample import DataError, Record
from .splits import stratified_split

_MOST = 1024
"""Pixels a side; the originals have 8."""


def check_digits(*, size: int) -> None:
    """Refuse what ``write_digits`` can't write, before anything is.

    Raises:
        DataError: The size is out of range.
    """
    if not 1 <= size <= _MOST:
        raise DataError(f"Digits of {size} x {size} pixels can't be written: choose a size from 1 to {_MOST:,}.")


def write_digits(folder: Path | str, *, size: int = 32) -> dict[str, int]:
    """Write the 1,797 digits as grey PNG files: ``train/0/0000.png``, ``val/0/0010.png`` and so on.

    They are 8 x 8 pixels of 0 to 16 (Alpaydin and Kaynak, UCI repository 1998, its test part), enlarged bicubically
    here. A fifth of each class, always the same, is ``val``.

    Args:
        folder: Made if need be; it has to be empty.
        size: Height and width of the files.

    Returns:
        The number of pictures in each split.

    Raises:
        DataError: The folder holds something, or there can't be pictures of this size.
    """
    from sklearn.datasets import load_digits

    check_digits(size=size)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: the digits are written into an empty folder only.")
    digits = load_digits()
    records = [
        Record(folder, {"label": str(label)}, f"{label}/{index:04}.png") for index, label in enumerate(digits.target)
    ]
    images = dict(zip((record.name for record in records), digits.images, strict=True))
    splits = stratified_split(records, fraction=0.2, seed=0)
    for split, members in splits.items():
        for record in members:
            path = folder / split / record.name
            path.parent.mkdir(parents=True, exist_ok=True)
            grey = np.rint(images[record.name] * (255 / 16)).astype(np.uint8)
            Image.fromarray(grey).resize((size, size), Image.Resampling.BICUBIC).save(path)
    return {split: len(members) for split, members in splits.items()}
