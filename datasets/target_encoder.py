"""From a record's names, boxes and masks to tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat, Mask, TVTensor

from ..backbones.errors import did_you_mean
from .boxes import Box, boxes_fault
from .objects import Objects, encode_objects, settle_objects
from .regions import draw_regions
from .sample import TEXT_KEYS, DataError, Record

_MASK_HINT = " What values of masks are called a list of classes says, a file classes.txt beside the pictures."


class TargetEncoder:
    """Turns the class names of a record into tensors, in the order of the classes it was made for."""

    def __init__(self, classes: Sequence[str], *, draws_regions: bool = False) -> None:
        """Keep what targets are made by.

        Args:
            classes: The class names in the order of their indices.
            draws_regions: Whether objects have masks; a picture without objects then has none of them.
        """
        self.classes = tuple(classes)
        self.draws_regions = draws_regions
        self._index = {name: index for index, name in enumerate(self.classes)}

    @classmethod
    def fitting(cls, records: Sequence[Record], classes: Sequence[str]) -> "TargetEncoder":
        """Return the encoder of some records: objects have masks if any record says regions of them."""
        found = (record.targets["objects"] for record in records if "objects" in record.targets)
        return cls(classes, draws_regions=any(objects.regions for objects in found))

    def __call__(self, record: Record) -> dict[str, Any]:
        """Return the record's targets as the module's table says.

        Raises:
            DataError: A class that isn't among ``classes``, naming the image.
        """
        encoded: dict[str, Any] = {key: record.targets[key] for key in TEXT_KEYS if key in record.targets}
        if "label" in record.targets:
            encoded["label"] = torch.tensor(self._find(record.targets["label"], record), dtype=torch.int64)
        if "labels" in record.targets:
            holds = torch.zeros(len(self.classes), dtype=torch.float32)
            holds[[self._find(name, record) for name in record.targets["labels"]]] = 1
            encoded["labels"] = holds
        if "objects" in record.targets:
            encoded |= encode_objects(record.targets["objects"], self._index)
        return encoded

    def spatial(self, record: Record, size: tuple[int, int]) -> dict[str, TVTensor]:
        """Return what of the record's targets moves with the picture: ``mask``, ``boxes`` and ``masks``.

        Args:
            record: The record.
            size: Height and width of the upright picture, in pixels.

        Raises:
            DataError: A mask can't be read or has another size, or a box has no area or reaches out of the picture;
                naming it.
        """
        found: dict[str, TVTensor] = {}
        if "mask" in record.targets:
            found["mask"] = Mask(record.targets["mask"].read(self.classes, size))
        if "boxes" in record.targets:
            if fault := boxes_fault(record.targets["boxes"], size, str(record.path)):
                raise DataError(fault)
            found["boxes"] = _bounding_boxes(record.targets["boxes"], size)
        if "objects" in record.targets:
            objects: Objects = record.targets["objects"]
            if fault := objects.misfit(size):
                raise DataError(f"{record.path}: {fault}")
            sound = [objects.boxes[place] for place in objects.sound]
            found["boxes"] = _bounding_boxes(sound, size)
            if self.draws_regions:
                found["masks"] = _region_masks(objects, size)
        return found

    def join(self, record: Record, placed: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return all targets of a record, as ``sample.py`` describes them, with those that a transform has placed.

        Args:
            record: The record.
            placed: What a transform made of ``spatial``, by the same keys and by those in front of which is ``full_``.
        """
        targets = {**self(record), **placed}
        return settle_objects(targets) if "objects" in record.targets else targets

    def recipe(self) -> dict[str, Any]:
        """Return plain values: what moved targets are a function of, besides the records."""
        return {"classes": list(self.classes), "regions": self.draws_regions}

    def tasks_of(self, record: Record) -> tuple[str, ...]:
        """Return the tasks of which something is known of the record; none are told apart here."""
        return ()

    def check(self, records: Sequence[Record]) -> None:
        """Raise the ``DataError`` of the first record whose class isn't known, before any image is read."""
        for record in records:
            for name in (record.targets.get("label"), *record.targets.get("labels", ())):
                if name is not None:
                    self._find(name, record)

    def _find(self, name: str, record: Record) -> int:
        if name not in self._index:
            known = ", ".join(self.classes[:20]) + (", ..." if len(self.classes) > 20 else "")
            raise DataError(
                f"{record.path}: the class '{name}' isn't one of the {len(self.classes)} known here: {known}."
                f"{did_you_mean(name, self.classes)}{_MASK_HINT if 'mask' in record.targets else ''}"
            )
        return self._index[name]


def _region_masks(objects: Objects, size: tuple[int, int]) -> Mask:
    try:
        return Mask(draw_regions(objects, size))
    except ValueError as error:
        raise DataError(str(error)) from error


def _bounding_boxes(boxes: Sequence[Box], size: tuple[int, int]) -> BoundingBoxes:
    """Return boxes as torchvision moves them, cut off at the edges of the picture."""
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    corners = corners.clamp(min=0).minimum(torch.tensor([size[1], size[0]] * 2))
    return BoundingBoxes(corners, format=BoundingBoxFormat.XYXY, canvas_size=size)
