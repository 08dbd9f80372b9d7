"""Frozen is frozen: no gradient, no drifting statistics, no dropout, in every order of calls."""

import itertools

import pytest
import torch
from onetrunk.backbones import UserError, build_backbone
from timm.layers import DropPath

IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
STEPS = {
    "train": lambda backbone: backbone.train(),
    "eval": lambda backbone: backbone.eval(),
    "freeze": lambda backbone: backbone.freeze("all"),
    "refreeze": lambda backbone: (backbone.freeze("none"), backbone.freeze("all")),
}


def train_one_step(backbone):
    """Take a step as a person's own loop would: all parameters given to the optimizer, weight decay on."""
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=0.1, weight_decay=0.1)
    loss = sum(values.float().pow(2).mean() for values in backbone(IMAGES).values())
    if loss.requires_grad:
        loss.backward()
    optimizer.step()


def drop_path_trunk():
    """A trunk with drop path, dropout and batch norm."""
    backbone = build_backbone("timm/test_efficientnet", weights="none", levels=["c3", "embedding"])
    dropped = 0
    for module in backbone.network.modules():
        if hasattr(module, "drop_path") and hasattr(module, "has_skip"):
            module.drop_path = DropPath(0.5)
            dropped += 1
    assert dropped
    backbone.network.drop_rate = 0.5
    return backbone


@pytest.mark.parametrize(
    "order", [order for order in itertools.permutations(STEPS, 3) if any("freeze" in s for s in order)]
)
def test_every_order_of_train_eval_and_freeze(order):
    backbone = build_backbone("timm/test_resnet", weights="none", levels=["c3", "embedding"])
    for step in order:
        STEPS[step](backbone)
    before = backbone.fingerprint()
    for last in (backbone.train, backbone.eval, backbone.train):
        last()
        train_one_step(backbone)
    assert backbone.fingerprint() == before
    assert backbone.is_frozen
    assert not any(module.training for module in backbone.modules())


@pytest.mark.parametrize(
    "build", [drop_path_trunk, lambda: build_backbone("lenet", weights="none", image_size=(64, 64))]
)
def test_two_passes_of_a_frozen_trunk_are_equal_in_training_mode(build):
    backbone = build()
    backbone.freeze()
    backbone.train()
    first, second = backbone(IMAGES), backbone(IMAGES)
    assert all(torch.equal(first[level], second[level]) for level in first)


def test_drop_path_works_when_it_is_not_frozen():
    backbone = drop_path_trunk().train()
    assert not torch.equal(backbone(IMAGES)["embedding"], backbone(IMAGES)["embedding"])


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "timm/test_efficientnet", "efficientnet_lite0"])
def test_up_to_a_level(name):
    backbone = build_backbone(name, weights="none", levels=["c2", "c3", "c5"])
    backbone.freeze("c3")
    backbone.train()
    before = {key: tensor.clone() for key, tensor in backbone.network.state_dict().items()}
    train_one_step(backbone)
    after = backbone.network.state_dict()
    frozen = {
        f"{path}.{key}"
        for part in ("c1", "c2", "c3")
        for path in backbone.facts.parts.get(part, ())
        for key in backbone.network.get_submodule(path).state_dict()
        if path
    }
    for key, tensor in after.items():
        changes = not torch.equal(before[key], tensor)
        assert changes != (key in frozen), key
    assert not backbone.is_frozen
    assert [part for part, _ in backbone.parameter_groups()] == ["c4", "c5"]


def test_thawing_brings_back_gradient_and_training_mode():
    backbone = build_backbone("resnet18", weights="none")
    backbone.freeze()
    backbone.train()
    assert not backbone.network.bn1.training
    backbone.freeze("none")
    assert backbone.network.bn1.training
    assert not backbone.is_frozen
    before = backbone.fingerprint()
    train_one_step(backbone)
    assert backbone.fingerprint() != before
    backbone.eval()
    backbone.freeze("c2")
    assert not any(module.training for module in backbone.modules())


def test_a_parent_module_cannot_unfreeze():
    parent = torch.nn.Sequential(build_backbone("resnet18", weights="none"))
    parent[0].freeze("c4")
    parent.train()
    assert not parent[0].network.layer3[0].bn1.training
    assert parent[0].network.layer4[0].bn1.training


def test_groups_are_the_stages_and_hold_every_parameter_once():
    backbone = build_backbone("vgg11", weights="none", levels=["c5", "embedding", "logits"])
    groups = backbone.parameter_groups()
    assert [name for name, _ in groups] == ["c0", "c1", "c2", "c3", "c4", "embedding", "logits"]
    listed = [id(parameter) for _, parameters in groups for parameter in parameters]
    assert sorted(listed) == sorted(id(parameter) for parameter in backbone.parameters())


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_convnext", "timm/test_maxvit", "alexnet", "googlenet"])
def test_no_parameter_is_without_a_group(name):
    with torch.device("meta"):
        backbone = build_backbone(name, weights="none")
    listed = [id(parameter) for _, parameters in backbone.parameter_groups() for parameter in parameters]
    assert sorted(listed) == sorted(id(parameter) for parameter in backbone.parameters())
    backbone.freeze()
    assert backbone.is_frozen


def test_unknown_part():
    with pytest.raises(UserError, match=r"Unknown part to freeze 'c0'\. Known: none, c1, .*, c5, all"):
        build_backbone("resnet18", weights="none", levels=["c1"]).freeze("c0")


def test_fingerprint_sees_values_and_only_values():
    backbone = build_backbone("timm/test_resnet", weights="none")
    before = backbone.fingerprint()
    assert backbone.to(memory_format=torch.channels_last).fingerprint() == before
    assert backbone.double().fingerprint() == before
    other = build_backbone("timm/test_resnet", weights="none")
    assert other.fingerprint() != before
    other.network.load_state_dict(backbone.network.state_dict())
    assert other.fingerprint() == before
    other.network.bn1.running_mean[0] += 1e-3
    assert other.fingerprint() != before
