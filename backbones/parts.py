"""Which parameters and modules stand up to which level: what freezing and layer-wise rates go by."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Part:
    """What a level adds to the level before it.

    Attributes:
        modules: Paths of the modules whose mode and buffers belong to it.
        parameters: Names of its parameters. A module's own may belong to different parts.
    """

    modules: tuple[str, ...]
    parameters: tuple[str, ...]

    @classmethod
    def of(cls, network: nn.Module, modules: Iterable[str]) -> "Part":
        """Return the part that owns what ``modules`` own."""
        paths = dict.fromkeys(modules)
        names = [name for name, _ in network.named_parameters() if _owner(name) in paths]
        return cls(tuple(paths), tuple(names))


def measure_parts(network: nn.Module, runs: Mapping[str, Callable[[], Tensor]]) -> dict[str, Part]:
    """Return the part of each level by walking the network up to it.

    A parameter belongs to the shallowest level whose output depends on it, as autograd tells: a module's call tells
    less, because ``F.linear(x, self.qkv.weight)`` calls nothing. What no output depends on goes with the nearest module
    around it that was called. A module goes with the shallowest of its own parameters or, without any, with the
    nearest call that the level's output depends on: a walk to the stem of timm's ResNets calls the pooling behind it
    too. The network's own mode, which rules the dropout before its classifier, goes with the last part.

    Args:
        network: On the meta device, where it costs next to nothing.
        runs: Of each level, shallow to deep, what walks up to it and returns its output.
    """
    called: dict[str, str] = {}
    reached: dict[str, str] = {}
    with _differentiable(network):
        for level, run in runs.items():
            paths, names = _watch(network, run)
            called = {**dict.fromkeys(paths, level), **called}
            reached = {**dict.fromkeys(names, level), **reached}
    return _assign(network, list(runs), called, reached)


def _assign(
    network: nn.Module, order: list[str], called: Mapping[str, str], reached: Mapping[str, str]
) -> dict[str, Part]:
    around = {"": order[0]}
    for path, _ in network.named_modules():
        if path:
            around[path] = called.get(path, around[_owner(path)])
    parameters = {name: reached.get(name, around[_owner(name)]) for name, _ in network.named_parameters()}
    owned: dict[str, list[str]] = {}
    for name, level in parameters.items():
        owned.setdefault(_owner(name), []).append(level)
    modules = {path: min(owned.get(path, [level]), key=order.index) for path, level in around.items()}
    modules[""] = order[-1]
    parts = {level: Part(_keys_of(modules, level), _keys_of(parameters, level)) for level in order}
    return {level: part for level, part in parts.items() if part.modules or part.parameters}


def _keys_of(levels: Mapping[str, str], level: str) -> tuple[str, ...]:
    return tuple(key for key, value in levels.items() if value == level)


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


@contextmanager
def _differentiable(network: nn.Module) -> Iterator[None]:
    """Let every parameter leave its trace, those that start out fixed included, in evaluation mode."""
    fixed = [parameter for parameter in network.parameters() if not parameter.requires_grad]
    training = network.training
    network.requires_grad_(True)
    network.train().eval()  # entering training mode empties the tables that LeViT and its like keep between calls
    try:
        with torch.enable_grad():
            yield
    finally:
        network.train().train(training)
        for parameter in fixed:
            parameter.requires_grad_(False)


@contextmanager
def watch_calls(network: nn.Module) -> Iterator[dict[str, None]]:
    """Yield the paths of the modules that are called meanwhile, each once, in order."""
    called: dict[str, None] = {}
    handles = [
        module.register_forward_pre_hook(lambda _module, _args, path=path: called.setdefault(path))
        for path, module in network.named_modules()
        if path
    ]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()


def _watch(network: nn.Module, run: Callable[[], Tensor]) -> tuple[list[str], list[str]]:
    """Return the modules that a run calls on the way to its output, and the parameters that the output depends on."""
    ends: dict[str, list[Any]] = {}
    handles = [
        module.register_forward_hook(
            lambda _module, _args, output, path=path: ends.setdefault(path, []).append(getattr(output, "grad_fn", None))
        )
        for path, module in network.named_modules()
    ]
    try:
        with watch_calls(network) as called:
            nodes = _graph(run())
    finally:
        for handle in handles:
            handle.remove()
    # what returns no tensor, or one that no parameter has touched, can't be told from the graph
    on_the_way = [path for path in called if any(end is None or end in nodes for end in ends.get(path, [None]))]
    reached = {id(node.variable) for node in nodes if hasattr(node, "variable")}
    return on_the_way, [name for name, parameter in network.named_parameters() if id(parameter) in reached]


def _graph(output: Tensor) -> set[Any]:
    """Return the nodes of the graph behind ``output``; those that hold a parameter name it ``variable``."""
    nodes: list[Any] = [output.grad_fn]
    seen: set[Any] = set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes.extend(before for before, _ in node.next_functions)
    return seen
