"""Random sizes, crops and mirror images keep boxes and masks on their objects."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onetrunk.datasets import EvalTransform, Objects, ObjectTransform, Record, SampleDataset, seeded
from PIL import Image
from torch import Tensor
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat, Mask

CANVAS = (64, 96)


def picture_with_boxes() -> tuple[Image.Image, Tensor]:
    """A dark picture, 120 x 80, with three bright rectangles, and their boxes."""
    pixels = np.zeros((80, 120, 3), np.uint8)
    boxes = [(10, 10, 40, 30), (60, 20, 100, 60), (5, 50, 35, 75)]
    for left, top, right, bottom in boxes:
        pixels[top:bottom, left:right] = 250
    return Image.fromarray(pixels), torch.tensor(boxes, dtype=torch.float32)


def boxes_in(boxes: Tensor, size: tuple[int, int] = (80, 120)) -> BoundingBoxes:
    return BoundingBoxes(boxes, format=BoundingBoxFormat.XYXY, canvas_size=size)


def transform(mode: str = "pad", **settings: object) -> ObjectTransform:
    return ObjectTransform(EvalTransform(CANVAS, "bilinear", 1.0, mode, (128, 128, 128)), **settings)


@pytest.mark.parametrize("mode", ["pad", "stretch"])
@pytest.mark.parametrize("zoom", [(1.0, 1.0), (0.5, 0.8), (1.3, 2.0)])
def test_what_lies_in_the_boxes_is_bright_and_nothing_else(mode: str, zoom: tuple[float, float]) -> None:
    picture, boxes = picture_with_boxes()
    for seed in range(12):
        with seeded(seed):
            placed = transform(mode, zoom=zoom, shown=0.0, vertical_flip=0.5).place(picture, {"boxes": boxes_in(boxes)})
        height, width = placed.valid_size
        inside = torch.zeros(CANVAS, dtype=torch.bool)
        for left, top, right, bottom in placed.targets["boxes"].round().int().tolist():
            assert 0 <= left <= right <= width
            assert 0 <= top <= bottom <= height
            inside[top:bottom, left:right] = True
        bright = (placed.image > 125).all(dim=0)
        bright[height:], bright[:, width:] = False, False
        # interpolation and rounding blur a rim of a pixel
        assert (bright ^ inside).float().mean() < 0.06
        assert placed.image[:, height:].unique().tolist() in ([], [128])


def test_of_objects_that_are_hardly_shown_the_box_is_empty() -> None:
    picture, boxes = picture_with_boxes()
    lost = kept = 0
    for seed in range(20):
        with seeded(seed):
            placed = transform(zoom=(2.5, 2.5), shown=0.9).place(picture, {"boxes": boxes_in(boxes)})
        sides = placed.targets["boxes"][:, 2:] - placed.targets["boxes"][:, :2]
        lost += int((sides == 0).all(dim=1).sum())
        kept += int((sides > 0).all(dim=1).sum())
        assert ((sides == 0).all(dim=1) | (sides > 15).all(dim=1)).all()
    assert lost > 0
    assert kept >= 15  # a part that shows an object is looked for


def test_masks_move_with_the_boxes() -> None:
    picture, boxes = picture_with_boxes()
    masks = torch.zeros(3, 80, 120, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    for seed in range(8):
        with seeded(seed):
            placed = transform(zoom=(0.6, 1.6), shown=0.3).place(
                picture, {"boxes": boxes_in(boxes), "masks": Mask(masks)}
            )
        assert placed.targets["masks"].shape == (3, *CANVAS)
        for mask, box in zip(placed.targets["masks"], placed.targets["boxes"].tolist(), strict=True):
            if box[2] > box[0]:
                rows, columns = mask.nonzero(as_tuple=True)
                found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                assert torch.tensor(found) == pytest.approx(torch.tensor(box), abs=1.5)


def test_without_any_change_it_places_as_evaluation_does() -> None:
    picture, boxes = picture_with_boxes()
    expected = EvalTransform(CANVAS, "bilinear", 1.0, "pad", (128, 128, 128)).place(picture, {"boxes": boxes_in(boxes)})
    found = transform(flip=0.0).place(picture, {"boxes": boxes_in(boxes)})
    assert torch.equal(found.image, expected.image)
    assert found.valid_size == expected.valid_size
    assert torch.equal(found.targets["boxes"], expected.targets["boxes"])


def test_a_picture_without_objects_is_placed_too() -> None:
    picture, _ = picture_with_boxes()
    placed = transform(zoom=(0.5, 2.0)).place(picture, {"boxes": boxes_in(torch.zeros(0, 4))})
    assert placed.targets["boxes"].shape == (0, 4)


def test_what_is_learned_and_what_is_counted(tmp_path: Path) -> None:
    """Ignored objects aren't learned; what random changes move off the canvas is counted."""
    picture, boxes = picture_with_boxes()
    picture.save(tmp_path / "a.png")
    objects = Objects(
        boxes=(*(tuple(box) for box in boxes.tolist()), (3.0, 3.0, 3.0, 9.0)),
        names=("a", "b", "a", "b"),
        ignored=(False, False, True, False),
    )
    record = Record(tmp_path / "a.png", {"objects": objects, "labels": objects.labels}, "a.png")
    samples = SampleDataset([record], transform(zoom=(2.5, 2.5), shown=0.5), classes=("a", "b"))
    for epoch in range(10):
        targets = samples[(epoch, 0)].targets
        assert len(targets["boxes"]) == len(targets["classes"]) <= 2
        assert int(targets["dropped"]) == 2 - len(targets["boxes"])
        assert "full_boxes" not in targets
    exact = SampleDataset([record], transform().placing, classes=("a", "b"))[(0, 0)].targets
    assert torch.equal(exact["full_boxes"], boxes)
    assert exact["full_ignored"].tolist() == [False, False, True]
    assert exact["classes"].tolist() == [0, 1]


def test_colours_change_only_where_that_was_asked_for() -> None:
    picture = Image.new("RGB", (96, 64), (100, 150, 50))
    assert transform(flip=0.0).place(picture, {}).image.flatten(1).unique(dim=1).shape[1] == 1
    seen = set()
    for seed in range(5):
        with seeded(seed):
            seen.add(tuple(transform(color_jitter=0.4).place(picture, {}).image[:, 30, 40].tolist()))
    assert len(seen) > 1
