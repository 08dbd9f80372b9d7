"""The inference form of a trunk: the same levels with fewer layers, and the original stays as it is."""

import pytest
import torch
from onetrunk.backbones import BACKBONES, build_backbone
from onetrunk.backbones.base import Backbone
from onetrunk.backbones.chain import Chain
from onetrunk.backbones.flow import Facts
from onetrunk.backbones.inference import count_norms, inference_copy, narrow_weights
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm


def spread(network):
    """Give batch norms statistics and weights as training leaves them, so that folding has something to do."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, generator=generator)


def build(name, levels=None, **arguments):
    backbone = build_backbone(name, weights="none", levels=levels, **arguments).eval()
    spread(backbone.network)
    return backbone


def pictures(backbone, side=None, count=2):
    height, width = (side, side) if side else backbone.facts.image_size
    generator = torch.Generator().manual_seed(height)
    return torch.randn(count, backbone.in_channels, height, width, generator=generator)


def assert_same_levels(backbone, copy, images):
    with torch.no_grad():
        expected, found = backbone(images), copy(images)
    assert list(found) == list(expected)
    for level, values in expected.items():
        assert (found[level] - values).abs().max() <= 1e-4 * values.abs().max(), level


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_the_whole_catalogue_keeps_its_maps_and_loses_its_norms(name):
    backbone = build(name, ["c2"] if name == "lenet" else ["c2", "c5"])
    copy = inference_copy(backbone)
    assert count_norms(copy.network) == 0
    assert_same_levels(backbone, copy, pictures(backbone, None if name == "lenet" else 96))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("resnet18", 20, 0),
        ("googlenet", 57, 0),
        ("efficientnet_lite0", 49, 0),
        ("vgg11_bn", 8, 0),
        ("timm/test_resnet", 15, 0),
        ("timm/test_efficientnet", 13, 0),
        pytest.param("timm/mobilenetv3_small_050", 34, 0, marks=pytest.mark.slow),
        # half of them read what was concatenated
        pytest.param("timm/densenet121", 121, 62, marks=pytest.mark.slow),
        ("timm/test_vit", 0, 0),
        ("timm/test_convnext", 0, 0),
    ],
)
def test_every_level_of_various_networks_is_the_same(name, before, after):
    backbone = build(name)
    assert count_norms(backbone.network) == before
    copy = inference_copy(backbone)
    assert count_norms(copy.network) == after
    assert (copy.levels, copy.facts, copy.preprocessing) == (backbone.levels, backbone.facts, backbone.preprocessing)
    assert_same_levels(backbone, copy, pictures(backbone, 160 if name == "timm/test_vit" else 96))


def test_the_original_stays_as_it_is():
    backbone = build("timm/test_resnet")
    backbone.freeze("c2")
    backbone.train()
    before = backbone.fingerprint()
    modes = [module.training for module in backbone.modules()]
    trained = [parameter.requires_grad for parameter in backbone.parameters()]
    generator = torch.get_rng_state()
    copy = inference_copy(backbone)
    assert backbone.fingerprint() == before
    assert modes == [module.training for module in backbone.modules()]
    assert trained == [parameter.requires_grad for parameter in backbone.parameters()]
    assert torch.equal(torch.get_rng_state(), generator)
    assert not {each.data_ptr() for each in backbone.parameters()} & {each.data_ptr() for each in copy.parameters()}


def test_norms_can_be_left_where_they_are():
    backbone = build("timm/test_resnet")
    copy = inference_copy(backbone, folds=False)
    assert count_norms(copy.network) == count_norms(backbone.network) > 0
    assert_same_levels(backbone, copy, pictures(backbone))


def test_the_copy_is_not_trained_and_lies_in_channels_last():
    copy = inference_copy(build("timm/test_resnet"))
    copy.train()
    assert not any(module.training for module in copy.network.modules())
    assert not any(parameter.requires_grad for parameter in copy.parameters())
    assert all(
        weight.is_contiguous(memory_format=torch.channels_last) for weight in copy.parameters() if weight.ndim == 4
    )


@pytest.mark.parametrize(
    ("name", "levels", "left"),
    [
        ("resnet18", ["conv1", "c5"], 1),  # a step of the chain
        ("resnet18", ["layer4.1.conv2", "c5"], 1),  # a tap inside a step
        ("resnet18", ["layer4.1.bn2", "c5"], 1),
        ("resnet18", ["bn1", "layer4", "c5"], 0),  # what comes out of a norm is the same where it was folded
        pytest.param("vgg11_bn", ["conv5_2", "bn5_1", "c4"], 1, marks=pytest.mark.slow),
        ("efficientnet_lite0", ["prepool", "embedding"], 0),
        ("timm/test_resnet", ["layer1.0.conv1", "c2"], 1),
    ],
)
def test_what_is_read_before_a_norm_is_not_touched(name, levels, left):
    backbone = build(name, levels)
    copy = inference_copy(backbone)
    assert count_norms(copy.network) == left
    assert_same_levels(backbone, copy, pictures(backbone, 64))


class Pair(nn.Module):
    """A convolution and a norm; what is done with them is the cases' own."""

    def __init__(self, conv=None, norm=None):
        super().__init__()
        self.conv = conv or nn.Conv2d(3, 3, 3, padding=1)
        self.norm = norm or nn.BatchNorm2d(3)

    def forward(self, images):
        return self.norm(self.conv(images))


class Shortcut(Pair):
    def forward(self, images):
        values = self.conv(images)
        return self.norm(values) + values


class Twice(Pair):
    def forward(self, images):
        return self.norm(self.conv(self.conv(images)))


class NormTwice(Pair):
    def forward(self, images):
        return self.norm(self.norm(self.conv(images)))


class View(Pair):
    def forward(self, images):
        values = self.conv(images)
        return self.norm(values) + values.flatten(1).mean()


class Concatenates(Pair):
    """As DenseNet's layers read all maps before them."""

    def __init__(self):
        super().__init__(norm=nn.BatchNorm2d(6))

    def forward(self, images):
        return self.norm(torch.cat([self.conv(images), images], dim=1))


class Peeks(Pair):
    """Asks the norm for what is gone once it is folded."""

    def forward(self, images):
        return self.norm(self.conv(images)) * self.norm.weight.mean()


class Borrows(Pair):
    """Uses the layer's weight without calling the layer."""

    def forward(self, images):
        return self.norm(self.conv(images)) + functional.conv2d(images, self.conv.weight, padding=1)


class Tokens(nn.Module):
    """The norm's channels are the tokens, as many as the layer gives numbers."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, images):
        return self.norm(self.linear(images[:, :, :3, 0]))


def trunk_of(block):
    network = nn.Sequential()
    network.add_module("block", block)
    flow = Chain.of(network, ("block",), levels={"c0": "block"})
    backbone = Backbone(name="own", network=network, flow=flow, levels=["c0"], facts=Facts(image_size=(8, 8))).eval()
    spread(network)
    return backbone


def test_a_pair_is_folded():
    backbone = trunk_of(Pair())
    copy = inference_copy(backbone)
    assert count_norms(copy.network) == 0
    assert_same_levels(backbone, copy, torch.randn(4, 3, 8, 8))


def test_a_linear_layer_and_a_norm_without_weights_are_folded():
    network = nn.Sequential()
    network.add_module("flat", nn.Flatten())
    network.add_module("linear", nn.Linear(192, 5, bias=False))
    network.add_module("norm", nn.BatchNorm1d(5, affine=False))
    network.norm.running_mean.normal_()
    flow = Chain.of(network, ("flat", "linear", "norm"), levels={"embedding": "norm"})
    backbone = Backbone(name="own", network=network, flow=flow, levels=["embedding"], facts=Facts(image_size=(8, 8)))
    copy = inference_copy(backbone.eval())
    assert count_norms(copy.network) == 0
    assert_same_levels(backbone, copy, torch.randn(4, 3, 8, 8))


@pytest.mark.parametrize(
    "block",
    [
        *(Shortcut(), Twice(), NormTwice(), View(), Concatenates(), Peeks(), Borrows(), Tokens()),
        Pair(conv=weight_norm(nn.Conv2d(3, 3, 3, padding=1))),
        Pair(norm=nn.BatchNorm2d(3, track_running_stats=False)),
    ],
    ids=lambda block: type(block).__name__,
)
def test_what_folding_would_change_is_not_folded(block):
    backbone = trunk_of(block)
    copy = inference_copy(backbone)
    assert count_norms(copy.network) == 1
    assert_same_levels(backbone, copy, torch.randn(4, 3, 8, 8))


def test_a_network_that_gives_no_numbers_is_left_as_it_is():
    backbone = trunk_of(Pair())
    with torch.no_grad():
        backbone.network.block.conv.weight[0] = torch.nan
    assert count_norms(inference_copy(backbone).network) == 1


def test_lora_updates_are_merged_in_the_copy_alone():
    backbone = build("timm/test_resnet", ["c3", "embedding"])
    backbone.tune("lora", rank=2)
    with torch.no_grad():
        for name, parameter in backbone.network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    copy = inference_copy(backbone)
    assert not any("lora" in name for name in copy.network.state_dict())
    assert any("lora" in name for name in backbone.network.state_dict())
    assert count_norms(copy.network) == 0
    assert_same_levels(backbone, copy, pictures(backbone, 64))


@pytest.mark.parametrize("name", ["resnet18", "timm/test_resnet"])
def test_a_trunk_that_was_trained_with_checkpoints_is_folded(name):
    backbone = build(name, ["c2", "c3"])
    backbone.checkpoint_activations()
    backbone.train()
    backbone(pictures(backbone, 64))["c3"].sum().backward()
    copy = inference_copy(backbone.eval())
    assert count_norms(copy.network) == 0
    assert all(parameter.grad is None for parameter in copy.parameters())
    assert_same_levels(backbone, copy, pictures(backbone, 64))


def test_norm_tuning_ends_in_the_copy():
    backbone = build("timm/test_resnet", ["c3"])
    backbone.tune("norm")
    copy = inference_copy(backbone)
    assert count_norms(copy.network) == 0
    assert copy.is_frozen
    assert not backbone.is_frozen


@pytest.mark.parametrize("name", ["timm/test_resnet", "timm/test_vit", "timm/test_convnext", "lenet"])
def test_narrow_weights_give_what_autocast_gives(name):
    """But for filters of one channel, which autocast is given as they are here."""
    backbone = build(name)
    plain, narrow = inference_copy(backbone), inference_copy(backbone)
    narrow_weights(narrow.network)
    for path, module in plain.network.named_modules():
        if has_one_channel(module):
            module.weight.data.copy_(narrow.network.get_submodule(path).weight)
    assert any(parameter.dtype == torch.bfloat16 for parameter in narrow.parameters())
    images = pictures(backbone)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected, found = plain(images), narrow(images)
    for level, values in expected.items():
        assert torch.equal(found[level], values), level


@pytest.mark.parametrize("name", ["timm/test_efficientnet", "timm/test_convnext"])
def test_narrow_filters_of_one_channel_keep_their_sum(name):
    network = build(name).network
    modules = {path: module for path, module in network.named_modules() if has_one_channel(module)}
    exact = {path: module.weight.detach().clone() for path, module in modules.items()}
    assert len(exact) > 1
    narrow_weights(network)
    for path, weight in exact.items():
        found = modules[path].weight.detach()
        assert found.dtype == torch.bfloat16
        error = found.double().flatten(1).sum(1) - weight.double().flatten(1).sum(1)
        # that of the last weight alone; of all 9 or more together it is several times as much
        assert bool((error.abs() <= 2**-8 * weight.abs().amax()).all())
        assert error.square().mean() < (weight.bfloat16().double() - weight).flatten(1).sum(1).square().mean() / 4
        torch.testing.assert_close(found.float(), weight, rtol=0, atol=2**-7 * float(weight.abs().amax()))


def has_one_channel(module):
    return isinstance(module, nn.Conv2d) and module.weight.shape[1] == 1


def test_bfloat16_keeps_the_features_of_smooth_pictures_in_a_depthwise_network():
    backbone = build_backbone("efficientnet_lite0", weights="imagenet", levels=["embedding"]).eval()
    generator = torch.Generator().manual_seed(0)
    smooth = functional.interpolate(torch.rand(8, 3, 2, 2, generator=generator), size=(224, 224), mode="bicubic") - 0.5
    images = smooth + 0.02 * torch.randn(smooth.shape, generator=generator)
    narrow = inference_copy(backbone)
    narrow_weights(narrow.network)
    with torch.no_grad():
        exact = backbone(images)["embedding"]
        with torch.autocast("cpu", torch.bfloat16):
            found = narrow(images)["embedding"].float()
    cosines = functional.cosine_similarity(exact, found)
    # 0.9987 and 0.9977 with filters that are rounded weight by weight
    assert cosines.median() >= 0.9992 and cosines.min() >= 0.9985
