"""Anchors: the usual ones, small ones, and those that are made from the data."""

import pytest
import torch
from onetrunk.apps.detection.anchors import Anchors, fitted_anchors, usual_anchors
from torchvision.models.detection.faster_rcnn import _default_anchorgen as faster_rcnn_anchors
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import _default_anchorgen as retinanet_anchors
from torchvision.ops import box_iou


def test_the_usual_ones_are_torchvisions() -> None:
    generator = usual_anchors("usual", (4, 8, 16, 32, 64)).generator()
    assert (generator.sizes, generator.aspect_ratios) == (
        faster_rcnn_anchors().sizes,
        faster_rcnn_anchors().aspect_ratios,
    )
    generator = usual_anchors("usual", (8, 16, 32, 64, 128), octaves=3).generator()
    assert (generator.sizes, generator.aspect_ratios) == (
        retinanet_anchors().sizes,
        retinanet_anchors().aspect_ratios,
    )


def test_small_ones_are_half_as_large() -> None:
    assert usual_anchors("small", (4, 8)).sizes == ((16.0,), (32.0,))


def test_those_of_the_data_lie_where_its_boxes_do() -> None:
    boxes = [(10.0, 10.0)] * 50 + [(40.0, 80.0)] * 50 + [(160.0, 80.0)] * 50
    anchors = fitted_anchors(boxes, (4, 8, 16))
    assert [size for level in anchors.sizes for size in level] == pytest.approx([10, 56.6, 113.1], abs=0.2)
    assert anchors.ratios == pytest.approx([0.5, 1.0, 2.0], abs=0.01)


def test_fewer_sizes_than_levels_are_repeated() -> None:
    anchors = fitted_anchors([(20.0, 20.0)] * 5, (4, 8, 16, 16))
    assert anchors.sizes == ((20.0,),) * 4
    assert anchors.ratios == (1.0,)


def test_the_same_boxes_give_the_same_anchors_in_any_order() -> None:
    boxes = [(float(width), float(width * 3 % 50 + 5)) for width in range(5, 90)]
    one, other = fitted_anchors(boxes, (4, 8, 16, 32)), fitted_anchors(boxes[::-1], (4, 8, 16, 32))
    assert (one.sizes, one.ratios) == (other.sizes, other.ratios)


def test_they_survive_the_model_file() -> None:
    anchors = Anchors([[8, 12], [16]], [1, 2])
    again = Anchors(**anchors.to_dict())
    assert (again.sizes, again.ratios) == (anchors.sizes, anchors.ratios)


@pytest.mark.parametrize("sides", [(1.0, 6.0), (4.0, 10.0), (2.0, 90.0)])
def test_no_object_lies_between_the_anchors(sides: tuple[float, float]) -> None:
    """Of an object that no anchor overlaps torchvision's matching takes every anchor for one of it."""
    generator = torch.Generator().manual_seed(0)
    low, high = sides
    shapes = torch.rand(200, 2, generator=generator) * (high - low) + low
    strides = (4, 8, 16, 32, 64)
    anchors = fitted_anchors([(width, height) for width, height in shapes.tolist()], strides)
    assert all(0.25 <= ratio <= 4 for ratio in anchors.ratios)
    maps = [torch.zeros(1, 1, 128 // stride, 128 // stride) for stride in strides]
    (placed,) = anchors.generator()(ImageList(torch.zeros(1, 1, 128, 128), [(128, 128)]), maps)
    corners = torch.rand(200, 2, generator=generator) * (128 - shapes)
    overlaps = box_iou(torch.cat([corners, corners + shapes], dim=1), placed)
    assert overlaps.max(dim=1).values.min() > 0
