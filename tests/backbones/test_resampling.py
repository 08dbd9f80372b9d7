"""Every map on the grid that dense heads expect."""

import pytest
import torch
import torch.nn.functional as F
from onetrunk.backbones import FeatureSpec, build_backbone, resample


def maps_of(sizes):
    features = {level: torch.rand(2, 3, *size) for level, size in sizes.items()}
    return features, {level: FeatureSpec(3, 2 ** int(level[1]), is_exact=False) for level in sizes}


def test_inexact_maps_come_to_the_nominal_size():
    features, specs = maps_of({"c2": (55, 79), "c5": (6, 9)})
    maps = resample(features, specs, ["c2", "c5"], (224, 320))
    assert list(maps) == ["c2", "c5"]
    assert maps["c2"].shape == (2, 3, 56, 80)
    expected = F.interpolate(features["c5"], size=(7, 10), mode="bilinear", align_corners=False)
    assert torch.equal(maps["c5"], expected)


def test_exact_maps_are_returned_as_they_are():
    features, specs = maps_of({"c2": (24, 40), "c3": (12, 20)})
    maps = resample(features, specs, ["c3"], (96, 160))
    assert list(maps) == ["c3"]
    assert maps["c3"] is features["c3"]


def test_sizes_are_rounded_up():
    features, specs = maps_of({"c4": (6, 7)})
    assert resample(features, specs, ["c4"], (100, 97))["c4"].shape[2:] == (7, 7)


def test_a_missing_level_has_a_size_and_no_channels():
    features, specs = maps_of({"c2": (8, 16)})
    maps = resample({"c2": features["c2"].double()}, specs, ["c0", "c1", "c2"], (32, 64))
    assert maps["c0"].shape == (2, 0, 32, 64)
    assert maps["c1"].shape == (2, 0, 16, 32)
    assert maps["c1"].dtype == torch.float64


@pytest.mark.parametrize("stride", [16, 8])
def test_another_stride_can_be_asked_for(stride):
    features, specs = maps_of({"c4": (6, 10), "c5": (3, 5)})
    maps = resample(features, specs, ["c4", "c5"], (96, 160), strides={"c5": stride})
    assert maps["c4"] is features["c4"]
    assert maps["c5"].shape[2:] == (96 // stride, 160 // stride)
    dilated = {"c5": torch.rand(2, 3, 96 // stride, 160 // stride)}
    assert resample(dilated, specs, ["c5"], (96, 160), strides={"c5": stride})["c5"] is dilated["c5"]


def test_gradients_come_back_to_the_trunk():
    trunk = build_backbone("lenet", weights="none", levels=["c0", "c2"])
    maps = resample(trunk(torch.rand(1, 3, 32, 32)), trunk.specs, ["c0", "c2"], (32, 32))
    assert [maps[level].shape[2:] for level in maps] == [(32, 32), (8, 8)]
    sum(each.sum() for each in maps.values()).backward()
    assert trunk.network.conv1.weight.grad.isfinite().all()
