"""What is trained changes and nothing else does: affine parameters of norms, and LoRA updates."""

import copy
import itertools
import sys

import pytest
import torch
from onetrunk.backbones import UserError, build_backbone
from torch import nn

IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TRUNKS = ("resnet18", "vgg11_bn", "efficientnet_lite0", "timm/test_efficientnet", "timm/test_convnext", "timm/test_vit")


def build(name, levels=("c3", "embedding"), **options):
    """Return a trunk with weights that are the same at each call, LoRA's included if it is tuned next."""
    torch.manual_seed(0)
    if name == "vgg11_bn" and levels == ("c3", "embedding"):
        levels = ("c3", "c5")  # without the layers that make up most of it
    if name == "timm/test_vit":
        levels = ("c4", "embedding")
    return build_backbone(name, weights="none", levels=levels, **options)


def pictures(backbone):
    """Return four pictures of a size that the trunk takes."""
    size = backbone.facts.image_size if backbone.facts.is_fixed_size else (64, 64)
    return nn.functional.interpolate(IMAGES, size)


def train(backbone, steps=2):
    """Take steps as a person's own loop would: all parameters given to the optimizer, weight decay on."""
    backbone.train()
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(values.pow(2).mean() for values in backbone(pictures(backbone)).values()).backward()
        optimizer.step()


def state_of(backbone):
    return {name: tensor.clone() for name, tensor in backbone.network.state_dict().items()}


def changed(before, backbone):
    """Return the names whose values differ from ``before``."""
    after = backbone.network.state_dict()
    assert after.keys() == before.keys()
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


def trainable(backbone):
    return {name for name, parameter in backbone.network.named_parameters() if parameter.requires_grad}


def outputs(backbone):
    with torch.no_grad():
        return backbone.eval()(pictures(backbone))


def assert_close(found, expected, tolerance=1e-5):
    for level, values in expected.items():
        assert (found[level] - values).abs().max() <= tolerance * values.abs().max()


def norm_names(backbone):
    """Return the affine parameters of norms, found by another way than the code's: they are the vectors of norms."""
    kinds = ("Norm", "norm", "bn")
    return {
        f"{path}.{name}"
        for path, module in backbone.network.named_modules()
        if any(kind in type(module).__name__ for kind in kinds)
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.dim() == 1
    }


@pytest.mark.parametrize("name", TRUNKS)
def test_norm_training_changes_the_affine_parameters_and_nothing_else(name):
    backbone = build(name)
    backbone.tune("norm")
    before, fixed = state_of(backbone), backbone.frozen_fingerprint()
    train(backbone)
    assert changed(before, backbone) == trainable(backbone) == norm_names(backbone)
    assert backbone.frozen_fingerprint() == fixed


@pytest.mark.parametrize(
    ("name", "count", "example"),
    [("resnet18", 40, "layer4.1.bn2.weight"), ("vgg11_bn", 16, "features.26.bias")],
)
def test_the_list_of_what_norm_trains(name, count, example):
    backbone = build(name)
    backbone.tune("norm")
    assert len(trainable(backbone)) == count
    assert example in trainable(backbone)


def layers_of(name, backbone):
    """Return the paths that LoRA adapts, from the untouched network's layer types."""
    return {
        path
        for path, module in backbone.network.named_modules()
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
    }


@pytest.mark.parametrize("name", TRUNKS)
def test_lora_training_changes_the_updates_of_every_layer_and_nothing_else(name):
    backbone = build(name)
    layers = layers_of(name, backbone)
    whole = backbone.fingerprint()
    untouched = outputs(backbone)
    backbone.tune("lora", rank=4)
    assert all(torch.equal(values, untouched[level]) for level, values in outputs(backbone).items())
    before = state_of(backbone)
    assert backbone.fingerprint() == backbone.frozen_fingerprint() == whole
    train(backbone)
    expected = {f"{path}.lora_{factor}.default.weight" for path in layers for factor in "AB"}
    assert changed(before, backbone) == trainable(backbone) == expected
    assert backbone.fingerprint() == backbone.frozen_fingerprint() == whole
    assert any(not torch.equal(values, untouched[level]) for level, values in outputs(backbone).items())


def test_lora_reaches_every_convolution_of_resnet18_and_vgg11_bn():
    for name, count in (("resnet18", 20), ("vgg11_bn", 8)):
        backbone = build(name)
        backbone.tune("lora")
        assert len(trainable(backbone)) == 2 * count


@pytest.mark.parametrize("name", ["timm/beit_base_patch16_224", "timm/swinv2_tiny_window8_256", "timm/test_byobnet"])
def test_every_update_reaches_the_output(name):
    with torch.device("meta"):
        backbone = build_backbone(name, weights="none", levels=["embedding"])
        backbone.tune("lora")
        backbone(torch.empty(2, 3, *backbone.facts.image_size))["embedding"].sum().backward()
    assert all(parameter.grad is not None for _, group in backbone.parameter_groups() for parameter in group)
    assert any("qkv" in each for each in trainable(backbone)) == ("qkv" in str(backbone.facts.called))


def test_lora_scales_by_alpha_over_rank():
    backbone = build("resnet18")
    backbone.tune("lora", rank=4, alpha=2.0)
    train(backbone)
    layer = backbone.network.get_submodule("layer1.0.conv1")
    images = torch.randn(1, 64, 8, 8)
    update = layer.lora_B["default"](layer.lora_A["default"](images))
    torch.testing.assert_close(layer(images), layer.base_layer(images) + 0.5 * update)


MERGED = [
    *((name, {}) for name in TRUNKS),
    ("resnet18", {"output_stride": 8}),
    ("vgg11_bn", {"output_stride": 16}),
    ("alexnet", {}),
    ("googlenet", {}),
    ("timm/test_maxvit", {}),
    ("timm/test_byobnet", {}),
]


@pytest.mark.parametrize(("name", "options"), MERGED)
def test_merging_keeps_outputs_and_brings_back_the_network(name, options):
    backbone = build(name, levels={"alexnet": ("c5",), "timm/test_vit": ("c4",)}.get(name, ("c3", "c5")), **options)
    plain = copy.deepcopy(backbone)
    backbone.tune("lora", rank=2)
    train(backbone, steps=1)
    before, whole = outputs(backbone), backbone.fingerprint()
    backbone.merge()
    assert_close(outputs(backbone), before)
    assert backbone.fingerprint() != whole
    assert_is_like(backbone, plain)
    plain.network.load_state_dict(backbone.network.state_dict())
    assert plain.fingerprint() == backbone.fingerprint()
    assert all(torch.equal(values, outputs(backbone)[level]) for level, values in outputs(plain).items())


def assert_is_like(backbone, plain):
    """Nothing of peft is left: the same classes, attributes, names and trainable parameters as in a plain trunk."""
    plain.train(backbone.training)
    assert [(path, type(module)) for path, module in backbone.network.named_modules()] == [
        (path, type(module)) for path, module in plain.network.named_modules()
    ]
    assert vars(backbone.network).keys() == vars(plain.network).keys()
    assert list(backbone.network.state_dict()) == list(plain.network.state_dict())
    assert trainable(backbone) == trainable(plain)


def test_merging_without_lora_does_nothing():
    backbone = build("resnet18")
    backbone.tune("norm")
    before, names = backbone.fingerprint(), trainable(backbone)
    backbone.merge()
    assert backbone.fingerprint() == before
    assert trainable(backbone) == names


def test_a_merged_trunk_can_be_tuned_again():
    backbone = build("resnet18")
    backbone.tune("lora")
    train(backbone)
    backbone.merge()
    merged = backbone.fingerprint()
    backbone.tune("lora", rank=2)
    assert backbone.fingerprint() == merged
    train(backbone)
    assert backbone.fingerprint() == merged


CALLS = {
    "freeze": lambda backbone: backbone.freeze("c3"),
    "train": lambda backbone: backbone.train(),
    "eval": lambda backbone: backbone.eval(),
}


@pytest.mark.parametrize("how", ["norm", "lora"])
def test_the_order_of_calls_does_not_matter(how):
    calls = {**CALLS, "tune": lambda backbone: backbone.tune(how)}
    start = build("timm/test_efficientnet", levels=("c3", "c4"))
    results = []
    for order in itertools.permutations(calls):
        backbone = copy.deepcopy(start)
        for call in order:
            calls[call](backbone)
        results.append((trainable(backbone), list(backbone.network.state_dict()), backbone.frozen_fingerprint()))
        assert not any(module.training for module in backbone.network.modules())
        before = state_of(backbone)
        train(backbone, steps=2)
        assert changed(before, backbone) == trainable(backbone)
        assert backbone.frozen_fingerprint() == results[-1][2]
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "timm/test_efficientnet"])
@pytest.mark.parametrize("how", ["norm", "lora"])
def test_below_the_frozen_level_nothing_is_tuned(name, how):
    backbone = build(name, levels=("c3", "c5"))
    backbone.freeze("c3")
    backbone.tune(how)
    frozen = {name for part in ("c0", "c1", "c2", "c3") for name in _names(backbone, part)}
    assert trainable(backbone)
    assert not any(name.startswith(tuple(f"{_owner(each)}." for each in frozen)) for name in trainable(backbone))
    before = outputs(backbone)
    train(backbone)
    after = outputs(backbone)
    assert torch.equal(after["c3"], before["c3"])
    assert not torch.equal(after["c5"], before["c5"])


def _names(backbone, part):
    return backbone.facts.parts[part].parameters if part in backbone.facts.parts else ()


def _owner(name):
    return name.rpartition(".")[0]


def test_dropout_and_drop_path_are_still_while_a_part_is_tuned():
    backbone = build("timm/test_efficientnet")
    backbone.network.drop_rate = 0.5
    for how in ("norm", "lora"):
        backbone.tune(how)
        backbone.train()
        first, second = backbone(IMAGES), backbone(IMAGES)
        assert all(torch.equal(first[level], second[level]) for level in first)
    backbone.tune("full")
    assert not torch.equal(backbone(IMAGES)["embedding"], backbone(IMAGES)["embedding"])


def test_trained_updates_in_a_part_that_is_frozen_later_stay_as_they_are():
    backbone = build("resnet18", levels=("c3", "c5"))
    backbone.tune("lora")
    train(backbone)
    before = outputs(backbone)
    backbone.freeze("c3")
    fixed = backbone.frozen_fingerprint()
    assert_close(outputs(backbone), before, tolerance=0.0)
    assert not any("layer2" in name for name in trainable(backbone))
    train(backbone)
    assert torch.equal(outputs(backbone)["c3"], before["c3"])
    assert backbone.frozen_fingerprint() == fixed
    backbone.network.layer2[0].conv1.lora_B["default"].weight.data.add_(1)
    assert backbone.frozen_fingerprint() != fixed
    backbone.freeze("none")
    assert any("layer2" in name for name in trainable(backbone))


def test_a_thaw_adds_the_updates_that_are_missing():
    backbone = build("resnet18")
    backbone.freeze("c3")
    backbone.tune("lora")
    some = trainable(backbone)
    train(backbone)
    trained = state_of(backbone)
    backbone.freeze("none")
    assert len(trainable(backbone)) == 40
    assert some < trainable(backbone)
    assert all(torch.equal(backbone.network.get_parameter(name), trained[name]) for name in some)


@pytest.mark.parametrize("how", ["full", "norm"])
def test_untrained_updates_vanish_when_the_trunk_is_tuned_otherwise(how):
    backbone = build("resnet18")
    plain = copy.deepcopy(backbone)
    plain.tune(how)
    backbone.tune("lora")
    backbone.tune(how)
    assert_is_like(backbone, plain)
    assert backbone.frozen_fingerprint() == plain.frozen_fingerprint()


def test_groups_hold_the_updates_with_their_part():
    backbone = build("resnet18", levels=("c2", "c3"))
    backbone.tune("lora", rank=4)
    groups = dict(backbone.parameter_groups())
    assert list(groups) == ["c1", "c2", "c3"]
    conv = backbone.network.conv1
    assert [id(each) for each in groups["c1"]] == [
        id(conv.lora_A["default"].weight),
        id(conv.lora_B["default"].weight),
    ]
    listed = [id(parameter) for parameters in groups.values() for parameter in parameters]
    assert sorted(listed) == sorted(id(each) for each in backbone.parameters() if each.requires_grad)


@pytest.mark.parametrize("how", ["full", "norm", "lora"])
def test_all_groups_are_there_from_the_start_if_asked_for(how):
    backbone = build("resnet18")
    backbone.tune(how)
    backbone.freeze("c4")
    groups = backbone.parameter_groups(trainable_only=False)
    assert [name for name, _ in groups] == ["c1", "c2", "c3", "c4", "c5"]
    listed = [id(parameter) for _, parameters in groups for parameter in parameters]
    assert sorted(listed) == sorted(id(parameter) for parameter in backbone.parameters())
    assert [name for name, _ in backbone.parameter_groups()] == ["c5"]


def test_a_frozen_trunk_has_all_groups_if_asked_for():
    backbone = build("resnet18")
    backbone.freeze("all")
    frozen = backbone.parameter_groups(trainable_only=False)
    assert backbone.parameter_groups() == []
    backbone.freeze("none")
    thawed = backbone.parameter_groups()
    assert [[id(each) for each in group] for _, group in frozen] == [
        [id(each) for each in group] for _, group in thawed
    ]


@pytest.mark.parametrize("name", ["resnet18", "timm/test_vit"])
def test_a_deep_copy_is_trained_apart(name):
    backbone = build(name)
    backbone.tune("lora")
    train(backbone, steps=1)
    twin = copy.deepcopy(backbone)
    before = outputs(backbone)
    assert_close(outputs(twin), before, tolerance=0.0)
    kept = state_of(backbone)
    train(twin)
    assert changed(kept, backbone) == set()
    assert changed(kept, twin) == trainable(twin)
    after = outputs(twin)
    twin.merge()
    assert_close(outputs(twin), after)
    assert_close(outputs(backbone), before, tolerance=0.0)


def test_a_state_dict_goes_into_a_trunk_that_is_built_and_tuned_anew():
    backbone = build("resnet18")
    backbone.freeze("c2")
    backbone.tune("lora", rank=3, alpha=5.0)
    train(backbone)
    torch.manual_seed(1)
    other = build_backbone("resnet18", weights="none", levels=backbone.levels)
    other.tune("lora", rank=3, alpha=5.0)
    other.freeze("c2")
    other.load_state_dict(backbone.state_dict())
    assert_close(outputs(other), outputs(backbone), tolerance=0.0)
    assert other.fingerprint() == backbone.fingerprint()


def test_initial_updates_follow_the_seed():
    states = []
    for seed in (0, 0, 1):
        backbone = build("resnet18")
        torch.manual_seed(seed)
        backbone.tune("lora")
        states.append(state_of(backbone)["layer1.0.conv1.lora_A.default.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize(
    ("name", "tap"), [("resnet18", "layer3.1.conv2"), ("vgg11_bn", "conv4_1"), ("timm/test_resnet", "layer3.0.conv2")]
)
def test_a_tapped_convolution_returns_its_output_with_the_update(name, tap):
    backbone = build(name, levels=(tap, "c5"))
    backbone.tune("lora")
    train(backbone)
    found = outputs(backbone)[tap]
    backbone.merge()
    assert_close(outputs(backbone), {tap: found})
    backbone.tune("lora")
    backbone.tune("full")
    assert_close(outputs(backbone), {tap: found})


def test_a_hook_of_a_persons_own_stays_with_the_layer_and_can_be_removed():
    backbone = build("resnet18")
    seen = []
    handle = backbone.network.layer1[0].conv1.register_forward_hook(lambda module, args, output: seen.append(output))
    backbone.tune("lora")
    train(backbone)
    seen.clear()
    outputs(backbone)
    adapted = seen[-1]
    backbone.merge()
    outputs(backbone)
    assert len(seen) == 2
    assert_close({"": seen[-1]}, {"": adapted})
    handle.remove()
    outputs(backbone)
    assert len(seen) == 2


def test_tuning_works_without_values():
    with torch.device("meta"):
        backbone = build_backbone("resnet50", weights="none")
    backbone.tune("norm")
    backbone.tune("full")
    assert not backbone.is_frozen


def test_a_trunk_that_is_not_tuned_by_lora_needs_no_peft(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    backbone = build("lenet", levels=("c2",))
    backbone.freeze("c0")
    backbone.tune("full")
    backbone.merge()
    assert len({backbone.fingerprint(), backbone.frozen_fingerprint()}) == 2
    with pytest.raises(ImportError):
        backbone.tune("lora")


@pytest.mark.parametrize("name", ["vgg11", "alexnet", "lenet"])
def test_a_trunk_without_norms_says_what_can_be_done(name):
    with torch.device("meta"):
        backbone = build_backbone(name, weights="none")
    with pytest.raises(UserError, match=f"{name} has no normalisation layers .*'lora' instead.* vgg16_bn"):
        backbone.tune("norm")


@pytest.mark.parametrize("how", ["norm", "lora"])
def test_freezing_all_and_tuning_a_part_contradict_each_other(how):
    message = rf"freeze\('all'\) and tune\('{how}'\) contradict each other"
    backbone = build("resnet18")
    backbone.tune(how)
    names = trainable(backbone)
    with pytest.raises(UserError, match=message):
        backbone.freeze("all")
    assert trainable(backbone) == names
    assert backbone.frozen_until == "none"
    backbone = build("resnet18")
    backbone.freeze("all")
    with pytest.raises(UserError, match=message):
        backbone.tune(how)
    assert backbone.is_frozen
    assert backbone.tuning.how == "full"


@pytest.mark.parametrize(
    ("how", "message"),
    [("norm", "all normalisation layers of resnet18 are frozen"), ("lora", "all layers of resnet18 that LoRA can")],
)
def test_nothing_left_to_tune(how, message):
    backbone = build("resnet18")
    backbone.freeze("c5")
    with pytest.raises(UserError, match=f"Nothing is left to tune: {message}"):
        backbone.tune(how)
    backbone.freeze("none")
    backbone.tune(how)
    names = trainable(backbone)
    with pytest.raises(UserError, match="Nothing is left to tune"):
        backbone.freeze("c5")
    assert trainable(backbone) == names


def test_weights_that_are_standardised_first_are_refused():
    backbone = build("timm/test_nfnet")
    with pytest.raises(UserError, match=r"can't be folded into 'stem.conv1': a ScaledStdConv2d changes its weight"):
        backbone.tune("lora")


@pytest.mark.parametrize("tuning", [{"how": "full"}, {"how": "norm"}, {"how": "lora", "rank": 2}])
def test_trained_updates_are_not_thrown_away(tuning):
    backbone = build("resnet18")
    backbone.tune("lora")
    train(backbone)
    with pytest.raises(UserError, match=r"trained LoRA updates of rank 8 and alpha 16: call merge\(\)"):
        backbone.tune(**tuning)
    backbone.tune("lora")
    assert len(trainable(backbone)) == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"how": "loar"}, r"Unknown way to tune 'loar'\. Known: full, norm, lora\. Did you mean 'lora'\?"),
        ({"how": "lora", "rank": 0}, "rank of LoRA is a whole number of at least 1, not 0"),
        ({"how": "lora", "alpha": -1.0}, "alpha of LoRA is a finite number above 0, not -1.0"),
        ({"how": "lora", "alpha": float("nan")}, "alpha of LoRA is a finite number above 0, not nan"),
    ],
)
def test_values_that_mean_nothing(arguments, message):
    with pytest.raises(UserError, match=message):
        build("timm/test_resnet").tune(**arguments)
