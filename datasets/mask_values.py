"""Reading the values of a mask's file, whatever its mode."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .images import picture_formats
from .sample import DataError

Color = tuple[int, int, int]

MAX_VALUE = 65535
"""Of a mask of 16 bits."""


def read_values(path: Path, colors: Mapping[Color, int] | None) -> NDArray[np.int64]:
    """Return a mask's values, ``[H, W]``.

    Raises:
        DataError: The file is missing, damaged, a JPEG, or in colours of which no list is known or which aren't in it.
    """
    try:
        with Image.open(path, formats=picture_formats()) as opened:
            image: Image.Image = opened
            if opened.format == "JPEG":
                raise DataError(f"{path}: a mask can't be a JPEG, whose compression changes values. Save it as PNG.")
            if image.mode in ("RGB", "RGBA"):
                return _values_of_colors(np.asarray(image.convert("RGB")), path, colors)
            if image.mode == "LA":
                image = image.getchannel(0)
            if image.mode not in ("1", "L", "P", "I") and not image.mode.startswith("I;16"):
                raise DataError(f"{path}: a mask of mode {image.mode} has no values for classes. Save it as grey PNG.")
            return _in_range(np.asarray(image).astype(np.int64), path)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: the mask is missing; there is no such file.") from error
    except Exception as error:  # damage can raise nearly anything from Pillow's format readers
        raise DataError(f"{path}: the mask can't be read, it is damaged or no picture ({error}).") from error


def _in_range(values: NDArray[np.int64], path: Path) -> NDArray[np.int64]:
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > MAX_VALUE:
        raise DataError(
            f"{path}: the mask has values from {lowest} to {highest}; they are numbers from 0 to {MAX_VALUE}."
        )
    return values


def _values_of_colors(pixels: NDArray[np.uint8], path: Path, colors: Mapping[Color, int] | None) -> NDArray[np.int64]:
    if colors is None:
        if (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all():
            return pixels[..., 0].astype(np.int64)  # grey that was saved with three channels
        raise DataError(
            f"{path}: this mask is in RGB colours, and nothing says which colour is which class. Put a file "
            "classes.txt with a line 'R G B name' for each into the data set's folder, or save masks of class values."
        )
    packed = pixels.astype(np.int64) @ np.array([65536, 256, 1])
    known = np.array([red * 65536 + green * 256 + blue for red, green, blue in colors])
    order = np.argsort(known)
    places = np.searchsorted(known[order], packed).clip(max=len(known) - 1)
    values: NDArray[np.int64] = np.array(list(colors.values()), dtype=np.int64)[order][places]
    if (wrong := known[order][places] != packed).any():
        code = int(packed[wrong][0])
        raise DataError(f"{path}: the colour {code >> 16} {code >> 8 & 255} {code & 255} isn't in the list of classes.")
    return values


def check_size(path: Path, shape: Sequence[int], size: tuple[int, int]) -> None:
    """Refuse a mask that is larger or smaller than its picture.

    Raises:
        DataError: Naming both sizes; and EXIF where a turn explains the difference.
    """
    if tuple(shape) == size:
        return
    turned = " It fits the picture as it is stored, before its EXIF rotation." if tuple(shape) == size[::-1] else ""
    raise DataError(
        f"{path}: the mask has {shape[1]} x {shape[0]} pixels, its picture {size[1]} x {size[0]}.{turned} They have to "
        "be alike."
    )
