"""What every trunk of the catalogue promises, checked on the meta device."""

import pytest
import torch
from onetrunk.backbones import BACKBONES, LEVELS, UserError, build_backbone

FAMILIES = ("lenet", "alexnet", "vgg11_bn", "googlenet", "resnet18", "efficientnet_lite0")


def build_meta(name, **arguments):
    with torch.device("meta"):
        return build_backbone(name, weights="none", **arguments)


def run_meta(backbone, height, width):
    images = torch.empty(2, backbone.in_channels, height, width, device="meta")
    with torch.no_grad():
        return backbone.eval()(images)


@pytest.mark.parametrize("name", BACKBONES)
def test_specs_tell_the_shapes(name):
    backbone = build_meta(name, levels=["embedding", "logits"])
    specs = backbone.specs
    assert list(specs) == [level for level in LEVELS if level in specs]
    dense = build_meta(name, levels=list(specs))
    height, width = (32, 32) if name == "lenet" else (224, 320)
    maps = run_meta(dense, height, width)
    assert list(maps) == list(specs)
    for level, spec in specs.items():
        assert spec.stride == 2 ** int(level[1])
        assert maps[level].shape[1] == spec.channels
        if spec.is_exact:
            assert maps[level].shape[2:] == (height // spec.stride, width // spec.stride)
    assert all(spec.is_exact for spec in specs.values()) == (name not in ("lenet", "alexnet"))
    vectors = run_meta(backbone, *backbone.facts.image_size)
    assert vectors["embedding"].shape == (2, backbone.embedding_dim)
    assert vectors["logits"].shape == (2, backbone.num_logits)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_level_alone_keeps_the_names_and_computes_nothing_past_it(name):
    complete = build_meta(name, levels=["logits"])
    names = list(complete.network.state_dict())
    last = 0
    for level in [*complete.specs, "embedding", "logits"]:
        backbone = build_meta(name, levels=[level])
        kept = list(backbone.network.state_dict())
        assert kept == names[: len(kept)]
        assert len(kept) >= last
        last = len(kept)
        assert list(run_meta(backbone, *backbone.facts.image_size)) == [level]
    assert last == len(names)


@pytest.mark.parametrize("name", FAMILIES)
def test_recipe_builds_the_same_structure(name):
    backbone = build_meta(name, levels=["c2"])
    again = build_meta(**backbone.recipe)
    assert again.recipe == backbone.recipe
    shapes = {key: tensor.shape for key, tensor in backbone.network.state_dict().items()}
    assert shapes == {key: tensor.shape for key, tensor in again.network.state_dict().items()}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels(name, channels):
    backbone = build_meta(name, in_channels=channels, levels=["c2"])
    assert backbone.preprocessing.channels == channels
    assert run_meta(backbone, *backbone.facts.image_size)["c2"].shape[1] == backbone.specs["c2"].channels


def test_default_levels_are_the_maps_and_the_embedding():
    backbone = build_meta("resnet18")
    assert backbone.levels == ("c1", "c2", "c3", "c4", "c5", "embedding")
    assert not hasattr(backbone.network, "fc")


def test_vgg_without_its_fully_connected_layers():
    backbone = build_meta("vgg16", levels=["c5"])
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 14_714_688
    assert all(name.startswith("features.") for name in backbone.network.state_dict())


@pytest.mark.parametrize(
    ("name", "side"), [("vgg11", 32), ("alexnet", 63), ("googlenet", 15), ("resnet18", 1), ("efficientnet_lite0", 1)]
)
def test_smallest_picture(name, side):
    backbone = build_backbone(name, weights="none").eval()
    assert backbone.facts.min_size == side
    with torch.no_grad():
        backbone(torch.zeros(1, 3, side, side))
    if side > 1:
        with pytest.raises(UserError, match=f"at least {side}x{side}"):
            backbone(torch.zeros(1, 3, side - 1, 200))


def test_wrong_pictures_are_refused():
    backbone = build_meta("resnet18")
    with pytest.raises(UserError, match=r"\[batch, 3, height, width\], not 2x1x64x64; .* in_channels=1"):
        backbone(torch.zeros(2, 1, 64, 64))
    with pytest.raises(UserError, match="not 3x64x64"):
        backbone(torch.zeros(3, 64, 64))
    with pytest.raises(UserError, match=r"built for pictures of 32x32, not 28x28.*image_size=\(28, 28\)"):
        build_meta("lenet")(torch.zeros(1, 3, 28, 28))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet5"}, "Unknown backbone 'resnet5'. Known: .*Did you mean 'resnet50'?"),
        ({"name": "convnext_tiny"}, "ask for 'timm/convnext_tiny'"),
        ({"name": "resnet18", "levels": ["c6"]}, "Unknown level 'c6'. Known: c1, .*the path of any module"),
        ({"name": "resnet18", "levels": ["layer3.0.conv5"]}, "Did you mean 'layer3.0.conv"),
        ({"name": "resnet18", "levels": []}, "No level asked for"),
        ({"name": "resnet18", "in_channels": 0}, "at least 1 input channel"),
        ({"name": "resnet18", "output_stride": 4}, "one of"),
        ({"name": "alexnet", "output_stride": 8}, "can't have an output stride of 8"),
        ({"name": "lenet", "image_size": (8, 8)}, "at least 16x16, not 8x8"),
        ({"name": "vgg11", "levels": ["embedding"], "weights": "imagnet"}, "Did you mean 'imagenet'"),
    ],
)
def test_what_cannot_be_built_is_said(arguments, message):
    with pytest.raises(UserError, match=message):
        build_backbone(**{"weights": "none", **arguments})


def test_lenet_has_its_known_size():
    backbone = build_backbone("lenet", weights="none", in_channels=1, levels=["logits"])
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 61_706
    assert backbone(torch.zeros(3, 1, 32, 32))["logits"].shape == (3, 10)
    wide = build_backbone("lenet", weights="none", image_size=(48, 64))
    assert wide(torch.zeros(2, 3, 48, 64))["embedding"].shape == (2, 84)
