"""Taps: any module by name, and never a value that a later in-place step has overwritten."""

import copy

import pytest
import torch
import torchvision
from onetrunk.backbones import UserError, build_backbone
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


def images(side=64):
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def run(name, levels, side=64):
    backbone = build_backbone(name, weights="none", levels=levels).eval()
    with torch.no_grad():
        return backbone, backbone(images(side))


@pytest.mark.parametrize(("name", "side"), [("vgg11", 32), ("alexnet", 63)])
def test_fc7_is_the_linear_layer_and_relu7_what_follows(name, side):
    backbone, levels = run(name, ["fc6", "relu6", "fc7", "relu7", "embedding", "fc8", "logits"], side)
    assert (levels["fc7"] < 0).any()
    assert torch.equal(levels["relu7"], levels["fc7"].relu())
    assert torch.equal(levels["relu7"], levels["embedding"])
    assert torch.equal(levels["fc8"], levels["logits"])
    layer = dict(backbone.network.named_modules())["classifier.3" if name == "vgg11" else "classifier.4"]
    assert torch.equal(levels["fc7"], layer(levels["relu6"]))


def test_convolutions_in_front_of_in_place_relus():
    _, vgg = run("vgg11", ["conv1_1", "relu1_1", "conv5_2", "relu5_2", "c4", "pool5", "c5"], 32)
    assert (vgg["conv1_1"] < 0).any()
    assert torch.equal(vgg["relu1_1"], vgg["conv1_1"].relu())
    assert torch.equal(vgg["c4"], vgg["conv5_2"].relu())
    assert torch.equal(vgg["pool5"], vgg["c5"])
    _, alexnet = run("alexnet", ["conv1", "relu1", "c2", "conv5", "c4"], 63)
    assert torch.equal(alexnet["relu1"], alexnet["conv1"].relu())
    assert torch.equal(alexnet["c4"], alexnet["conv5"].relu())


def test_batch_norm_names_of_vgg():
    _, levels = run("vgg11_bn", ["conv1_1", "bn1_1", "relu1_1", "c0"], 32)
    assert torch.equal(levels["bn1_1"].relu(), levels["relu1_1"])
    assert torch.equal(levels["c0"], levels["relu1_1"])


def test_resnet_norm_before_the_functional_sum():
    backbone, levels = run(
        "resnet18", ["layer1.0", "layer1.1.bn2", "layer1.1.conv2", "layer1", "layer1.1", "bn1", "c1"]
    )
    norm = backbone.network.layer1[1].bn2
    assert torch.equal(levels["layer1.1.bn2"], norm(levels["layer1.1.conv2"]))
    assert torch.equal(levels["layer1"], (levels["layer1.1.bn2"] + levels["layer1.0"]).relu())
    assert torch.equal(levels["layer1"], levels["layer1.1"])
    assert torch.equal(levels["c1"], levels["bn1"].relu())


def test_googlenet_norm_before_the_functional_relu():
    backbone, levels = run("googlenet", ["conv1.conv", "conv1.bn", "conv1", "inception3a.branch1.bn", "inception3a"])
    assert torch.equal(levels["conv1.bn"], backbone.network.conv1.bn(levels["conv1.conv"]))
    assert (levels["conv1.bn"] < 0).any()
    assert torch.equal(levels["conv1"], functional.relu(levels["conv1.bn"]))
    assert torch.equal(levels["inception3a"][:, :64], functional.relu(levels["inception3a.branch1.bn"]))


def test_a_tap_equals_torchvisions_feature_extractor():
    network = torchvision.models.resnet18(weights=None).eval()
    extractor = torchvision.models.feature_extraction.create_feature_extractor(
        network,
        {"layer3.1.conv2": "layer3.1.conv2", "avgpool": "avgpool", "layer2.0.downsample": "layer2.0.downsample"},
    )
    levels = ["layer2.0.downsample", "layer3.1.conv2", "avgpool"]
    backbone = build_backbone("resnet18", weights="none", levels=levels).eval()
    backbone.network.load_state_dict(network.state_dict(), strict=False)
    with torch.no_grad():
        expected, found = extractor(images()), backbone(images())
    assert list(found) == levels
    for level in levels:
        assert torch.equal(found[level], expected[level]), level


def test_what_a_tap_does_not_need_is_left_out():
    backbone = build_backbone("resnet18", weights="none", levels=["layer2.0.conv1"])
    assert hasattr(backbone.network, "layer2")
    assert not hasattr(backbone.network, "layer3")
    assert not hasattr(backbone.network.layer2, "1")
    assert backbone.facts.shapes == {"layer2.0.conv1": (128, 28, 28)}


def test_taps_of_a_copy_are_its_own():
    backbone, levels = run("resnet18", ["layer1.1.bn2"])
    other = copy.deepcopy(backbone)
    with torch.no_grad():
        other.network.layer1[1].bn2.bias.add_(1)
        changed, kept = other(images()), backbone(images())
    assert torch.equal(kept["layer1.1.bn2"], levels["layer1.1.bn2"])
    torch.testing.assert_close(changed["layer1.1.bn2"], levels["layer1.1.bn2"] + 1)


def test_gradients_reach_the_pictures_through_a_tap():
    backbone = build_backbone("resnet18", weights="none", levels=["layer1.1.bn2", "c3"]).eval()
    pictures = images().requires_grad_()
    levels = backbone(pictures)
    (levels["layer1.1.bn2"].sum() + levels["c3"].sum()).backward()
    assert pictures.grad is not None
    assert backbone._taps.values is None


def test_modules_that_are_never_called_are_refused():
    with pytest.raises(UserError, match="'blocks' is never called"):
        build_backbone("timm/test_vit", weights="none", levels=["c4", "blocks"])


def test_compiled_levels_are_the_same():
    backbone = build_backbone("resnet18", weights="none", levels=["c2", "layer2.0.bn2", "c3"]).eval()
    compiled = torch.compile(backbone, backend="eager")
    with torch.no_grad():
        expected, found = backbone(images()), compiled(images())
    assert all(torch.equal(expected[level], found[level]) for level in expected)
    assert compiled.fingerprint() == backbone.fingerprint()


def test_a_trunk_with_taps_can_stand_in_a_checkpoint_of_somebody_elses():
    levels = ["layer1.1.bn2", "c3"]
    backbone = build_backbone("resnet18", weights="none", levels=levels).eval()
    gradients = []
    for repeat in (False, True):
        backbone.zero_grad()
        found = checkpoint(backbone, images(), use_reentrant=False) if repeat else backbone(images())
        sum(values.sum() for values in found.values()).backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    assert all(torch.equal(kept, again) for kept, again in zip(*gradients, strict=True))


def test_a_network_that_is_called_by_itself_leaves_nothing_behind():
    backbone = build_backbone("resnet18", weights="none", levels=["layer1.1.bn2", "c3"]).eval()
    backbone.network.conv1(images())
    backbone.network.layer1(torch.zeros(1, 64, 8, 8))
    assert backbone._taps.values is None
