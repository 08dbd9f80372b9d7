"""Figures of Pascal VOC and WIDER FACE on cases that were worked out by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from onetrunk.apps.detection.detections import Detections
from onetrunk.apps.detection.metrics import make_evaluator
from onetrunk.apps.evaluated_images import Rows
from onetrunk.datasets import Batch, Context

#: Boxes far apart from each other.
A, B, C, D, STRAY = ((100.0 * place, 0.0, 100.0 * place + 10, 10.0) for place in range(5))
EASY, MEDIUM, HARD, INVALID = 7, 6, 4, 0

Image = tuple[Sequence[tuple], Sequence[tuple]]
"""Objects: box, class, whether it is ignored, WIDER FACE's sets; detections: box, class, score."""


def rows_of(images: Sequence[Image], *, classes: int = 1, wider: bool = False) -> Rows:
    targets = {f"full_{key}": [] for key in ("boxes", "classes", "ignored", "areas", "sets")}
    found = []
    for objects, detections in images:
        boxes = torch.tensor([box for box, *_ in objects]).reshape(-1, 4)
        targets["full_boxes"].append(boxes)
        targets["full_classes"].append(torch.tensor([one[1] for one in objects], dtype=torch.int64))
        targets["full_ignored"].append(torch.tensor([one[2] for one in objects], dtype=torch.bool))
        targets["full_areas"].append((boxes[:, 2:] - boxes[:, :2]).prod(dim=1).double())
        targets["full_sets"].append(torch.tensor([one[3] for one in objects], dtype=torch.int64))
        found.append(
            Detections(
                torch.tensor([box for box, *_ in detections]).reshape(-1, 4),
                torch.tensor([one[2] for one in detections], dtype=torch.float32),
                torch.tensor([one[1] for one in detections], dtype=torch.int64),
            )
        )
    sizes = torch.full((len(images), 2), 500)
    names = [str(place) for place in range(len(images))]
    batch = Batch(None, {}, Context((1, 1), sizes, sizes), targets, torch.arange(len(images)), names)
    return evaluator_of(classes, wider).collect({"detections": found}, batch)


def evaluator_of(classes: int, wider: bool):
    return make_evaluator([str(label) for label in range(classes)], measures_wider=wider)


def figures(images: Sequence[Image], *, classes: int = 1, wider: bool = False, weights=None) -> dict[str, float]:
    rows = rows_of(images, classes=classes, wider=wider)
    drawn = np.array([weights or [1] * len(images)])
    return {name: float(value[0]) for name, value in evaluator_of(classes, wider).measure(rows, drawn).items()}


def voc_object(box: tuple, label: int = 0, *, difficult: bool = False) -> tuple:
    return (box, label, difficult, 0)


VOC_IMAGES: list[Image] = [
    ([voc_object(A), voc_object(B)], [(A, 0, 0.9), (A, 0, 0.8), (STRAY, 0, 0.5), (B, 0, 0.4)]),
    ([voc_object(C), voc_object(D, difficult=True)], [(D, 0, 0.7), (C, 0, 0.6)]),
]


def test_voc_counts_duplicates_as_wrong_and_leaves_difficult_objects_aside() -> None:
    # by score: A right 1/1, A again 1/2, D nothing, C right 2/3, stray 2/4, B right 3/5; three objects
    found = figures(VOC_IMAGES)
    assert found["voc12_ap50"] == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3 + 1 / 3 * 3 / 5)
    # precision 1 at recalls 0, 0.1, 0.2, 0.3; 2/3 at 0.4, 0.5, 0.6; 3/5 at 0.7, 0.8, 0.9, 1
    assert found["voc07_ap50"] == pytest.approx((4 * 1 + 3 * 2 / 3 + 4 * 3 / 5) / 11)


def test_in_voc_the_object_that_is_overlapped_most_decides() -> None:
    # the second detection overlaps the first object by 95/105 and the second one by 85/115, but the first is taken
    first, second, between = (0.0, 0.0, 10.0, 10.0), (0.0, 2.0, 10.0, 12.0), (0.0, 0.5, 10.0, 10.5)
    found = figures([([voc_object(first), voc_object(second)], [(first, 0, 0.9), (between, 0, 0.8)])])
    assert found["voc12_ap50"] == pytest.approx(1 / 2)
    assert found["voc07_ap50"] == pytest.approx(6 / 11)  # recalls 0 to 0.5
    assert found["ap50"] == pytest.approx(1)  # COCO's rule takes the one that is free


@pytest.mark.parametrize(("bottom", "expected"), [(5.0, 1.0), (4.9, 0.0)])
def test_in_voc_an_overlap_of_one_half_is_enough(bottom: float, expected: float) -> None:
    found = figures([([voc_object((0.0, 0.0, 10.0, 10.0))], [((0.0, 0.0, 10.0, bottom), 0, 0.5)])])
    assert found["voc12_ap50"] == found["voc07_ap50"] == pytest.approx(expected)


def test_the_mean_is_over_classes_with_objects() -> None:
    images: list[Image] = [
        ([voc_object(A), voc_object(B, 1)], [(A, 0, 0.9), (STRAY, 1, 0.8), (B, 1, 0.7), (STRAY, 2, 0.6)])
    ]
    found = figures(images, classes=4)
    assert found["voc12_ap50"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["ap50"] == pytest.approx((1 + 1 / 2) / 2)


def test_voc_of_weighted_images_is_that_of_repeated_ones() -> None:
    weighted = figures(VOC_IMAGES, weights=[1, 2])
    repeated = figures([*VOC_IMAGES, VOC_IMAGES[1]])
    # A right 1/1, A again 1/2, C right 2/3 and 3/4, stray 3/5, B right 4/6; four objects
    assert weighted["voc12_ap50"] == pytest.approx((1 + 3 / 4 + 3 / 4 + 4 / 6) / 4)
    assert weighted == pytest.approx(repeated, nan_ok=True)


WIDER_IMAGES: list[Image] = [
    (
        [(A, 0, False, EASY), (B, 0, False, HARD), (C, 0, True, INVALID)],
        [(STRAY, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7), (C, 0, 0.6), (A, 0, 0.5)],
    ),
    ([], [(STRAY, 0, 0.95)]),  # without faces: left out by the official tool
    ([(D, 0, False, MEDIUM)], []),
]


def test_wider_leaves_faces_outside_of_a_set_aside() -> None:
    found = figures(WIDER_IMAGES, wider=True)
    # easy: one face, found second; the others' detections count for nothing
    assert found["wider_easy"] == pytest.approx(1 / 2)
    # medium: of two faces one is found, at a precision of 1/2
    assert found["wider_medium"] == pytest.approx(1 / 2 * 1 / 2)
    # hard: three faces; precisions 1/2 and 2/3 at recalls 1/3 and 2/3, so 2/3 from the start
    assert found["wider_hard"] == pytest.approx(2 / 3 * 2 / 3)


def test_wider_overlaps_whole_pixels() -> None:
    # 2 x 2 pixels of 2 x 4: one half; without the edges it would be a third
    images: list[Image] = [([((0.0, 0.0, 1.0, 3.0), 0, False, EASY)], [((0.0, 0.0, 1.0, 1.0), 0, 0.5)])]
    found = figures(images, wider=True)
    assert found["wider_easy"] == pytest.approx(1)
    assert found["voc12_ap50"] == 0


def test_wider_reads_precision_at_a_thousand_scores() -> None:
    faces = [(A, 0, False, EASY), (B, 0, False, EASY)]
    # both in the middle are first counted at a score of 0.5: recall 1/2 at 1/1, recall 1 at 2/3
    images: list[Image] = [(faces, [(A, 0, 1.0), (B, 0, 0.5004), (STRAY, 0, 0.5002), (C, 0, 0.0)])]
    found = figures(images, wider=True)
    assert found["wider_hard"] == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert found["voc12_ap50"] == pytest.approx(1)


def test_wider_stretches_scores() -> None:
    faces = [(A, 0, False, EASY), (B, 0, False, EASY)]
    # the same scores within a thousandth of each other: stretched to 0..1 they come apart
    scores = [0.1 + score / 2000 for score in (1.0, 0.8, 0.6, 0.0)]
    boxes = (A, B, STRAY, C)
    images: list[Image] = [(faces, [(box, 0, score) for box, score in zip(boxes, scores, strict=True)])]
    assert figures(images, wider=True)["wider_hard"] == pytest.approx(1)


def test_wider_of_weighted_images_is_that_of_repeated_ones() -> None:
    weighted = figures(WIDER_IMAGES, wider=True, weights=[2, 0, 1])
    repeated = figures([WIDER_IMAGES[0], WIDER_IMAGES[0], WIDER_IMAGES[2], ([], [(STRAY, 0, 0.95)])], wider=True)
    for name in ("wider_easy", "wider_medium", "wider_hard"):
        assert weighted[name] == pytest.approx(repeated[name])
    # hard: five faces; 2/4 and 4/6 at recalls 2/5 and 4/5
    assert weighted["wider_hard"] == pytest.approx(4 / 5 * 2 / 3)


def test_sets_without_faces_are_undefined_and_nothing_found_is_0() -> None:
    found = figures([([(A, 0, False, HARD)], [])], wider=True)
    assert np.isnan(found["wider_easy"])
    assert found["wider_hard"] == 0
