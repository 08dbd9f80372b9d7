"""Values equal torchvision's own forward pass, level by level."""

import pytest
import torch
import torchvision
from onetrunk.backbones import build_backbone
from onetrunk.backbones.errors import UserError

# each level and the torchvision module whose output it is; VGG's and AlexNet's ReLUs work in place
READ_FROM = {
    "vgg11": {"c0": "features.1", "c3": "features.14", "c5": "features.20", "embedding": "classifier.4"},
    "alexnet": {"c2": "features.1", "c3": "features.4", "c4": "features.11", "c5": "features.12"},
    "resnet18": {"c2": "layer1", "c3": "layer2", "c4": "layer3", "c5": "layer4"},
    "googlenet": {"c1": "conv1", "c2": "conv3", "c3": "inception3b", "c4": "inception4e", "c5": "inception5b"},
}


def original(name):
    torch.manual_seed(0)
    arguments = {"init_weights": True, "aux_logits": False, "transform_input": True} if name == "googlenet" else {}
    network = torchvision.models.get_model(name, weights=None, **arguments).eval()
    for module in network.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    return network


def ours(name, network, **arguments):
    levels = ["c2", "c3", "c4", "c5", *(["c0"] if name == "vgg11" else []), "embedding", "logits"]
    backbone = build_backbone(name, weights="none", levels=levels, **arguments).eval()
    backbone.network.load_state_dict(network.state_dict())
    return backbone


@pytest.mark.parametrize("name", READ_FROM)
def test_levels_equal_torchvision_at_97_and_224(name):
    network = original(name)
    backbone = ours(name, network)
    read = {}
    for level, path in READ_FROM[name].items():
        network.get_submodule(path).register_forward_hook(
            lambda _module, _args, output, level=level: read.__setitem__(level, output)
        )
    for side in (97, 224):
        images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(side))
        with torch.no_grad():
            logits = network(images)
            levels = backbone(images)
        assert torch.equal(levels["logits"], logits)
        for level in set(read) & set(levels):
            assert torch.equal(levels[level], read[level]), level
        for level, spec in backbone.specs.items():
            if level in levels:
                cells = levels[level].shape[-1]
                assert abs(cells - side / spec.stride) <= (1 if spec.is_exact else 2)
    assert torch.equal(torch.nn.functional.linear(levels["embedding"], *_classifier(network)), logits)


def _classifier(network):
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    return last.weight, last.bias


def test_lenet_levels():
    backbone = build_backbone("lenet", weights="none", levels=["c0", "c1", "c2", "embedding", "logits"]).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        levels = backbone(images)
        assert torch.equal(levels["logits"], backbone.network(images))
    assert {level: tuple(values.shape[1:]) for level, values in levels.items()} == backbone.facts.shapes
    assert backbone.facts.shapes["c2"] == (16, 5, 5)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilated_bottlenecks_equal_torchvision(output_stride):
    torch.manual_seed(0)
    network = torchvision.models.resnet50(replace_stride_with_dilation=[False, output_stride == 8, True]).eval()
    backbone = build_backbone("resnet50", weights="none", levels=["c4", "c5", "logits"], output_stride=output_stride)
    backbone.eval().network.load_state_dict(network.state_dict())
    assert backbone.specs["c5"].stride == output_stride
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        levels = backbone(images)
        assert torch.equal(levels["logits"], network(images))
    assert levels["c5"].shape[2:] == (64 // output_stride, 96 // output_stride)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_dilated_maps_hold_the_strided_ones(name):
    strided = build_backbone(name, weights="none", levels=["c4", "c5"]).eval().double()
    dilated = build_backbone(name, weights="none", levels=["c4", "c5"], output_stride=8).eval().double()
    dilated.network.load_state_dict(strided.network.state_dict())
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)  # in float32 the order of sums shows
    with torch.no_grad():
        coarse, fine = strided(images), dilated(images)
    torch.testing.assert_close(fine["c4"][..., ::2, ::2], coarse["c4"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fine["c5"][..., ::4, ::4], coarse["c5"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_vgg_with_an_output_stride(output_stride):
    backbone = build_backbone("vgg11_bn", weights="none", levels=["c3", "c4", "c5"], output_stride=output_stride).eval()
    with torch.device("meta"):
        plain = build_backbone("vgg11_bn", weights="none", levels=["c3", "c4", "c5"])
    assert list(backbone.network.state_dict()) == list(plain.network.state_dict())
    with torch.no_grad():
        levels = backbone(torch.zeros(1, 3, 64, 64))
    strides = {"c3": 8, "c4": output_stride, "c5": output_stride}
    assert {level: spec.stride for level, spec in backbone.specs.items() if level in strides} == strides
    assert {level: 64 // values.shape[-1] for level, values in levels.items()} == strides
    last = [module for module in backbone.network.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    assert last.dilation == ((2, 2) if output_stride == 8 else (1, 1))


def test_googlenet_for_other_channels_sees_what_its_transform_gives():
    """Grey pictures through the summed stem equal their RGB copies through the input transform."""
    rgb = build_backbone("googlenet", weights="none", levels=["c2"]).eval()
    grey = build_backbone("googlenet", weights="none", levels=["c2"], in_channels=1).eval()
    state = rgb.network.state_dict()
    state["conv1.conv.weight"] = state["conv1.conv.weight"].sum(1, keepdim=True)
    grey.network.load_state_dict(state)
    pictures = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        left = rgb(rgb.preprocessing.normalize(pictures.expand(-1, 3, -1, -1)))["c2"]
        right = grey(grey.preprocessing.normalize(pictures))["c2"]
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("efficientnet_lite0", 1280),
        ("resnet18", 512),
        ("googlenet", 1024),
        ("timm/test_efficientnet", 256),
        ("timm/swin_tiny_patch4_window7_224", 768),
    ],
)
def test_prepool_is_the_map_that_the_embedding_is_the_mean_of(name: str, channels: int) -> None:
    backbone = build_backbone(name, weights="none", levels=("c3", "prepool", "embedding")).eval()
    with torch.no_grad():
        found = backbone(torch.randn(2, 3, 224, 224))
    assert backbone.facts.shapes["prepool"][0] == channels
    assert found["prepool"].shape == (2, channels, 7, 7)
    torch.testing.assert_close(found["prepool"].mean((2, 3)), found["embedding"])
    backbone.freeze("all")
    assert backbone.is_frozen


def test_prepool_alone_leaves_the_classifier_out_and_is_frozen_whole() -> None:
    backbone = build_backbone("efficientnet_lite0", weights="none", levels=("prepool",))
    assert not [name for name, _ in backbone.named_parameters() if "classifier" in name]
    backbone.freeze("all")
    assert not [name for name, parameter in backbone.named_parameters() if parameter.requires_grad]


def test_a_network_that_pools_tokens_has_no_prepool() -> None:
    message = "VisionTransformer pools tokens, not a map, so it has no level 'prepool'"
    with pytest.raises(UserError, match=message):
        build_backbone("timm/vit_tiny_patch16_224", weights="none", levels=("prepool",))
