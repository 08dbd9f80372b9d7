"""Masks: for each pixel of a picture its class.

A mask is a PNG, or another lossless file, of the picture's size whose values stand for classes: a grey picture's
values, a palette picture's indices (not its colours), or colours that a list of classes names. JPEG is refused: its
compression changes values.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..backbones.errors import did_you_mean
from .file_state import hash_file
from .sample import IGNORED, DataError

Color = tuple[int, int, int]

MAX_CLASSES = 255
"""The most classes of a segmentation: masks hold indices of 8 bits, of which 255 is ``IGNORED``."""

IGNORED_NAMES = frozenset({"void", "ignore", "ignored", "unlabelled", "unlabeled"})
"""Names in lists of classes, in lower case, of pixels that count for nothing."""

_SHOWN_VALUES = 8


class MaskSource(ABC):
    """What a record knows of its mask.

    Attributes:
        pixels: How many pixels of each class there are, of ignored ones under ``""``; empty where it isn't known.
        fault: Why the mask can't be used, a full sentence that names the file; None for a sound one.
    """

    pixels: Mapping[str, int]
    fault: str | None = None

    @abstractmethod
    def read(self, classes: Sequence[str], size: tuple[int, int]) -> Tensor:
        """Return the mask, uint8 ``[H, W]`` or ``[K, H, W]``, of a picture's size.

        Args:
            classes: Their order gives the values.
            size: Height and width of the upright picture.

        Raises:
            DataError: It can't be used; see ``fault``.
        """

    @abstractmethod
    def identity(self) -> Any:
        """Return plain values that tell this mask from others, for fingerprints."""


@dataclass(frozen=True)
class MaskCoding:
    """What the values of a data set's masks stand for.

    Attributes:
        names: Value -> class.
        ignored: The values that count for nothing.
        colors: Colour -> value, for masks in colours; None where no list of colours is known.
    """

    names: Mapping[int, str]
    ignored: frozenset[int] = frozenset({IGNORED})
    colors: Mapping[Color, int] | None = None

    def table(self, classes: Sequence[str]) -> NDArray[np.int16]:
        """Return for each value the index of its class, ``IGNORED``, or -1 for a value without a meaning."""
        places = {name: place for place, name in enumerate(classes)}
        table = np.full(65536, -1, dtype=np.int16)
        for value, name in self.names.items():
            table[value] = places.get(name, -1)
        table[[value for value in self.ignored if value not in self.names]] = IGNORED
        return table

    def identity(self) -> Any:
        """Return plain values that tell this coding from others."""
        return [sorted(self.names.items()), sorted(self.ignored)]


@dataclass(frozen=True)
class MaskFile(MaskSource):
    """A mask in one file.

    Attributes:
        path: The file.
        coding: What its values stand for.
    """

    path: Path
    coding: MaskCoding
    pixels: Mapping[str, int] = field(default_factory=dict)
    fault: str | None = None

    def read(self, classes: Sequence[str], size: tuple[int, int]) -> Tensor:
        """See the base class."""
        if self.fault is not None:
            raise DataError(self.fault)
        values = read_values(self.path, self.coding.colors)
        check_size(self.path, values.shape, size)
        indices = self.coding.table(classes)[values]
        if (indices < 0).any():
            unknown = np.unique(values[indices < 0]).tolist()
            raise DataError(unknown_values(self.path, unknown, self.coding))
        return torch.from_numpy(indices.astype(np.uint8))

    def identity(self) -> Any:
        """Return the hash of the file, and what its values mean."""
        return [hash_file(self.path), self.coding.identity()]


@dataclass(frozen=True)
class ClassMaskFiles(MaskSource):
    """A mask of which a pixel may be of several classes: a file a class, whose values other than 0 belong to it.

    Attributes:
        paths: Class -> its file; of a class without one nothing is in the picture.
    """

    paths: Mapping[str, Path]
    pixels: Mapping[str, int] = field(default_factory=dict)
    fault: str | None = None

    def read(self, classes: Sequence[str], size: tuple[int, int]) -> Tensor:
        """See the base class; ``[K, H, W]`` of 0 and 1."""
        if self.fault is not None:
            raise DataError(self.fault)
        mask = torch.zeros((len(classes), *size), dtype=torch.uint8)
        for name, path in self.paths.items():
            values = read_values(path, None)
            check_size(path, values.shape, size)
            mask[_place_of(name, classes, path)] = torch.from_numpy(values != 0)
        return mask

    def identity(self) -> Any:
        """Return the hashes of the files."""
        return {name: hash_file(path) for name, path in sorted(self.paths.items())}


@dataclass(frozen=True)
class Region:
    """An annotated region of a picture.

    Attributes:
        name: Its class.
        counts: Its run-length code as pycocotools has it.
        area: In pixels.
        is_stuff: Whether it is background matter, over which objects lie.
    """

    name: str
    counts: str
    area: int
    is_stuff: bool = False


@dataclass(frozen=True)
class DrawnMask(MaskSource):
    """A mask made of regions: matter below, objects above it, the smaller ones over the larger.

    Attributes:
        regions: What is in the picture.
        size: Height and width that the annotation says the picture has.
        source: The annotation file, for messages.
        image_id: Of the picture, for messages.
        is_multi_label: Whether pixels keep all of their classes.
    """

    regions: tuple[Region, ...]
    size: tuple[int, int]
    source: Path
    image_id: int | str
    is_multi_label: bool = False
    fault: str | None = None

    def read(self, classes: Sequence[str], size: tuple[int, int]) -> Tensor:
        """See the base class; what no region covers is the first class, ``background``, or none of several."""
        from pycocotools import mask as coco_mask

        if self.fault is not None:
            raise DataError(self.fault)
        if self.size != size:
            raise DataError(
                f"{self.source}: image {self.image_id} is annotated as {self.size[1]} x {self.size[0]} pixels, but its "
                f"file has {size[1]} x {size[0]} (upright). Annotate the picture that is there."
            )
        drawn = torch.zeros((len(classes), *size) if self.is_multi_label else size, dtype=torch.uint8)
        for region in sorted(self.regions, key=lambda each: (not each.is_stuff, -each.area)):
            place = _place_of(region.name, classes, self.source)
            inside = torch.from_numpy(coco_mask.decode({"size": list(size), "counts": region.counts}).astype(bool))
            if self.is_multi_label:
                drawn[place][inside] = 1
            else:
                drawn[inside] = place
        return drawn

    @cached_property
    def pixels(self) -> Mapping[str, int]:  # type: ignore[override]
        """The areas of the regions, of each class; where they overlap they count for both."""
        found: dict[str, int] = {}
        for region in self.regions:
            found[region.name] = found.get(region.name, 0) + region.area
        if not self.is_multi_label:
            found["background"] = max(0, self.size[0] * self.size[1] - sum(found.values()))
        return found

    def identity(self) -> Any:
        """Return the regions."""
        return json.dumps([[region.name, region.counts] for region in self.regions])


def _place_of(name: str, classes: Sequence[str], source: Path) -> int:
    if name not in classes:
        raise DataError(f"{source}: the class '{name}' isn't one of those known here.{did_you_mean(name, classes)}")
    return list(classes).index(name)


def read_values(path: Path, colors: Mapping[Color, int] | None) -> NDArray[np.int64]:
    """Return a mask's values, ``[H, W]``.

    Raises:
        DataError: The file is missing, damaged, a JPEG, or in colours of which no list is known or which aren't in it.
    """
    try:
        with Image.open(path) as image:
            if image.format == "JPEG":
                raise DataError(f"{path}: a mask can't be a JPEG, whose compression changes values. Save it as PNG.")
            if image.mode in ("RGB", "RGBA"):
                return _values_of_colors(np.asarray(image.convert("RGB")), path, colors)
            if image.mode == "LA":
                image = image.getchannel(0)  # noqa: PLW2901
            if image.mode not in ("1", "L", "P", "I") and not image.mode.startswith("I;16"):
                raise DataError(f"{path}: a mask of mode {image.mode} has no values for classes. Save it as grey PNG.")
            return np.asarray(image).astype(np.int64)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: the mask is missing; there is no such file.") from error
    except Exception as error:  # damage can raise nearly anything from Pillow's format readers
        raise DataError(f"{path}: the mask can't be read, it is damaged or no picture ({error}).") from error


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
    values = np.array(list(colors.values()))[order][places]
    if (wrong := known[order][places] != packed).any():
        code = int(packed[wrong][0])
        raise DataError(f"{path}: the colour {code >> 16} {code >> 8 & 255} {code & 255} isn't in the list of classes.")
    return values.astype(np.int64)


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


def unknown_values(path: Path, values: Iterable[int], coding: MaskCoding) -> str:
    """Return the sentence about values of a mask that stand for nothing."""
    found = list(values)
    shown = ", ".join(map(str, found[:_SHOWN_VALUES])) + (", ..." if len(found) > _SHOWN_VALUES else "")
    known = sorted(coding.names)
    span = f"{known[0]} to {known[-1]}" if known == list(range(known[0], known[-1] + 1)) else ", ".join(map(str, known))
    ignored = ", ".join(map(str, sorted(coding.ignored - coding.names.keys())))
    also = f" and {ignored} (ignored)" if ignored else ""
    return (
        f"{path}: the mask has the value{'s' * (len(found) > 1)} {shown}, which no class has; known are {span}{also}."
    )
