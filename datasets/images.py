"""Reading pictures: every mode that Pillow knows becomes RGB or grey by a stated rule, and a bad file is named.

The rules of ``read_image``:

- the EXIF orientation is applied;
- transparency (LA, PA, RGBA, a transparent palette entry or colour) is laid over white;
- 16-bit grey (I;16, I) is divided by 257, so that 0..65535 becomes 0..255, the same for every picture; colour with
  16 bits a channel arrives from Pillow as the high byte;
- floating point grey (F) holds 0..1, as in scikit-image;
- values outside these ranges are refused rather than clipped or stretched;
- 1-bit, grey, palette, CMYK, YCbCr, LAB and HSV go through Pillow's own conversion, colour profiles are not applied;
- of animations and multi-page files the first picture is read.
"""

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from .boxes import boxes_fault
from .many_files import look_at_files
from .sample import BadSample, DataError, Record

IMAGE_EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
)
"""The endings, in lower case, by which pictures are found in folders."""

MAX_PIXELS = 178_956_970
"""The largest picture that is read, about 13,377 x 13,377: where Pillow's guard against decompression bombs stands."""

# Others that Pillow knows are left out: EPS starts Ghostscript, and text files pass for XPM or PCD.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")

_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation (Exif 2.32, tag 274); 1 and anything unknown stay as they are."""

# The last bytes of a whole file, by format. Files with something behind the end are decoded to find out.
_END_MARKERS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"\x00\x00\x00\x00IEND\xaeB`\x82"}


@dataclass(frozen=True)
class ImageFacts:
    """What decoding a picture tells of its file."""

    digest: bytes
    """The SHA-256 of the file's content."""
    format: str
    """Pillow's name of the format, which the content decides, not the ending."""
    mode: str
    """Pillow's mode of the picture as it is stored, such as ``RGB``, ``CMYK`` or ``I;16``."""
    width: int
    """Of the upright picture, in pixels."""
    height: int
    is_reoriented: bool
    """Whether its EXIF orientation turns or mirrors it."""
    has_more_pictures: bool
    """Whether the file is animated or has several pages; the first picture is read."""
    highest: int
    """The highest value of all channels once it was read, 0..255."""


def inspect_image(path: Path | str) -> ImageFacts:
    """Decode a whole picture as ``read_image`` does, and tell what was found.

    Raises:
        DataError: As ``read_image``.
    """
    content = read_file(path)
    with _open(io.BytesIO(content), path) as image:
        mode = image.mode
        # Pillow's TIFF reader turns the picture while it decodes it, and removes the tag; other readers may decode it
        # to find the tag, and so would hide a damage here
        orientation = _orientation(image) if image.format == "TIFF" else None
        _decode(image, path)
        grey = _flatten(image, "L", path)
        upright = _upright(grey, image)
        return ImageFacts(
            digest=hashlib.sha256(content).digest(),
            format=image.format or "",
            mode=mode,
            width=upright.width,
            height=upright.height,
            is_reoriented=(orientation or _orientation(image)) in _ORIENTATIONS,
            has_more_pictures=_has_more_pictures(image),
            highest=int(np.asarray(grey).max()),
        )


def read_image(path: Path | str, *, channels: int = 3) -> Image.Image:
    """Read a picture upright, as RGB or grey.

    Args:
        path: The file. Its content decides the format, not its ending.
        channels: 3 for mode ``RGB``, 1 for mode ``L``.

    Raises:
        DataError: Naming the file, where it is missing, empty, no picture, truncated, or larger than ``MAX_PIXELS``.
    """
    return decode_image(read_file(path), path, channels=channels)


def read_file(path: Path | str) -> bytes:
    """Return what a file holds.

    Raises:
        DataError: Naming the file, where it is missing or empty.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise _file_error(path, error) from error
    _check_size(len(content), path)
    return content


def decode_image(content: bytes, path: Path | str, *, channels: int = 3) -> Image.Image:
    """Return the picture in a file's content upright, as RGB or grey.

    Args:
        content: As ``read_file`` gives it.
        path: The file, for messages.
        channels: 3 for mode ``RGB``, 1 for mode ``L``.

    Raises:
        DataError: As ``read_image``.
    """
    if channels not in (1, 3):
        raise DataError(f"Pictures are read with 1 or 3 channels, not {channels}.")
    with _open(io.BytesIO(content), path) as image:
        return convert_image(image, path, channels=channels)


def convert_image(image: Image.Image, name: Path | str, *, channels: int = 3) -> Image.Image:
    """Return a picture of any mode upright, as RGB or grey, as ``read_image`` does with that of a file.

    Args:
        image: The picture, whose file, if it has one, can still be read.
        name: What messages call it.
        channels: 3 for mode ``RGB``, 1 for mode ``L``.

    Raises:
        DataError: It is truncated, or its values are outside the range of its mode.
    """
    _decode(image, name)
    return _upright(_flatten(image, "RGB" if channels == 3 else "L", name), image)


def picture_size(path: Path | str) -> tuple[int, int]:
    """Return height and width of the upright picture, reading no more than the file's header.

    Raises:
        DataError: As ``read_image``, as far as the header tells.
    """
    try:
        with Path(path).open("rb") as file:
            _check_size(file.seek(0, os.SEEK_END), path)
            file.seek(0)
            with _open(file, path) as image:
                is_turned = _orientation(image) in (5, 6, 7, 8)
                return (image.width, image.height) if is_turned else (image.height, image.width)
    except OSError as error:
        raise _file_error(path, error) from error


def check_image(path: Path | str) -> str | None:
    """Return why a picture can't be read, or None; reads only its head and tail where these settle it.

    A JPEG or PNG whose header can be read and whose last bytes are the format's end marker passes; any other file is
    decoded. Damage in the middle of a file that has kept its end is therefore found only when it is read.
    """
    try:
        with Path(path).open("rb") as file:
            if not _has_sound_ends(file, path):
                read_image(path)
    except OSError as error:
        return str(_file_error(path, error))
    except DataError as error:
        return str(error)
    return None


def find_bad_images(records: Sequence[Record], *, workers: int = 8) -> list[BadSample]:
    """Check every record, in threads where that is faster, and return the bad ones in the records' order.

    Their pictures are checked with ``check_image``; masks were read before and say what is wrong with them, and boxes
    and objects have to be those of the picture.
    """
    picture_formats()  # what is loaded once doesn't make the first files seem slow
    reasons = look_at_files(_check_record, records, workers=workers)
    return [
        BadSample(index=index, name=record.name, path=record.path, reason=reason)
        for index, (record, reason) in enumerate(zip(records, reasons, strict=True))
        if reason is not None
    ]


def _check_record(record: Record) -> str | None:
    reason = check_image(record.path)
    if reason is None and "mask" in record.targets:
        fault: str | None = record.targets["mask"].fault_in(picture_size(record.path))
        return fault
    if reason is None and "objects" in record.targets:
        misfit: str | None = record.targets["objects"].misfit(picture_size(record.path))
        return f"{record.path}: {misfit}" if misfit else None
    if reason is None and "boxes" in record.targets:
        return boxes_fault(record.targets["boxes"], picture_size(record.path), str(record.path))
    return reason


@cache
def picture_formats() -> tuple[str, ...]:
    """Return those of Pillow's formats that are read, as far as this Pillow has them."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _check_size(size: int, path: Path | str) -> None:
    if size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes).")


def _file_error(path: Path | str, error: OSError) -> DataError:
    reason = "there is no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()
    return DataError(f"{path}: {reason}.")


def _open(file: io.BufferedReader | io.BytesIO, path: Path | str) -> Image.Image:
    """Read a picture's header."""
    try:
        return Image.open(file, formats=picture_formats())
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path}: the picture is larger than {MAX_PIXELS:,} pixels (about 13,377 x 13,377). Make it smaller first."
        ) from error
    except UnidentifiedImageError as error:
        file.seek(0)
        found = "it looks like text" if _is_text(file.read(512)) else "its content is of no known picture format"
        raise DataError(f"{path}: this is no picture, {found}.") from error
    except Exception as error:  # a damaged header can raise nearly anything from Pillow's format readers
        raise DataError(f"{path}: the picture's header can't be read ({error}).") from error


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", errors="ignore")
    # up to three bytes may be lost: a character that the end of the excerpt cuts in two
    is_whole = len(text.encode()) >= len(head) - 3
    return is_whole and all(letter.isprintable() or letter.isspace() for letter in text)


def _decode(image: Image.Image, path: Path | str) -> None:
    try:
        image.load()
    except Exception as error:  # damage can raise nearly anything from Pillow's format readers
        raise DataError(f"{path}: the picture can't be decoded, it is damaged or truncated ({error}).") from error


def _flatten(image: Image.Image, mode: str, path: Path | str) -> Image.Image:
    """Return the picture in mode ``RGB`` or ``L`` by the module's rules."""
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _scaled_to_bytes(image, path)
    elif image.has_transparency_data:
        overlay = image.convert("RGBA")
        white = Image.new("RGBA", overlay.size, "white")
        image = Image.alpha_composite(white, overlay)
    if mode == "L" and image.mode in ("LAB", "HSV", "CMYK", "YCbCr"):
        image = image.convert("RGB")  # Pillow has no direct way for some of these
    return image.convert(mode)


def _scaled_to_bytes(image: Image.Image, path: Path | str) -> Image.Image:
    """Return a grey picture of 16 bits or of floats as mode ``L``."""
    values = np.asarray(image)
    highest = 1 if image.mode == "F" else 65535
    # not (a and b): NaN fails both comparisons
    if not (values.min() >= 0 and values.max() <= highest):
        raise DataError(
            f"{path}: a picture of mode {image.mode} holds values from 0 to {highest}, this one from {values.min()} to "
            f"{values.max()}. Rescale it first."
        )
    scaled = values * 255.0 if image.mode == "F" else values / 257.0
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _upright(image: Image.Image, source: Image.Image) -> Image.Image:
    """Undo the EXIF orientation of ``source``, whose TIFF reader has then done so itself and removed the tag."""
    transpose = _ORIENTATIONS.get(_orientation(source))
    return image if transpose is None else image.transpose(transpose)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata is no reason to refuse a sound picture
        return 1


def _has_more_pictures(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # there is a second one, but damaged; only the first is read
        return True


def _has_sound_ends(file: io.BufferedReader, path: Path | str) -> bool:
    """Whether a file's header can be read and its last bytes are what its format ends with."""
    size = file.seek(0, os.SEEK_END)
    _check_size(size, path)
    file.seek(0)
    marker = _END_MARKERS.get(_open(file, path).format or "")
    if marker is None:
        return False
    file.seek(max(0, size - len(marker)))
    return file.read() == marker
