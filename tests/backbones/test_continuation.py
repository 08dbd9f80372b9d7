"""Going on from a stored level gives what the whole pass gives, and computes nothing of the frozen part."""

import copy
import itertools

import pytest
import torch
from onetrunk.backbones import UserError, build_backbone, continuation
from timm.layers import DropPath
from torch import nn

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
MAPS = ("c2", "c3", "c4", "c5")
TRUNKS = {
    "lenet": [("embedding",), ("c0", "c2", "logits"), ("relu3", "c1")],
    "alexnet": [MAPS, ("features.3", "fc6", "c4", "embedding", "prepool")],
    "vgg11": [MAPS],
    "vgg11_bn": [("c1", "c5", "prepool"), ("conv3_2", "bn3_2", "conv5_1", "c4")],
    "googlenet": [("embedding",), MAPS, ("inception3b.branch1.conv", "inception4c.branch2", "c1")],
    "resnet18": [("embedding",), MAPS, ("c1", "c5", "prepool"), ("layer2.0.bn1", "layer3.1.conv1", "c3", "logits")],
    "efficientnet_lite0": [("embedding",), ("c1", "c5", "prepool"), ("blocks.1.0.bn2", "blocks.4.1.bn2")],
    "timm/test_resnet": [("embedding",), MAPS, ("c1", "c5", "prepool"), ("layer2.0.bn1", "layer3.0.conv2", "logits")],
    "timm/test_convnext": [("embedding",), MAPS, ("stages.0.blocks.0.norm", "stages.3.downsample.1", "c4")],
    "timm/test_efficientnet": [("embedding",), ("c1", "c5", "prepool"), ("blocks.1.0.bn1", "blocks.2.0.bn2")],
    "timm/test_nfnet": [("c1", "c4", "embedding")],
    "timm/test_mambaout": [MAPS, ("embedding", "prepool")],
    "timm/regnetx_002": [("embedding",), MAPS],
    "timm/mobilenetv3_small_050": [("embedding",), ("c1", "c5", "prepool")],
}
CASES = [(name, levels) for name, choices in TRUNKS.items() for levels in choices]
STEPS = ["lenet", "vgg11_bn", "googlenet", "resnet18", "efficientnet_lite0"]
STEPS += ["timm/test_resnet", "timm/test_efficientnet", "timm/test_convnext"]
WAYS = ("full", "recomputed", "norm", "lora")
WITHOUT = [("lenet", "norm")]  # it has none


def build(name, levels):
    """Return a trunk with the same weights at each call, whose dropout and drop path throw away half."""
    torch.manual_seed(0)
    backbone = build_backbone(name, weights="none", levels=levels)
    for module in list(backbone.network.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.5
        for child in [child for child, _ in module.named_children() if child.startswith("drop_path")]:
            setattr(module, child, DropPath(0.5))
    return backbone


def pictures(backbone):
    size = backbone.facts.image_size if backbone.facts.is_fixed_size else (64, 64)
    return nn.functional.interpolate(IMAGES, size)


def stored_of(backbone, entry):
    """Return what a store holds: computed by a copy that ends there."""
    with torch.no_grad():
        return backbone.cut_copy(backbone.stored_levels(entry))(pictures(backbone))


def frozen_paths(backbone, entry):
    """Return the modules of the parts up to ``entry``."""
    order = list(backbone.specs)
    until = order[: order.index(entry) + 1]
    return {path for level in until if level in backbone.facts.parts for path in backbone.facts.parts[level].modules}


def watch(backbone, called):
    """Note the paths of the modules that are called, in ``called``."""
    for path, module in backbone.network.named_modules():
        module.register_forward_hook(lambda _module, _args, _output, path=path: called.append(path))


def assert_same(found, expected, tolerance=1e-6):
    assert list(found) == list(expected)
    for key, values in expected.items():
        assert found[key].shape == values.shape
        assert (found[key] - values).abs().max() <= tolerance * values.abs().max(), key


def state_of(backbone):
    return {name: tensor.clone() for name, tensor in backbone.network.state_dict().items()}


@pytest.mark.parametrize(("name", "levels"), CASES)
def test_every_level_goes_on_to_what_the_whole_pass_gives(name, levels):
    backbone = build(name, levels).eval()
    with torch.no_grad():
        expected = backbone(pictures(backbone))
    names, modules = list(backbone.network.state_dict()), list(backbone.network.modules())
    fingerprint = backbone.fingerprint()
    called = []
    for entry in backbone.specs:
        assert backbone.can_go_on(entry) is None
        stored = stored_of(backbone, entry)
        assert list(stored) == list(backbone.stored_levels(entry))
        watched = copy.deepcopy(backbone)
        watch(watched, called)
        with torch.no_grad():
            assert_same(watched.going_on(stored, entry), expected)
        assert not frozen_paths(backbone, entry) & set(called)
        assert not called or set(stored) != set(levels)
        called.clear()
    assert list(backbone.network.state_dict()) == names
    assert all(one is other for one, other in zip(backbone.network.modules(), modules, strict=True))
    assert backbone.fingerprint() == fingerprint


def train(backbone, run, change=lambda backbone: None):
    """Take two steps from the same random numbers; return outputs, gradients, and the state at the end."""
    torch.manual_seed(1)
    change(backbone)
    backbone.train()
    optimizer = torch.optim.SGD([each for each in backbone.parameters() if each.requires_grad], lr=0.01, momentum=0.9)
    seen = {}
    torch.manual_seed(2)
    for step in range(2):
        optimizer.zero_grad()
        outputs = run(backbone)
        sum(values.pow(2).mean() for values in outputs.values()).backward()
        optimizer.step()
        seen |= {f"{step} {level}": values.detach() for level, values in outputs.items()}
        gradients = {key: each.grad for key, each in backbone.network.named_parameters() if each.grad is not None}
        seen |= {f"{step} gradient of {key}": each for key, each in gradients.items()}
    return seen | {key: values.float() for key, values in state_of(backbone).items()}


@pytest.mark.parametrize(("name", "way"), [each for each in itertools.product(STEPS, WAYS) if each not in WITHOUT])
def test_training_goes_on_as_with_the_whole_pass(name, way):
    entry, levels = ("c1", ("c0", "logits")) if name == "lenet" else ("c3", ("c2", "c4", "c5"))
    backbone = build(name, levels)
    backbone.freeze(entry)

    def change(each):
        if way in {"norm", "lora"}:
            each.tune(way)
        if way == "recomputed":
            each.checkpoint_activations()

    stored = stored_of(backbone, entry)
    whole = train(copy.deepcopy(backbone), lambda each: each(pictures(each)), change)
    rest = train(backbone, lambda each: each.going_on(stored, entry), change)
    assert any("gradient" in key for key in whole)
    assert_same(rest, whole)
    means = [values for key, values in rest.items() if "running_mean" in key]
    assert any(values.any() for values in means) == (way in {"full", "recomputed"} and bool(means))


@pytest.mark.parametrize("name", ["resnet18", "timm/test_resnet"])
def test_no_gradient_reaches_what_is_stored_for(name):
    backbone = build(name, ("c3", "embedding")).train()
    backbone.going_on(stored_of(backbone, "c3"), "c3")["embedding"].sum().backward()
    reached = {key for key, parameter in backbone.network.named_parameters() if parameter.grad is not None}
    until = [key for level in ("c1", "c2", "c3") for key in backbone.facts.parts[level].parameters]
    assert reached
    assert not reached & set(until)


@pytest.mark.parametrize(
    ("name", "levels", "entry", "expected"),
    [
        ("resnet18", ("embedding",), "c3", ("c3",)),
        ("resnet18", ("c5", "c2", "c1"), "c3", ("c1", "c2", "c3")),
        ("resnet18", ("c5", "c3"), "c3", ("c3",)),
        ("resnet18", ("c3", "c2"), "c3", ("c3", "c2")),
        ("resnet18", ("c2",), "c4", ("c2",)),
        (
            "resnet18",
            ("c3", "layer2.0.bn1", "layer1.0.conv1", "layer3.0.bn1"),
            "c3",
            ("layer1.0.conv1", "layer2.0.bn1", "c3"),
        ),
        ("resnet18", ("embedding", "c1"), "all", ("embedding", "c1")),
        ("alexnet", ("c5", "conv2"), "c3", ("conv2", "c3")),
        ("timm/test_resnet", ("embedding", "c2", "c1"), "c3", ("c1", "c2", "c3")),
        ("timm/test_resnet", ("c3", "c2"), "c4", ("c3", "c2")),
        ("timm/test_resnet", ("layer4.0.bn1", "layer2.0.bn1", "c1"), "c3", ("layer2.0.bn1", "c1", "c3")),
        ("timm/test_resnet", ("embedding", "c1"), "all", ("embedding", "c1")),
    ],
)
def test_what_has_to_be_stored(name, levels, entry, expected):
    with torch.device("meta"):
        backbone = build_backbone(name, weights="none", levels=levels)
    assert backbone.stored_levels(entry) == expected


@pytest.mark.parametrize("name", ["resnet18", "timm/test_resnet"])
@pytest.mark.parametrize("entry", ["all", "c3", "c5"])
def test_where_nothing_stands_behind_the_stored_levels_are_returned(name, entry):
    backbone = build(name, ("c3", "c1"))
    stored = {"c1": torch.ones(1), "c3": torch.zeros(1)}
    assert backbone.can_go_on(entry) is None
    found = backbone.going_on(stored, entry)
    assert list(found) == ["c3", "c1"]
    assert all(found[level] is stored[level] for level in stored)


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_vit_relpos"])
def test_a_network_of_tokens_says_why_not(name):
    backbone = build(name, ("embedding",))
    reason = backbone.can_go_on("c4")
    assert reason.startswith(f"{name} can't be entered behind c4: ")


def test_a_pass_that_does_more_than_call_modules_is_found_out(monkeypatch):
    backbone = build("timm/test_resnet", ("c4",))
    kind = type(backbone.network)
    own = kind.forward_intermediates
    monkeypatch.setattr(kind, "forward_intermediates", lambda network, images, **more: own(network, 2 * images, **more))
    assert "c4 would have other values than from pictures" in backbone.can_go_on("c2")


def test_a_network_that_overwrites_what_it_is_given_is_found_out():
    backbone = build("resnet18", ("c4",))
    backbone.network.layer2[0].register_forward_pre_hook(lambda _module, args: (args[0].mul_(2),))
    assert backbone.can_go_on("c2") == "resnet18 can't be entered behind c2: it overwrites what it is given."


def test_it_is_tried_once_and_leaves_no_trace(monkeypatch):
    backbone = build("timm/test_efficientnet", ("embedding",))
    backbone.freeze("c2")
    backbone.train()
    backbone.network.blocks[3].eval()
    modes = [module.training for module in backbone.modules()]
    state, generator = state_of(backbone), torch.get_rng_state()
    tried = []
    find = continuation.find_obstacle
    monkeypatch.setattr(
        "onetrunk.backbones.base.find_obstacle", lambda *given: (tried.append(given[1]), find(*given))[1]
    )
    for entry in ("c2", "c3", "c2", "c3"):
        assert backbone.can_go_on(entry) is None
    assert tried == ["c2", "c3"]
    assert [module.training for module in backbone.modules()] == modes
    assert torch.equal(torch.get_rng_state(), generator)
    assert_same(state_of(backbone), state, tolerance=0)


def test_an_error_on_the_way_puts_every_module_back():
    backbone = build("timm/test_resnet", ("embedding",))
    stored = stored_of(backbone, "c3")
    modules = dict(backbone.network.named_modules())

    def fail(_module, _args):
        raise RuntimeError("broken")

    handle = backbone.network.layer4.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken"):
        backbone.going_on(stored, "c3")
    handle.remove()
    assert dict(backbone.network.named_modules()) == modules
    assert_same(backbone.eval().going_on(stored, "c3"), backbone(IMAGES))


def test_what_is_missing_or_unknown_is_said():
    backbone = build("resnet18", ("c2", "c5"))
    with pytest.raises(UserError, match=r"Unknown level to go on from 'c6'\. Known: c1, .*, c5, all"):
        backbone.stored_levels("c6")
    for ask in (backbone.can_go_on, lambda entry: backbone.going_on({}, entry)):
        with pytest.raises(UserError, match="Unknown level to go on from 'none'"):
            ask("none")
    with pytest.raises(UserError, match=r"resnet18 needs the stored levels c2, c3; c3 is missing: store what stored_l"):
        backbone.going_on({"c2": torch.zeros(1)}, "c3")


@pytest.mark.parametrize(
    ("name", "levels", "kept", "gone"),
    [
        ("resnet18", ("c2", "layer2.0.bn1", "c3"), "layer2.1", "layer3"),
        ("vgg11_bn", ("c1", "c3"), "features.20", "features.21"),
        ("timm/test_resnet", ("layer2.0.bn1", "c2", "c3"), "layer2", "layer3"),
        ("timm/test_efficientnet", ("c2", "c3"), "blocks.2", "blocks.3"),
    ],
)
def test_the_copy_to_fill_a_store(name, levels, kept, gone):
    asked = ("c5", *(level for level in levels if level != "c3"))
    backbone = build(name, asked)
    backbone.freeze("c2")
    backbone.train()
    state, modes = state_of(backbone), [module.training for module in backbone.modules()]
    copied = backbone.cut_copy(levels)
    assert copied.levels == levels
    assert copied.recipe == {**backbone.recipe, "levels": list(levels)}
    assert (copied.name, copied.weights, copied.preprocessing) == (name, "none", backbone.preprocessing)
    assert copied.is_frozen
    assert copied.frozen_until == "all"
    assert not any(module.training for module in copied.train().modules())
    modules = dict(copied.network.named_modules())
    assert kept in modules
    assert not any(path.startswith(gone) for path in copied.network.state_dict())
    found = copied(torch.zeros(1, 3, *backbone.facts.image_size))
    assert {level: tuple(values.shape[1:]) for level, values in found.items()} == copied.facts.shapes
    listed = [id(parameter) for _, group in copied.parameter_groups(trainable_only=False) for parameter in group]
    assert sorted(listed) == sorted(id(parameter) for parameter in copied.parameters())
    for tensor in (*copied.parameters(), *copied.buffers()):
        tensor.zero_()
    assert_same(state_of(backbone), state, tolerance=0)
    assert [module.training for module in backbone.modules()] == modes
    assert not backbone.is_frozen
    assert list(backbone(IMAGES)) == list(asked)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "timm/test_resnet", "timm/test_efficientnet"])
def test_the_copy_has_the_structure_that_its_recipe_builds(name):
    copied = build(name, ("c2", "embedding")).cut_copy(("c2", "c3"))
    again = build_backbone(**copied.recipe, weights="none")
    assert list(again.network.state_dict()) == list(copied.network.state_dict())
    assert (again.facts.shapes, list(again.facts.parts)) == (copied.facts.shapes, list(copied.facts.parts))
    again.network.load_state_dict(copied.network.state_dict())
    assert_same(copied(IMAGES), again.eval()(IMAGES), tolerance=0)


@pytest.mark.parametrize("name", ["resnet18", "timm/test_resnet"])
def test_trained_updates_of_the_frozen_part_are_folded_into_the_copy(name):
    backbone = build(name, ("layer2.0.conv1", "embedding"))
    backbone.tune("lora")
    train(backbone, lambda each: each(IMAGES))
    backbone.freeze("c3")
    backbone.checkpoint_activations()
    plain = backbone.fingerprint()
    copied = backbone.cut_copy(backbone.stored_levels("c3"))
    assert not any("lora" in key for key in copied.network.state_dict())
    assert copied.tuning.how == "full"
    with torch.no_grad():
        assert_same(backbone.eval().going_on(copied(IMAGES), "c3"), backbone(IMAGES), tolerance=1e-5)
    assert backbone.can_go_on("c3") is None
    assert backbone.fingerprint() == plain
    assert backbone.tuning.how == "lora"


def test_a_copy_to_levels_behind_a_map():
    backbone = build("timm/test_resnet", ("c2", "layer4.0.bn1", "embedding")).eval()
    expected = backbone(IMAGES)
    found = backbone.cut_copy(("embedding", "layer4.0.bn1", "embedding"))(IMAGES)
    assert_same(found, {level: expected[level] for level in ("embedding", "layer4.0.bn1")}, tolerance=0)


def test_a_copy_of_what_is_not_computed():
    backbone = build("resnet18", ("c2", "layer3.0.bn1"))
    with pytest.raises(
        UserError, match=r"This resnet18 doesn't compute 'c4'\. It computes: c1, c2, c3, layer3\.0\.bn1\."
    ):
        backbone.cut_copy(("c2", "c4"))
    with pytest.raises(UserError, match="No level to cut the trunk to: name at least one"):
        backbone.cut_copy(())


def test_what_a_walk_to_a_level_calls_behind_it_is_not_of_its_part():
    with torch.device("meta"):
        backbone = build_backbone("timm/test_resnet", weights="none")
    assert "act1" in backbone.facts.parts["c1"].modules
    assert "maxpool" in backbone.facts.parts["c2"].modules


def test_what_is_passed_through_keeps_the_lengths_of_lists():
    layers = [nn.Linear(2, 3) for _ in range(5)]
    network = nn.Sequential(nn.ModuleList(layers[:2]), nn.Sequential(*layers[2:4]), layers[4])
    modules = dict(network.named_modules())
    with continuation.passed_through(network, ["0", "0.0", "0.1", "1", "1.0", "1.1", "2.weight"]):
        assert [len(network[0]), len(network[1])] == [2, 2]
        assert all(isinstance(each, nn.Identity) for each in [*network[0], *network[1]])
        assert network[1](IMAGES) is IMAGES
        assert network[2] is layers[4]
    assert dict(network.named_modules()) == modules
