"""Masks: for each pixel of a picture its class.

A mask is a PNG, or another lossless file, of the picture's size whose values stand for classes: a grey picture's
values, a palette picture's indices (not its colours), or colours that a list of classes names. JPEG is refused: its
compression changes values.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backbones.errors import did_you_mean
from .file_state import hash_file
from .mask_values import MAX_VALUE, Color, check_size, read_values
from .sample import IGNORED, DataError

MAX_CLASSES = 255
"""The most classes of a segmentation: masks hold indices of 8 bits, of which 255 is ``IGNORED``."""

IGNORED_NAMES = frozenset({"void", "ignore", "ignored", "unlabelled", "unlabeled"})
"""Names in lists of classes, in lower case, of pixels that count for nothing."""

BACKGROUND = "background"
"""The class of what nothing covers, where a mask is made of regions or has two values only."""

_SHOWN_VALUES = 8


class MaskSource(ABC):
    """What a record knows of its mask.

    Attributes:
        pixels: How many pixels of each class there are, of ignored ones under ``""``; empty where it isn't known.
        fault: Why the mask can't be used, a full sentence that names the file; None for a sound one.
    """

    pixels: Mapping[str, int]
    fault: str | None = None

    @property
    def area(self) -> int:
        """How many pixels aren't ignored, each counted once; 0 where it isn't known."""
        return sum(self.pixels.values()) - self.pixels.get("", 0)

    def fault_in(self, size: tuple[int, int]) -> str | None:
        """Return why the mask can't be used with a picture of that height and width, as far as that is known."""
        return self.fault

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
        table = np.full(MAX_VALUE + 1, -1, dtype=np.int16)
        for value, name in self.names.items():
            table[value] = places.get(name, -1)
        table[[value for value in self.ignored if value not in self.names]] = IGNORED
        return table

    def identity(self) -> Any:
        """Return plain values that tell this coding from others."""
        return [sorted(self.names.items()), sorted(self.ignored), sorted((self.colors or {}).items())]


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
        area: How many pixels the picture has.
        known: The classes that the data set has; where others are of none of them isn't known.
    """

    paths: Mapping[str, Path]
    pixels: Mapping[str, int] = field(default_factory=dict)
    fault: str | None = None
    area: int = 0
    known: tuple[str, ...] | None = None

    def read(self, classes: Sequence[str], size: tuple[int, int]) -> Tensor:
        """See the base class; ``[K, H, W]`` of 0 and 1."""
        if self.fault is not None:
            raise DataError(self.fault)
        mask = torch.zeros((len(classes), *size), dtype=torch.uint8)
        if self.known is not None:  # a class that this data set doesn't have may be anywhere
            mask[[place for place, name in enumerate(classes) if name not in self.known]] = IGNORED
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

    def fault_in(self, size: tuple[int, int]) -> str | None:
        """See the base class."""
        if self.fault is not None or self.size == size:
            return self.fault
        return (
            f"{self.source}: image {self.image_id} is annotated as {self.size[1]} x {self.size[0]} pixels, but its "
            f"file has {size[1]} x {size[0]} (upright). Annotate the picture that is there."
        )

    def read(self, classes: Sequence[str], size: tuple[int, int]) -> Tensor:
        """See the base class; what no region covers is ``background``, or none of several classes."""
        from pycocotools import mask as coco_mask

        if fault := self.fault_in(size):
            raise DataError(fault)
        if self.is_multi_label:
            drawn = torch.zeros((len(classes), *size), dtype=torch.uint8)
        else:
            drawn = torch.full(size, _place_of(BACKGROUND, classes, self.source), dtype=torch.uint8)
        for region in sorted(self.regions, key=lambda each: (not each.is_stuff, -each.area)):
            place = _place_of(region.name, classes, self.source)
            inside = torch.from_numpy(coco_mask.decode({"size": list(size), "counts": region.counts}).astype(bool))
            if self.is_multi_label:
                drawn[place][inside] = 1
            else:
                drawn[inside] = place
        return drawn

    @property
    def area(self) -> int:
        """How many pixels the picture has."""
        return self.size[0] * self.size[1]

    @cached_property
    def pixels(self) -> Mapping[str, int]:  # type: ignore[override]
        """The areas of the regions, of each class; where they overlap they count for both. And what none covers."""
        from pycocotools import mask as coco_mask

        found: dict[str, int] = {}
        for region in self.regions:
            found[region.name] = found.get(region.name, 0) + region.area
        if not self.is_multi_label:
            codes = [{"size": list(self.size), "counts": region.counts} for region in self.regions]
            covered = int(coco_mask.area(coco_mask.merge(codes))) if codes else 0
            found[BACKGROUND] = found.get(BACKGROUND, 0) + self.size[0] * self.size[1] - covered
        return found

    def identity(self) -> Any:
        """Return the regions."""
        return [list(self.size), [[region.name, region.counts, region.is_stuff] for region in self.regions]]


def _place_of(name: str, classes: Sequence[str], source: Path) -> int:
    if name not in classes:
        raise DataError(f"{source}: the class '{name}' isn't one of those known here.{did_you_mean(name, classes)}")
    return list(classes).index(name)


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
