"""Which detections of an image are right, by the rules of COCO and of Pascal VOC.

COCO's are those of pycocotools (``COCOeval`` of boxes with its default parameters), which computes the overlaps here
too; VOC's are those of its development kit (Everingham 2010, section 4.2).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

#: The overlaps from which a detection may be right.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
#: COCO's sizes: from and to so many square pixels, both included.
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
#: So many detections of an image and class take part, the best ones.
MAX_PER_CLASS = 100

_LOWER, _UPPER = (np.array(bounds) for bounds in zip(*AREAS.values(), strict=True))
#: pycocotools' own: an overlap of 1 but for rounding reaches every threshold.
_REACHED = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)
_BITS = 1 << np.arange(len(IOU_THRESHOLDS))

#: What ``match_voc`` says of a detection.
NEITHER, WRONG, RIGHT = 0, 1, 2


@dataclass(frozen=True)
class Truths:
    """The objects of an image.

    Attributes:
        boxes: float64 ``[M, 4]``, ``xyxy`` in pixels.
        classes: int64 ``[M]``; -1 where only an ignored object has it.
        ignored: bool ``[M]``: what is found there is neither right nor wrong.
        areas: float64 ``[M]``, in square pixels.
    """

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    areas: NDArray[np.float64]

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which objects are to be found, ``[M, A]``, by the ranges of sizes."""
        return ~(self.ignored[:, None] | _is_outside(self.areas))


@dataclass(frozen=True)
class Found:
    """The detections of an image, the best first.

    Attributes:
        boxes: float64 ``[D, 4]``, ``xyxy`` in pixels.
        labels: int64 ``[D]``: their classes.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Matches:
    """What of an image's detections is right by COCO's rules.

    Attributes:
        right: uint16 ``[D, A]``: bit t is set where a detection has an object to itself at threshold t.
        ignored: uint16 ``[D, A]``: bit t is set where it is neither right nor wrong.
    """

    right: NDArray[np.uint16]
    ignored: NDArray[np.uint16]


def match_coco(found: Found, truths: Truths) -> Matches:
    """Match detections and objects at each threshold and for each range of sizes.

    A detection, the best first, takes the object of its class that it overlaps most among those still free; one
    that isn't to be found (a crowd, or of another size) only where there is no other. A crowd can be taken any number
    of times, and overlaps by the share of the detection that lies in it. What takes an object that isn't to be found is
    ignored, and so is what takes none and is of another size itself.
    """
    overlaps = np.zeros((len(found.boxes), len(truths.boxes)))
    if overlaps.size:
        overlaps = overlap(found.boxes, truths.boxes, truths.ignored)
    return match_overlaps(overlaps, found.labels, _sizes(found.boxes).prod(axis=1), truths)


def match_overlaps(
    overlaps: NDArray[np.float64], labels: NDArray[np.int64], areas: NDArray[np.float64], truths: Truths
) -> Matches:
    """Do what ``match_coco`` does for detections of whatever shape.

    Args:
        overlaps: ``[D, M]``, of crowds the share of the detection that lies in them.
        labels: ``[D]``: the classes of the detections, the best of which comes first.
        areas: ``[D]``, in square pixels.
        truths: The objects.
    """
    right = np.zeros((len(labels), len(AREAS), len(IOU_THRESHOLDS)), dtype=bool)
    ignored = np.zeros_like(right)
    if overlaps.size:
        _assign(np.where(labels[:, None] == truths.classes, overlaps, 0), truths, right, ignored)
    ignored |= _is_outside(areas)[:, :, None] & ~right
    return Matches(_pack(right), _pack(ignored))


def _assign(
    overlaps: NDArray[np.float64], truths: Truths, right: NDArray[np.bool_], ignored: NDArray[np.bool_]
) -> None:
    """Fill in ``[D, A, T]`` what is right, and what takes an object that isn't to be found."""
    near = overlaps >= _REACHED[0]
    counted = truths.counted
    is_simple = near.sum(axis=1) == 1
    # nor may the one object that a simple detection can take be within reach of one that isn't simple
    is_simple &= ~(near & near[~is_simple].any(axis=0)).any(axis=1)
    places = np.flatnonzero(is_simple)
    if len(places):
        taken = near[places].argmax(axis=1)
        takes = _take_in_turn(overlaps[places, taken], taken, truths.ignored[taken])
        right[places] = takes[:, None] & counted[taken, :, None]
        ignored[places] = takes[:, None] & ~counted[taken, :, None]
    _assign_others(overlaps, near & ~is_simple[:, None], truths, right, ignored)


def _take_in_turn(
    overlaps: NDArray[np.float64], taken: NDArray[np.intp], is_crowd: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return at which thresholds, ``[P, T]``, detections take the only object within their reach.

    Args:
        overlaps: ``[P]`` with that object; the best detection comes first.
        taken: ``[P]``: the object of each.
        is_crowd: ``[P]``: whether it can be taken any number of times.
    """
    reaches = overlaps[:, None] >= _REACHED
    rivals = taken[:, None] == taken
    np.logical_and(rivals, np.tri(len(taken), k=-1, dtype=bool), out=rivals)
    takes: NDArray[np.bool_] = reaches & (~(rivals @ reaches) | is_crowd[:, None])
    return takes


def _assign_others(
    overlaps: NDArray[np.float64],
    near: NDArray[np.bool_],
    truths: Truths,
    right: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
) -> None:
    """Do the same for the detections that have a choice, or compete with one that has; ``near`` has only those."""
    places = np.flatnonzero(near.any(axis=1))
    if not len(places):
        return
    # of equal overlaps the later object is taken, as pycocotools does
    order = np.zeros(overlaps.shape, dtype=np.intp)
    order[places] = overlaps[places].argsort(axis=1, kind="stable").argsort(axis=1)
    counted = truths.counted.T
    is_free = np.ones((len(AREAS), len(IOU_THRESHOLDS), len(truths.boxes)), dtype=bool)
    areas, thresholds = np.ogrid[: len(AREAS), : len(IOU_THRESHOLDS)]
    for place in places:
        candidates = np.flatnonzero(near[place])
        can = is_free[:, :, candidates] & (overlaps[place, candidates] >= _REACHED[:, None])
        preferred = order[place, candidates] + len(truths.boxes) * counted[:, candidates]
        best = np.where(can, preferred[:, None], -1).argmax(axis=2)
        takes = can[areas, thresholds, best]
        taken = candidates[best]
        is_free[areas, thresholds, taken] &= ~takes | truths.ignored[taken]
        counts = counted[areas, taken]
        right[place] = takes & counts
        ignored[place] = takes & ~counts


def match_voc(found: Found, truths: Truths) -> NDArray[np.uint8]:
    """Return for each detection, ``[D]``, whether it is ``RIGHT``, ``WRONG`` or ``NEITHER`` at an overlap of one half.

    The object of its class that a detection overlaps most decides: nothing is said of one that is ignored
    ("difficult"), and of several detections of one object the best is right and the others are wrong.
    """
    said = np.full(len(found.boxes), WRONG, dtype=np.uint8)
    if not len(found.boxes) or not len(truths.boxes):
        return said
    overlaps = overlap(found.boxes, truths.boxes, np.zeros(len(truths.boxes), dtype=bool))
    overlaps[found.labels[:, None] != truths.classes] = -1
    best = overlaps.argmax(axis=1)
    reached = np.flatnonzero(overlaps.max(axis=1) >= IOU_THRESHOLDS[0])
    said[first_of_each(best, reached)] = RIGHT
    said[reached[truths.ignored[best[reached]]]] = NEITHER
    return said


def first_of_each(taken: NDArray[np.integer], among: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return of the detections ``among`` those that are the first to take what they take.

    Args:
        taken: ``[D]``: the object that each takes.
        among: Their places, ascending.
    """
    return among[np.unique(taken[among], return_index=True)[1]]


def overlap(
    found: NDArray[np.float64], truths: NDArray[np.float64], is_crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return intersection over union, ``[D, M]``, or for crowds over the area of the detection; ``xyxy`` boxes."""
    left, right = (np.concatenate([boxes[:, :2], _sizes(boxes)], axis=1) for boxes in (found, truths))
    overlaps: NDArray[np.float64] = coco.iou(left, right, is_crowd.astype(np.uint8))
    return overlaps


def count_truths(truths: Truths, classes: int) -> NDArray[np.int32]:
    """Return how many objects are to be found, ``[K, A]``, by class and range of sizes."""
    counts = np.zeros((classes, len(AREAS)), dtype=np.int32)
    is_known = truths.classes >= 0
    np.add.at(counts, truths.classes[is_known], truths.counted[is_known])
    return counts


def _sizes(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return boxes[:, 2:] - boxes[:, :2]


def _is_outside(areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return ``[M, A]``: which areas lie outside of which range."""
    return (areas[:, None] < _LOWER) | (areas[:, None] > _UPPER)


def _pack(flags: NDArray[np.bool_]) -> NDArray[np.uint16]:
    return (flags @ _BITS).astype(np.uint16)


def unpack(bits: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Return the flags, ``[..., T]``, of what matching packed."""
    flags: NDArray[np.bool_] = (bits[..., None] & _BITS) != 0
    return flags
