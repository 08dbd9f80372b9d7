"""Objects in a picture: any number of boxes of any classes, with what annotations say of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .boxes import Box, box_fault, outside_share

#: The share of a box that has to lie in its picture. Annotators draw over the edge by some pixels, and such boxes are
#: cut off there; one of which less is to be seen belongs to another picture, or to this one before it was turned.
_SHOWN = 0.5

#: The shortest side in pixels of the canvas of an object that is trained on; of less nothing is left to be seen.
_LEAST_SIDE = 1.0

#: Boxes without an area that a note names.
_LISTED = 3
#: The boxes as they were read, between ``encode_objects`` and ``settle_objects``.
_READ = "read_boxes"


@dataclass(frozen=True)
class Objects:
    """All objects that a picture's annotation names; a record's ``objects`` (``sample.py``).

    The tuples have an entry for each object, in the annotation's order, or are empty where nothing is known.

    Attributes:
        boxes: Left, top, right, bottom in pixels of the upright picture, the upper bounds exclusive; as they were
            read, without area or over the edge of the picture as well.
        names: The classes.
        ignored: Whether an object is neither learned nor asked for: COCO's crowds, VOC's ``difficult``, WIDER's
            ``invalid``. What is found there is neither right nor wrong. Empty: none.
        areas: In pixels, where the annotation says other ones than the boxes', as COCO does of regions, else None; by
            them COCO tells small objects from large ones.
        regions: What COCO calls ``segmentation``, polygons or run lengths as they were read; None where there is none.
        sets: In which of WIDER FACE's sets an object is: 1 easy, 2 medium, 4 hard, added up.
        places: Where each object stands in the annotation, such as ``object 3``, for messages.
        source: The file of the annotation, for messages.
        size: Height and width of the picture, where the annotation says them.
        image_id: What COCO files call the picture.
    """

    boxes: tuple[Box, ...] = ()
    names: tuple[str, ...] = ()
    ignored: tuple[bool, ...] = ()
    areas: tuple[float | None, ...] = ()
    regions: tuple[Any, ...] = ()
    sets: tuple[int, ...] = ()
    places: tuple[str, ...] = ()
    source: str = ""
    size: tuple[int, int] | None = None
    image_id: int | str | None = None

    def __len__(self) -> int:
        """Return the number of objects, those without an area too."""
        return len(self.boxes)

    @property
    def sound(self) -> tuple[int, ...]:
        """The places of the objects whose boxes have an area."""
        return tuple(place for place, box in enumerate(self.boxes) if box_fault(box, "") is None)

    @property
    def unsound(self) -> tuple[int, ...]:
        """The places of the others, which no head learns and no figure counts."""
        return tuple(sorted({*range(len(self))} - {*self.sound}))

    @property
    def learned(self) -> tuple[int, ...]:
        """The places of the sound objects that aren't ignored."""
        return tuple(place for place in self.sound if not (self.ignored and self.ignored[place]))

    @property
    def labels(self) -> tuple[str, ...]:
        """The sorted classes of the objects that are learned, each once."""
        return tuple(sorted({self.names[place] for place in self.learned}))

    def where(self, place: int) -> str:
        """Return where an object stands, for a message."""
        named = self.places[place] if self.places else f"object {place + 1}"
        return f"{self.source}: {named} ('{self.names[place]}')"

    def area(self, place: int) -> float:
        """Return the area of an object in pixels: what the annotation says, else that of its box."""
        stated = self.areas[place] if self.areas else None
        if stated is not None:
            return stated
        left, top, right, bottom = self.boxes[place]
        return (right - left) * (bottom - top)

    def faults(self) -> list[str]:
        """Return a sentence for each box that has no area or a bound that is no number."""
        found = (box_fault(box, self.where(place)) for place, box in enumerate(self.boxes))
        return [fault for fault in found if fault is not None]

    def misfit(self, size: tuple[int, int]) -> str | None:
        """Return why the objects can't be those of a picture of this size, or None.

        Args:
            size: Height and width of the upright picture, in pixels.
        """
        if self.size is not None and self.size != size:
            turned = " It is that of the picture as it is stored, before its EXIF rotation."
            hint = turned if self.size == size[::-1] else ""
            return (
                f"{self.source}: it is for a picture of {self.size[1]} x {self.size[0]} pixels, and this one has "
                f"{size[1]} x {size[0]}, so the boxes would be off their objects.{hint}"
            )
        for place in self.sound:
            if outside_share(self.boxes[place], size) > 1 - _SHOWN:
                left, top, right, bottom = (f"{side:g}" for side in self.boxes[place])
                return (
                    f"{self.where(place)}: the box {left}, {top}, {right}, {bottom} is more than half outside of the "
                    f"picture of {size[1]} x {size[0]} pixels."
                )
        return None

    def without_regions(self) -> "Objects":
        """Return the objects without their regions, for tasks that need boxes only."""
        return replace(self, regions=())

    def identity(self) -> dict[str, Any]:
        """Return what a fingerprint of the data is made of."""
        return {key: value for key, value in vars(self).items() if key not in ("source", "places")}


def note_objects(root: Path, splits: Mapping[str, Iterable[Any]]) -> list[str]:
    """Return notes on pictures without an object to learn, and on boxes without an area.

    Args:
        root: The data set's folder or file.
        splits: The records of each split.
    """
    found: list[Objects] = [record.targets["objects"] for records in splits.values() for record in records]
    notes = []
    if bare := sum(not objects.labels for objects in found):
        stay = "1 image without an object stays" if bare == 1 else f"{bare:,} images without an object stay"
        notes.append(f"{root}: {stay}, as nothing to be found is something to learn.")
    flat = [objects.where(place) for objects in found for place in objects.unsound]
    if flat:
        more = f" and {len(flat) - _LISTED:,} more" if len(flat) > _LISTED else ""
        what = "1 box without an area was" if len(flat) == 1 else f"{len(flat):,} boxes without an area were"
        notes.append(f"{root}: {what} left out: {', '.join(flat[:_LISTED])}{more}.")
    return notes


def encode_objects(objects: Objects, classes: Mapping[str, int]) -> dict[str, Tensor]:
    """Return what is known of the sound objects beside their boxes, see ``settle_objects``.

    Args:
        objects: Of a record.
        classes: The index of each class; one that isn't there, which only ignored objects may have, becomes -1.
    """
    sound = list(objects.sound)

    def pick(values: Sequence[Any], default: Any, dtype: torch.dtype) -> Tensor:
        return torch.tensor([values[place] if values else default for place in sound], dtype=dtype)

    return {
        "classes": torch.tensor([classes.get(objects.names[place], -1) for place in sound], dtype=torch.int64),
        "ignored": pick(objects.ignored, False, torch.bool),
        "areas": torch.tensor([objects.area(place) for place in sound], dtype=torch.float64),
        "sets": pick(objects.sets, 0, torch.int64),
        _READ: torch.tensor([objects.boxes[place] for place in sound], dtype=torch.float32).reshape(-1, 4),
    }


def settle_objects(targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the targets of a placed picture with objects as ``sample.py`` describes them.

    What is ignored, or was moved off the canvas, is left out of what the head learns; ``dropped`` counts the latter.
    For figures in pixels of the file (``full_*``) all sound objects stay.

    Args:
        targets: ``boxes`` as they lie on the canvas, with what ``encode_objects`` gave for the same objects in the same
            order; perhaps ``masks``, and ``full_boxes`` with ``full_masks``.
    """
    about = {key: targets.pop(key) for key in ("classes", "ignored", "areas", "sets")}
    read = targets.pop(_READ)
    boxes = targets["boxes"]
    is_seen = ((boxes[:, 2:] - boxes[:, :2]) >= _LEAST_SIDE).all(dim=1)
    kept = is_seen & ~about["ignored"]
    settled = {
        **targets,
        "boxes": boxes[kept],
        "classes": about["classes"][kept],
        "dropped": (~is_seen & ~about["ignored"]).sum(),
    }
    if "masks" in targets:
        settled["masks"] = targets["masks"][kept]
    if "full_boxes" in targets:
        # as they stand in the annotation, over the edge too, for so do the reference implementations measure them
        settled |= {"full_boxes": read} | {f"full_{key}": value for key, value in about.items()}
    return settled
