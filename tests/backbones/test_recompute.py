"""Recomputed activations: less is kept for the backward pass, and not one bit of the result changes."""

import copy
import itertools
import weakref

import pytest
import torch
from onetrunk.backbones import UserError, build_backbone
from pytorch_lightning.utilities.model_helpers import _ModuleMode
from timm.layers import DropPath
from torch import nn

IMAGES = torch.randn(4, 3, 48, 48, generator=torch.Generator().manual_seed(0))
TRUNKS = {
    "resnet18": ("c2", "layer3.0.conv2", "layer3.1.bn2", "c4"),
    "vgg11_bn": ("c1", "conv4_1", "c3"),
    "efficientnet_lite0": ("c3", "blocks.4.1.bn2", "embedding"),
    "timm/test_efficientnet": ("c3", "blocks.2.0.bn2", "embedding"),
    "timm/test_resnet": ("layer3.0.conv2", "c5"),
}
BUILT = {}


def build(name, levels=None):
    """Return a trunk, always with the same weights, whose dropout and drop path throw away half."""
    levels = levels or TRUNKS[name]
    if (name, levels) not in BUILT:
        torch.manual_seed(0)
        BUILT[name, levels] = drop_often(build_backbone(name, weights="none", levels=levels))
    return copy.deepcopy(BUILT[name, levels])


def drop_often(backbone):
    for module in list(backbone.network.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.5
        for name in [name for name, _ in module.named_children() if name.startswith("drop_path")]:
            setattr(module, name, DropPath(0.5))
    if hasattr(backbone.network, "drop_rate"):
        backbone.network.drop_rate = 0.5
    return backbone


def pair(name, levels=None, change=lambda backbone: None):
    """Return a trunk that keeps its activations and one that doesn't, both in training mode after the same change."""
    kept = build(name, levels)
    torch.manual_seed(1)
    change(kept)
    repeated = copy.deepcopy(kept)
    repeated.checkpoint_activations()
    return kept.train(), repeated.train()


def loss_of(levels):
    return sum(values.float().pow(2).mean() for values in levels.values())


def two_steps(backbone, passes=1):
    """Train with drop path and momentum; return all that a step computes, and the generator's state at the end."""
    torch.manual_seed(2)
    optimizer = torch.optim.SGD([each for each in backbone.parameters() if each.requires_grad], lr=0.01, momentum=0.9)
    seen = []
    for _ in range(2):
        optimizer.zero_grad()
        outputs = [backbone(IMAGES + shift) for shift in range(passes)]  # several graphs at once
        sum(loss_of(output) for output in outputs).backward()
        optimizer.step()
        seen += [(level, values.detach()) for output in outputs for level, values in output.items()]
        seen += [(name, parameter.grad) for name, parameter in backbone.named_parameters()]
    state = [(name, values.clone()) for name, values in backbone.network.state_dict().items()]
    return [*seen, *state, ("generator", torch.get_rng_state())]


def assert_same(found, expected):
    assert [name for name, _ in found] == [name for name, _ in expected]
    differing = [
        name
        for (name, value), (_, other) in zip(found, expected, strict=True)
        if (value is None) != (other is None) or (value is not None and not torch.equal(value, other))
    ]
    assert differing == []


class Held:
    """What stands in a graph for a tensor, so that it can be seen whether the graph still holds it."""

    def __init__(self, tensor):
        self.storage = tensor.untyped_storage()
        self.tensor = tensor


def kept_bytes(backbone):
    """Return the size of the distinct storages that a pass keeps for the backward pass, parameters left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*backbone.parameters(), *backbone.buffers()]}
    held = weakref.WeakSet()

    def pack(tensor):
        each = Held(tensor)
        held.add(each)
        return each

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda each: each.tensor):
        levels = backbone(IMAGES)
    sizes = {each.storage.data_ptr(): each.storage.nbytes() for each in held}
    assert levels
    return sum(size for address, size in sizes.items() if address not in own)


@pytest.mark.parametrize("name", TRUNKS)
def test_training_is_bit_identical(name):
    kept, repeated = pair(name)
    assert any(isinstance(module, nn.BatchNorm2d) for module in kept.modules())
    assert any(isinstance(module, DropPath) for module in kept.modules()) == ("efficientnet" in name)
    assert_same(two_steps(repeated), two_steps(kept))


def test_the_dropped_paths_are_the_same_in_the_repeated_pass():
    kept, repeated = pair("timm/test_efficientnet")
    torch.manual_seed(0)
    first = repeated(IMAGES)["embedding"]
    assert not torch.equal(repeated(IMAGES)["embedding"], first)  # it does drop
    torch.manual_seed(0)
    assert torch.equal(kept(IMAGES)["embedding"], first)


@pytest.mark.parametrize("name", ["resnet18", "timm/test_resnet"])
def test_two_graphs_at_once_are_repeated_apart(name):
    kept, repeated = pair(name)
    assert_same(two_steps(repeated, passes=2), two_steps(kept, passes=2))


@pytest.mark.parametrize("name", TRUNKS)
def test_a_backward_pass_updates_nothing(name):
    repeated = pair(name)[1]
    loss = loss_of(repeated(IMAGES))
    after = {key: buffer.clone() for key, buffer in repeated.named_buffers()}
    calls = count_calls(repeated)
    loss.backward()
    assert sum(calls.values()) > 5  # the pass was repeated indeed
    assert all(torch.equal(buffer, after[key]) for key, buffer in repeated.named_buffers())
    counters = [int(buffer) for key, buffer in repeated.named_buffers() if key.endswith("num_batches_tracked")]
    assert set(counters) == {1}


def count_calls(backbone):
    """Return the counts, filled from now on, of the calls of every module without modules inside."""
    calls = {}
    for path, module in backbone.network.named_modules():
        if not list(module.children()):
            module.register_forward_pre_hook(lambda _, __, path=path: calls.update({path: calls.get(path, 0) + 1}))
    return calls


def test_norms_that_average_over_all_batches_count_each_once():
    def average(backbone):
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None

    kept, repeated = pair("resnet18", ("c2",), average)
    assert_same(two_steps(repeated), two_steps(kept))


@pytest.mark.parametrize(
    ("name", "levels", "most"),
    [
        ("resnet18", ("c4",), 0.4),
        ("vgg11_bn", ("c3",), 0.5),
        ("efficientnet_lite0", ("embedding",), 0.3),
        ("timm/test_efficientnet", ("embedding",), 0.6),
        ("timm/test_resnet", ("c5",), 0.8),  # half of it is the stem's, which timm keeps
    ],
)
def test_less_is_kept_for_the_backward_pass(name, levels, most):
    kept, repeated = pair(name, levels)
    assert 0 < kept_bytes(repeated) <= most * kept_bytes(kept)


@pytest.mark.parametrize("name", ["resnet18", "timm/test_resnet"])
def test_a_tap_alone_leads_a_gradient_into_its_segment(name):
    tap = "layer3.0.conv2"
    kept, repeated = pair(name, (tap, "c4"))
    for backbone in (kept, repeated):
        backbone(IMAGES)[tap].pow(2).mean().backward()
    assert_same(*(list((key, each.grad) for key, each in trunk.named_parameters()) for trunk in (repeated, kept)))
    assert kept.network.layer3[0].conv2.weight.grad.any()


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "timm/test_efficientnet"])
def test_evaluation_repeats_nothing(name):
    kept, repeated = pair(name)
    assert kept_bytes(repeated) < kept_bytes(kept)
    assert kept_bytes(repeated.eval()) == kept_bytes(kept.eval())
    calls = [count_calls(backbone) for backbone in (kept, repeated)]
    expected, found = kept(IMAGES), repeated(IMAGES)
    loss_of(found).backward()
    assert calls[0] == calls[1]
    assert all(torch.equal(found[level], expected[level]) for level in expected)


def test_without_gradients_nothing_is_repeated_nor_kept():
    kept, repeated = pair("resnet18")
    for backbone in (kept, repeated):
        with torch.no_grad():
            torch.manual_seed(0)
            backbone(IMAGES)
            assert kept_bytes(backbone) == 0
    assert repeated.fingerprint() == kept.fingerprint()


@pytest.mark.parametrize("how", ["full", "norm", "lora"])
@pytest.mark.parametrize("name", ["resnet18", "timm/test_resnet"])
def test_it_goes_on_after_lightning_has_validated(name, how):
    """Lightning calls eval(), and afterwards sets each module's ``training`` to what it was."""
    _, repeated = pair(name, ("c3",), lambda backbone: backbone.tune(how, rank=2))
    size = kept_bytes(repeated)
    modes = _ModuleMode()
    modes.capture(repeated)
    repeated.eval()
    kept_bytes(repeated)
    modes.restore(repeated)
    assert kept_bytes(repeated) == size


FREEDOMS = {
    "frozen to c2": lambda backbone: backbone.freeze("c2"),
    "norm": lambda backbone: backbone.tune("norm"),
    "lora": lambda backbone: backbone.tune("lora", rank=2),
    "lora above c2": lambda backbone: (backbone.freeze("c2"), backbone.tune("lora", rank=2)),
}


@pytest.mark.parametrize("freedom", FREEDOMS)
@pytest.mark.parametrize("name", ["resnet18", "timm/test_efficientnet"])
def test_with_a_part_frozen_or_tuned(name, freedom):
    kept, repeated = pair(name, ("c2", "c3"), FREEDOMS[freedom])
    assert kept_bytes(repeated) < kept_bytes(kept)
    fixed = repeated.frozen_fingerprint()
    assert_same(two_steps(repeated), two_steps(kept))
    assert repeated.frozen_fingerprint() == fixed


def test_the_order_of_calls_does_not_matter():
    calls = {
        "checkpoint": lambda backbone: backbone.checkpoint_activations(),
        "eval": lambda backbone: backbone.eval(),
        **{name: FREEDOMS[name] for name in ("frozen to c2", "lora")},
    }
    expected = two_steps(pair("timm/test_resnet", ("c2", "c3"), FREEDOMS["lora above c2"])[0])
    for order in itertools.permutations(calls):
        backbone = build("timm/test_resnet", ("c2", "c3"))
        torch.manual_seed(1)
        for call in order:
            calls[call](backbone)
        if order.index("frozen to c2") < order.index("lora"):  # or the generator has drawn more before
            assert_same(two_steps(backbone.train()), expected)
        size = kept_bytes(backbone)
        backbone.merge()
        backbone.freeze("all")
        assert kept_bytes(backbone) == 0 < size


@pytest.mark.parametrize("name", ["efficientnet_lite0", "timm/test_resnet"])
def test_a_deep_copy_repeats_its_own_pass(name):
    kept, repeated = pair(name)
    two_steps(repeated)  # hooks are in place
    twin = copy.deepcopy(repeated)
    state = [(key, values.clone()) for key, values in repeated.state_dict().items()]
    found = two_steps(twin)
    assert_same(list(repeated.state_dict().items()), state)
    two_steps(kept)
    assert_same(found, two_steps(kept))
    assert kept_bytes(twin) == kept_bytes(repeated)


def test_it_may_be_asked_for_twice():
    kept, repeated = pair("resnet18", ("c2",))
    repeated.checkpoint_activations()
    assert_same(two_steps(repeated), two_steps(kept))


def test_the_state_dict_stays_as_it_is():
    kept, repeated = pair("resnet18", ("c2",))
    repeated(IMAGES)
    assert list(repeated.state_dict()) == list(kept.state_dict())


def test_networks_that_timm_has_no_checkpointing_for():
    with torch.device("meta"):
        backbone = build_backbone("timm/vgg11_bn", weights="none", levels=["c3"])
    with pytest.raises(UserError, match=r"timm has no gradient checkpointing for VGG.*take another network"):
        backbone.checkpoint_activations()
    backbone(torch.empty(2, 3, 64, 64, device="meta"))  # and it goes on without
