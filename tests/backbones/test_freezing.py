"""Frozen is frozen: no gradient, no drifting statistics, no dropout, in every order of calls."""

import itertools

import pytest
import torch
from onetrunk.backbones import BACKBONES, UserError, build_backbone
from timm.layers import DropPath

IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TIMM = (
    "timm/swinv2_tiny_window8_256",
    "timm/beit_base_patch16_224",
    "timm/test_maxvit",
    "timm/test_coatnet",
    "timm/test_convnext",
    "timm/test_vit",
)
STEPS = {
    "train": lambda backbone: backbone.train(),
    "eval": lambda backbone: backbone.eval(),
    "freeze": lambda backbone: backbone.freeze("all"),
    "refreeze": lambda backbone: (backbone.freeze("none"), backbone.freeze("all")),
}


def train_one_step(backbone, images=IMAGES):
    """Take a step as a person's own loop would: all parameters given to the optimizer, weight decay on."""
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=0.1, weight_decay=0.1)
    loss = sum(values.float().pow(2).mean() for values in backbone(images).values())
    if loss.requires_grad:
        loss.backward()
    optimizer.step()


def drop_often(backbone):
    """Give every dropout of a trunk, and every place for a drop path, a rate of one half."""
    for module in list(backbone.network.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
        for name in [name for name, _ in module.named_children() if name.startswith("drop_path")]:
            setattr(module, name, DropPath(0.5))
    return backbone


def drop_path_trunk():
    """A trunk with drop path, dropout and batch norm."""
    backbone = drop_often(build_backbone("timm/test_efficientnet", weights="none", levels=["c3", "embedding"]))
    assert any(isinstance(module, DropPath) for module in backbone.network.modules())
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


@pytest.mark.parametrize("name", [*BACKBONES, *TIMM])
def test_up_to_a_level_no_gradient_comes_through(name):
    with torch.device("meta"):
        backbone = build_backbone(name, weights="none")
        images = torch.empty(2, 3, *backbone.facts.image_size)
    levels = list(backbone.specs)
    for level in levels if name in TIMM else levels[-3:-2]:
        backbone.freeze(level)
        outputs = backbone.train()(images)
        held = levels[: levels.index(level) + 1]
        assert not any(outputs[each].requires_grad for each in held)
        assert all(outputs[each].requires_grad for each in levels if each not in held)
        assert outputs["embedding"].requires_grad != backbone.is_frozen
        assert not backbone.is_frozen or level == "c5"  # some networks only pool what c5 is


@pytest.mark.parametrize(
    ("name", "level", "deeper"),
    [
        ("lenet", "c1", "embedding"),
        ("vgg11_bn", "c2", "c3"),
        ("googlenet", "c3", "c4"),
        ("resnet18", "c3", "c4"),
        ("efficientnet_lite0", "c3", "c4"),
        ("timm/test_efficientnet", "c5", "embedding"),
        ("timm/test_convnext", "c3", "embedding"),
        ("timm/test_vit", "c4", "embedding"),
        ("timm/test_maxvit", "c3", "c4"),
        ("timm/test_coatnet", "c4", "c5"),
    ],
)
def test_up_to_a_level_training_moves_nothing(name, level, deeper):
    backbone = drop_often(build_backbone(name, weights="none", levels=[level, deeper]))
    size = backbone.facts.image_size if backbone.facts.is_fixed_size else (64, 64)
    images = torch.nn.functional.interpolate(IMAGES, size)
    backbone.freeze(level)
    before = backbone.eval()(images)
    backbone.train()
    assert torch.equal(backbone(images)[level], before[level])
    train_one_step(backbone, images)
    assert torch.equal(backbone(images)[level], before[level])
    after = backbone.eval()(images)
    assert torch.equal(after[level], before[level])
    assert not torch.equal(after[deeper], before[deeper])


def test_the_dropout_before_the_classifier_works_until_all_is_frozen():
    backbone = build_backbone("timm/test_resnet", weights="none")
    backbone.network.drop_rate = 0.5
    backbone.freeze("c5")
    backbone.train()
    assert not torch.equal(backbone(IMAGES)["embedding"], backbone(IMAGES)["embedding"])
    backbone.freeze("all")
    assert torch.equal(backbone(IMAGES)["embedding"], backbone(IMAGES)["embedding"])


def test_groups_of_a_partly_frozen_trunk_are_what_is_left():
    backbone = build_backbone("resnet18", weights="none")
    backbone.freeze("c3")
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


@pytest.mark.parametrize("name", ["resnet18", "timm/test_efficientnet"])
def test_the_frozen_fingerprint_proves_a_part_frozen(name):
    backbone = build_backbone(name, weights="none", levels=["c3", "c4"])
    backbone.freeze("c3")
    backbone.train()
    frozen, complete = backbone.frozen_fingerprint(), backbone.fingerprint()
    train_one_step(backbone)
    train_one_step(backbone)
    assert backbone.frozen_fingerprint() == frozen
    assert backbone.fingerprint() != complete
    held = backbone.network.bn1
    for tensor in (held.weight.data, held.running_mean, held.num_batches_tracked):
        tensor.add_(1)
        assert backbone.frozen_fingerprint() != frozen
        tensor.sub_(1)
        assert backbone.frozen_fingerprint() == frozen


def test_the_frozen_fingerprint_of_all_and_of_nothing():
    backbone = build_backbone("timm/test_resnet", weights="none")
    assert backbone.frozen_fingerprint() == ""
    backbone.freeze("all")
    assert backbone.frozen_fingerprint() == backbone.fingerprint()
    backbone.freeze("none")
    assert backbone.frozen_fingerprint() == ""
    backbone.freeze("c3")
    until_c3 = backbone.frozen_fingerprint()
    backbone.freeze("c4")
    assert len({until_c3, backbone.frozen_fingerprint(), backbone.fingerprint()}) == 3
