"""The feature pyramid: specs in, specs out."""

import pytest
import torch
from onetrunk.backbones import build_backbone
from onetrunk.backbones.pyramid import FeaturePyramid


@pytest.mark.parametrize(
    ("extra", "names"),
    [
        ("none", ["p2", "p3", "p4", "p5"]),
        ("pool", ["p2", "p3", "p4", "p5", "p6"]),
        ("convolutions", ["p2", "p3", "p4", "p5", "p6", "p7"]),
    ],
)
def test_every_level_has_its_width_and_its_stride(extra: str, names: list[str]) -> None:
    levels = ["c2", "c3", "c4", "c5"]
    backbone = build_backbone("timm/test_resnet", weights="none", levels=levels)
    pyramid = FeaturePyramid(backbone.specs, levels=levels, width=24, extra=extra)
    maps = pyramid(backbone(torch.rand(2, 3, 128, 160)), (128, 160))
    assert list(maps) == list(pyramid.specs) == names
    for name, each in maps.items():
        stride = pyramid.specs[name].stride
        assert each.shape == (2, 24, -(-128 // stride), -(-160 // stride))


def test_maps_of_odd_sizes_are_brought_to_the_grid() -> None:
    """AlexNet's maps don't have the nominal sizes."""
    levels = ["c3", "c4", "c5"]
    backbone = build_backbone("alexnet", weights="none", levels=levels, image_size=(224, 224))
    pyramid = FeaturePyramid(backbone.specs, levels=levels, width=8)
    maps = pyramid(backbone(torch.rand(1, 3, 224, 224)), (224, 224))
    assert [tuple(each.shape[-2:]) for each in maps.values()] == [(28, 28), (14, 14), (7, 7)]
