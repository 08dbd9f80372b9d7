"""SSD's maps and default boxes on canvases of all sizes; its equality with torchvision is in test_detector_weights."""

import pytest
import torch
from onetrunk.apps.detection.options import HeadOptions
from onetrunk.apps.detection.ssd import SSDHead, SSDLayers, default_boxes
from onetrunk.backbones import FeatureSpec
from onetrunk.datasets import Context
from torchvision.models.detection import ssd300_vgg16
from torchvision.models.detection.image_list import ImageList

SPECS = {"c3": FeatureSpec(24, 8), "c4": FeatureSpec(40, 16)}


def maps_of(canvas):
    layers = SSDLayers(SPECS, canvas)
    features = {
        level: torch.randn(1, spec.channels, *(-(-side // spec.stride) for side in canvas))
        for level, spec in SPECS.items()
    }
    return layers, layers(features, canvas)


@pytest.mark.parametrize(
    ("canvas", "cells"),
    [
        ((320, 320), [(40, 40), (20, 20), (10, 10), (5, 5), (3, 3), (1, 1)]),
        ((512, 512), [(64, 64), (32, 32), (16, 16), (8, 8), (6, 6), (4, 4)]),
        ((288, 512), [(36, 64), (18, 32), (9, 16), (5, 8), (3, 6), (1, 4)]),
        ((256, 320), [(32, 40), (16, 20), (8, 10), (4, 5), (2, 3)]),
        ((160, 160), [(20, 20), (10, 10), (5, 5), (3, 3), (1, 1)]),
        ((128, 640), [(16, 80), (8, 40), (4, 20), (2, 10)]),
        ((32, 32), [(4, 4), (2, 2), (1, 1), (1, 1)]),
    ],
)
def test_every_map_has_a_cell(canvas, cells):
    layers, maps = maps_of(canvas)
    assert [tuple(each.shape[-2:]) for each in maps.values()] == cells
    assert list(maps) == list(layers.specs)
    assert [each.shape[1] for each in maps.values()] == [spec.channels for spec in layers.specs.values()]


def test_cells_of_c3_have_a_norm_that_is_learned():
    layers, maps = maps_of((64, 64))
    assert torch.allclose(maps["c3"].norm(dim=1), torch.tensor(20.0), atol=1e-3)
    assert layers.scale_weight.requires_grad


def test_default_boxes_are_torchvisions():
    """But for their fixed steps, which are for 300 pixels."""
    theirs = ssd300_vgg16(weights=None, weights_backbone=None).anchor_generator
    theirs.steps = None
    ours = default_boxes(6)
    assert ours.scales == pytest.approx(theirs.scales)
    images = ImageList(torch.zeros(1, 3, 320, 320), [(320, 320)])
    maps = [torch.zeros(1, 1, side, side) for side in (40, 20, 10, 5, 3, 1)]
    assert torch.allclose(ours(images, maps)[0], theirs(images, maps)[0], atol=1e-4)


@pytest.mark.parametrize("maps", [4, 5, 6])
def test_sizes_reach_from_the_smallest_to_the_largest(maps):
    scales = default_boxes(maps).scales
    assert scales[:2] == [0.07, 0.15]
    assert scales[maps - 1] == pytest.approx(0.87)
    assert len(scales) == maps + 1


def test_pictures_without_objects_teach_nothing_and_break_nothing():
    """SSD takes three times as much background as objects (Liu 2016, section 2.2): of none, none."""
    torch.manual_seed(0)
    layers, maps = maps_of((64, 64))
    head = SSDHead(layers, ["a", "b"], HeadOptions(score_threshold=0.0), (64, 64))
    sizes = torch.tensor([[64, 64]])
    context = Context((64, 64), sizes, sizes)
    output = head.examine(maps, context)
    empty = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}]
    assert {name: part.item() for name, part in head.learn(output, context, empty).items()} == {
        "box": 0,
        "classification": 0,
    }
    full = [{"boxes": torch.tensor([[4.0, 4, 30, 40]]), "labels": torch.tensor([2])}]
    assert all(part.item() > 0 for part in head.learn(output, context, full).values())
