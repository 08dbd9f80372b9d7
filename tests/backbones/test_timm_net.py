"""Networks of timm: maps, vectors, taps, and what is refused."""

import pytest
import timm
import torch
from onetrunk.backbones import UserError, build_backbone, require_pyramid


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext", "test_nfnet"])
def test_levels_equal_timms_own(name):
    backbone = build_backbone(f"timm/{name}", weights="none").eval()
    full = build_backbone(f"timm/{name}", weights="none", levels=[*backbone.levels, "logits"]).eval()
    backbone.network.load_state_dict(full.network.state_dict(), strict=False)
    network = timm.create_model(name).eval()
    network.load_state_dict(full.network.state_dict())
    images = torch.randn(1, 3, *backbone.facts.image_size)
    with torch.no_grad():
        maps = network.forward_intermediates(images, output_fmt="NCHW", intermediates_only=True)
        levels, all_levels = backbone(images), full(images)
        torch.testing.assert_close(all_levels["logits"], network(images))
        embedding = network.forward_head(network.forward_features(images), pre_logits=True)
        torch.testing.assert_close(levels["embedding"], embedding)
    for level, index in backbone.flow.indices.items():
        torch.testing.assert_close(levels[level], maps[index])
        assert levels[level].shape[1] == backbone.specs[level].channels
    assert {level: tuple(values.shape[1:]) for level, values in levels.items()} == backbone.facts.shapes


def test_maps_alone_leave_out_later_stages():
    backbone = build_backbone("timm/test_resnet", weights="none", levels=["c2", "c3"]).eval()
    assert not any(name.startswith(("layer3", "layer4", "fc")) for name in backbone.network.state_dict())
    assert list(backbone.facts.parts) == ["c1", "c2", "c3"]
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 64, 96))["c3"].shape == (1, 48, 8, 12)


def test_nhwc_maps_are_permuted_and_one_size_is_said():
    with torch.device("meta"):
        backbone = build_backbone("timm/swin_tiny_patch4_window7_224", weights="none", image_size=(224, 320))
    assert backbone.facts.shapes["c5"] == (768, 7, 10)
    assert [spec.stride for spec in backbone.specs.values()] == [4, 8, 16, 32]
    require_pyramid(backbone)
    with pytest.raises(UserError, match="built for pictures of 224x320"):
        backbone(torch.empty(1, 3, 256, 256, device="meta"))


def test_maps_of_one_stride_are_no_pyramid():
    backbone = build_backbone("timm/test_vit", weights="none")
    assert list(backbone.specs) == ["c4"]
    with pytest.raises(UserError, match=r"share one stride \(16\).*classifies from its embedding"):
        require_pyramid(backbone)
    with pytest.raises(UserError, match="can't take pictures of 225x225"):
        backbone(torch.zeros(1, 3, 225, 225))


def test_strides_that_are_no_powers_of_two():
    with torch.device("meta"):
        backbone = build_backbone("timm/vit_small_patch14_dinov2", weights="none", image_size=(224, 224))
    assert dict(backbone.specs) == {}
    assert backbone.levels == ("embedding",)
    assert backbone.num_logits == 0
    with pytest.raises(UserError, match="14"):
        require_pyramid(backbone)


def test_unpadded_maps_are_called_inexact():
    with torch.device("meta"):
        backbone = build_backbone("timm/inception_v3", weights="none", levels=["c2"])
    assert not backbone.specs["c2"].is_exact


def test_modules_by_name():
    backbone = build_backbone("timm/test_resnet", weights="none", levels=["layer2.0.bn1", "fc", "logits", "c3"]).eval()
    with torch.no_grad():
        levels = backbone(torch.randn(1, 3, 64, 64))
    assert torch.equal(levels["fc"], levels["logits"])
    assert levels["layer2.0.bn1"].shape[1:] == (48, 8, 8)
    assert (levels["layer2.0.bn1"] < 0).any()


def test_other_channels():
    backbone = build_backbone("timm/test_resnet", weights="none", in_channels=5)
    assert backbone(torch.zeros(2, 5, 64, 64))["embedding"].shape == (2, 96)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet500", "Unknown backbone 'timm/resnet500'.*Did you mean 'timm/resnet50"),
        ("timm/test_resnet.a7", r"no weights 'a7' for timm/test_resnet. Known: timm/test_resnet.r160_in1k"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(UserError, match=message):
        build_backbone(name, weights="none")


def test_dilation_is_refused():
    with pytest.raises(UserError, match="output stride of 8"):
        build_backbone("timm/test_resnet", weights="none", output_stride=8)


def test_unknown_level():
    with pytest.raises(UserError, match=r"Unknown level 'layer9'. Known: c1, .*Did you mean 'layer"):
        build_backbone("timm/test_resnet", weights="none", levels=["layer9"])
