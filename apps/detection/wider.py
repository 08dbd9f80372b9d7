"""Average precision of faces by the protocol of WIDER FACE (Yang 2016), for its easy, medium and hard faces.

What the official evaluation does, and plain average precision doesn't: scores are stretched to 0..1 over all images;
precision and recall are taken at 1,000 scores; boxes overlap by whole pixels, both edges included; a detection belongs
to the face it overlaps most, whatever set that is in, and one on a face outside of the set (or marked invalid) counts
for nothing; so does everything found in an image without any face.
"""

import numpy as np
from numpy.typing import NDArray

from ..evaluated_images import Rows
from ..intervals import Weights
from .matching import Found, Truths, first_of_each

#: The sets, by the place of their bit in ``full_sets``.
SETS = ("easy", "medium", "hard")
METRICS = tuple(f"wider_{name}" for name in SETS)
_LEAST_OVERLAP = 0.5
_STEPS = 1000
#: The scores from which detections count, falling to 0.
_SCORES = 1 - (np.arange(_STEPS) + 1) / _STEPS
#: Bits of what ``match_faces`` gives: a detection counts in set s, and it is the first on a face of the set.
_COUNTS, _HITS = (1 << np.arange(len(SETS))), (1 << (len(SETS) + np.arange(len(SETS))))


def match_faces(found: Found, truths: Truths, sets: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return what each detection is worth in each set, and how many faces the sets have.

    Args:
        found: The detections.
        truths: The faces.
        sets: int64 ``[M]``: the bits of each face: 1 easy, 2 medium, 4 hard.

    Returns:
        uint8 ``[D]``: the bits 1, 2 and 4 where a detection counts in a set, 8, 16 and 32 where it is right there;
        int32 ``[3]``.
    """
    belongs = ((sets[:, None] & _COUNTS) != 0) & ~truths.ignored[:, None]
    faces = belongs.sum(axis=0, dtype=np.int32)
    worth = np.zeros(len(found.boxes), dtype=np.uint8)
    if not len(found.boxes) or not len(truths.boxes):
        return worth, faces
    overlaps = _pixel_overlap(found.boxes, truths.boxes)
    best = overlaps.argmax(axis=1)
    reaches = overlaps.max(axis=1) >= _LEAST_OVERLAP
    counts = ~reaches[:, None] | belongs[best]
    hits = np.zeros_like(counts)
    first = first_of_each(best, np.flatnonzero(reaches))
    hits[first] = belongs[best[first]]
    return (counts @ _COUNTS + hits @ _HITS).astype(np.uint8), faces


def wider_precisions(rows: Rows, weights: Weights) -> dict[str, NDArray[np.float64]]:
    """Return ``wider_easy``, ``wider_medium`` and ``wider_hard`` of weighted images, ``[R]``.

    The lowest and the highest score that stretch the others are those of all images, drawn or not: another sample of
    images has the same thresholds.
    """
    images, places = np.nonzero(rows["label"] >= 0)
    steps = _first_steps(rows["score"][images, places])
    worth = rows["wider"][images, places]
    totals = weights.astype(np.float64) @ rows["faces"].astype(np.float64)
    found = {}
    for place, name in enumerate(METRICS):
        counted, right = (
            _count_steps(images[has], steps[has], weights)
            for has in ((worth & bit) != 0 for bit in (_COUNTS[place], _HITS[place]))
        )
        found[name] = _area(right / np.maximum(counted, 1), right, totals[:, place])
    return found


def _pixel_overlap(found: NDArray[np.float64], truths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return intersection over union, ``[D, M]``, of boxes whose pixels reach from the lower to the upper bound."""
    low = np.maximum(found[:, None, :2], truths[None, :, :2])
    high = np.minimum(found[:, None, 2:], truths[None, :, 2:])
    shared = np.maximum(high - low + 1, 0).prod(axis=2)
    sizes = [(boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1) for boxes in (found, truths)]
    overlaps: NDArray[np.float64] = shared / (sizes[0][:, None] + sizes[1] - shared)
    return overlaps


def _first_steps(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return for each detection the place of the first threshold that it reaches."""
    if not len(scores):
        return np.zeros(0, dtype=np.intp)
    low, high = float(scores.min()), float(scores.max())
    stretched = (scores.astype(np.float64) - low) / ((high - low) or 1.0)
    return np.searchsorted(-_SCORES, -stretched, side="left")


def _count_steps(images: NDArray[np.intp], steps: NDArray[np.intp], weights: Weights) -> NDArray[np.float64]:
    """Return how many of some detections reach each threshold, ``[R, 1000]``, in weighted images."""
    counts = np.zeros((weights.shape[1], _STEPS), dtype=np.float32)
    np.add.at(counts, (images, steps), 1)
    # sums of whole numbers far below 2**24, so that single precision is exact and twice as fast
    return (weights.astype(np.float32) @ counts).cumsum(axis=1, dtype=np.float64)


def _area(
    precision: NDArray[np.float64], right: NDArray[np.float64], totals: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the area under the highest precisions from each recall on, ``[R]``; NaN where there is no face."""
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    gains = np.diff(right, axis=1, prepend=0)
    return np.where(totals > 0, (highest * gains).sum(axis=1) / np.maximum(totals, 1), np.nan)
