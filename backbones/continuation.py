"""Going on from a stored level: a pass that starts behind a frozen part instead of at the pictures."""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from . import lora
from .errors import UserError
from .flow import Facts
from .parts import Part
from .spec import sorted_levels
from .taps import Tap, attach_taps
from .tuning import Tuning

if TYPE_CHECKING:
    from .base import Backbone

SMALL_SIDE = 64
TOLERANCE = 1e-5


def whole_modules(network: nn.Module, paths: Collection[str]) -> list[str]:
    """Return those of ``paths`` under which nothing stands that is not in ``paths``, in the network's order.

    Args:
        network: With or without LoRA updates; one that stands on a layer counts as that layer.
        paths: As a part lists them, without LoRA.
    """
    inside = tuple(f"{path}." for path in lora.adapted_layers(network))
    present = [path for path, _ in network.named_modules() if not path.startswith(inside)]
    divided = {""}
    for path in set(present) - set(paths):
        while path not in divided:
            divided.add(path)
            path = path.rpartition(".")[0]  # noqa: PLW2901
    return [path for path in present if path not in divided]


@contextmanager
def passed_through(network: nn.Module, paths: Collection[str]) -> Iterator[None]:
    """Let the modules that ``paths`` hold whole return what they are given meanwhile; they are not called.

    Other modules take their places and give them back, so that names, values, hooks and modes stay as they are.
    """
    own = []
    whole = set(whole_modules(network, paths))
    for path in whole:
        parent, _, name = path.rpartition(".")
        if parent not in whole:
            own.append((network.get_submodule(parent)._modules, name, network.get_submodule(path)))
    try:
        for siblings, name, module in own:
            siblings[name] = _stand_in(module)
        yield
    finally:
        for siblings, name, module in own:
            siblings[name] = module


def _stand_in(module: nn.Module) -> nn.Module:
    """Return what passes on its input; lists stay lists of the same length, because networks count and slice them."""
    children = [_stand_in(child) for child in module.children()]
    if type(module) is nn.Sequential:
        return nn.Sequential(*children)
    return nn.ModuleList(children) if type(module) is nn.ModuleList else nn.Identity()


def cut_copy(backbone: "Backbone", levels: Sequence[str]) -> "Backbone":
    """Return a frozen copy that computes only ``levels``; see ``Backbone.cut_copy``."""
    _check_computed(backbone, levels)
    shared = {id(tensor): tensor for tensor in (*backbone.parameters(), *backbone.buffers())}
    cut = copy.deepcopy(backbone, dict(shared))  # shares all values, so that what is cut off is not copied
    _cut(cut, tuple(dict.fromkeys(levels)))
    copied = copy.deepcopy(cut)
    copied.merge()
    copied.tuning = Tuning()
    copied.freeze()
    copied.eval()
    if not set(copied.levels) <= set(copied.facts.shapes):
        copied.facts = replace(copied.facts, shapes=_measure_shapes(copied))
    return copied


def _check_computed(backbone: "Backbone", levels: Sequence[str]) -> None:
    if not levels:
        raise UserError("No level to cut the trunk to: name at least one of those it computes.")
    on_the_way = [level for level in backbone.specs if level in backbone.stored_levels(level)]
    computed = list(dict.fromkeys([*on_the_way, *backbone.levels]))
    for level in levels:
        if level not in computed:
            raise UserError(
                f"This {backbone.name} doesn't compute '{level}'. It computes: {', '.join(computed)}."
                " Build the trunk with the level among its levels."
            )


def _cut(backbone: "Backbone", levels: tuple[str, ...]) -> None:
    """Cut a trunk again; its tensors may be another trunk's and are not touched."""
    network, flow = backbone.network, backbone.flow
    _detach_taps(network)
    if backbone._recomputes:
        flow = flow.recomputing(network, False)
    maps = sorted_levels(levels)
    last = maps[-1] if maps and set(levels) <= {*backbone.stored_levels(maps[-1]), *maps} else None
    flow = flow.cut_behind(network, levels, last) if last else flow.cut(network, levels)
    backbone.flow, backbone.levels = flow, levels
    backbone.facts = _cut_facts(backbone.facts, network, levels, last)
    backbone.recipe = {**backbone.recipe, "levels": list(levels)}
    backbone._taps = attach_taps(network, flow.taps())
    backbone._recomputes, backbone._obstacles = False, {}


def _detach_taps(network: nn.Module) -> None:
    for module in network.modules():
        for key in [key for key, hook in module._forward_hooks.items() if isinstance(hook, Tap)]:
            del module._forward_hooks[key]


def _cut_facts(facts: Facts, network: nn.Module, levels: Sequence[str], last: str | None) -> Facts:
    """Return what holds of a trunk of which only ``network`` is left, with the known shapes among ``levels``.

    Args:
        facts: Of the trunk before.
        network: What is left.
        levels: What it returns.
        last: The level that it ends with; None if it has parts behind the maps.
    """
    modules = {path for path, _ in network.named_modules()}
    names = {name for name, _ in network.named_parameters()}
    order = sorted_levels(tuple(facts.specs))
    kept = [level for level in facts.parts if last is None or level in order[: order.index(last) + 1]]
    parts: dict[str, Part] = {}
    for level in kept:
        own = Part(
            tuple(path for path in facts.parts[level].modules if path and path in modules),
            tuple(name for name in facts.parts[level].parameters if name in names),
        )
        if own.modules or own.parameters:
            parts[level] = own
    if parts and any("" in part.modules for part in facts.parts.values()):  # the network's own mode: with the last part
        deepest = list(parts)[-1]
        parts[deepest] = replace(parts[deepest], modules=("", *parts[deepest].modules))
    shapes = {level: facts.shapes[level] for level in levels if level in facts.shapes}
    return replace(facts, parts=parts, called=facts.called & modules, shapes=shapes)


def _measure_shapes(backbone: "Backbone") -> dict[str, tuple[int, ...]]:
    """Return the shape of each level of a picture of ``facts.image_size``, without the batch."""
    with _undisturbed(backbone):
        levels = backbone(_random_pictures(backbone, backbone.facts.image_size))
    return {level: tuple(values.shape[1:]) for level, values in levels.items()}


def find_obstacle(backbone: "Backbone", entry: str) -> str | None:
    """Return why a trunk's pass can't start behind ``entry``, found by trying it on random pictures; None if it can."""
    source = backbone.cut_copy(backbone.stored_levels(entry))
    with _undisturbed(backbone):
        pictures, expected = _first_taken(backbone)
        stored = source(pictures)
        given = {level: values.clone() for level, values in stored.items()}
        try:
            found = backbone.going_on(given, entry)
        except Exception as error:  # whatever a network's code does with a map where it expects pictures
            reason = " ".join(str(error).split()) or type(error).__name__
            return f"{backbone.name} can't be entered behind {entry}: its own code expects pictures there ({reason})."
    if not all(torch.equal(given[level], values) for level, values in stored.items()):
        return f"{backbone.name} can't be entered behind {entry}: it overwrites what it is given."
    for level, values in expected.items():
        if not _is_close(found[level], values):
            return (
                f"{backbone.name} can't be entered behind {entry}: {level} would have other values than from pictures,"
                " because its own code does more up to there than call the modules that are frozen."
            )
    return None


def _is_close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    if torch.equal(found, expected):
        return True
    return bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())


def _first_taken(backbone: "Backbone") -> tuple[Tensor, dict[str, Tensor]]:
    """Return random pictures, small ones if the trunk takes them, and their levels."""
    facts = backbone.facts
    side = max(SMALL_SIDE, facts.min_size)
    if not facts.is_fixed_size:
        pictures = _random_pictures(backbone, (side, side))
        try:
            return pictures, backbone(pictures)
        except (RuntimeError, ValueError, AssertionError):  # windows or patches that don't divide this side
            pass
    pictures = _random_pictures(backbone, facts.image_size)
    return pictures, backbone(pictures)


def _random_pictures(backbone: "Backbone", size: tuple[int, int]) -> Tensor:
    """Return two pictures of the trunk's device and dtype; torch's global generator stays where it is."""
    pictures = torch.randn(2, backbone.in_channels, *size, generator=torch.Generator().manual_seed(0))
    own = next(backbone.parameters(), pictures)
    return pictures.to(own.device, own.dtype)


@contextmanager
def _undisturbed(backbone: "Backbone") -> Iterator[None]:
    """Be in evaluation mode, without gradients and autocast; every module's mode is put back."""
    modes: Mapping[nn.Module, bool] = {module: module.training for module in backbone.modules()}
    device = next((parameter.device.type for parameter in backbone.parameters()), "cpu")
    for module in modes:
        module.training = False
    try:
        with torch.no_grad(), torch.autocast(device, enabled=False):
            yield
    finally:
        backbone.network.train()  # entering training mode empties the tables that LeViT and its like keep between calls
        for module, mode in modes.items():
            module.training = mode
