"""A network's forward as an ordered list of step names.

Levels are read after named steps, nothing runs past the deepest step asked for, and leaving out what is not needed is
deleting the modules of the later steps: the state-dict names of the kept part never change.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .errors import UserError, did_you_mean
from .parts import Part
from .spec import LEVELS, PREPOOL, sorted_levels

Function = Callable[[nn.Module, Tensor], Tensor]


def flatten(network: nn.Module, images: Tensor) -> Tensor:
    """Flatten ``[B, C, h, w]`` to ``[B, C * h * w]``: a step that no module stands for."""
    return torch.flatten(images, 1)


@dataclass(frozen=True)
class Chain:
    """How a network without branches between its steps is walked.

    Attributes:
        steps: Module paths in the order of the forward pass, ``nn.Sequential`` flattened, and names of functions.
        levels: Step after which each of ``cK``, ``embedding`` and ``logits`` is read.
        aliases: Other names for steps, e.g. ``fc7`` for ``classifier.3``.
        functions: The steps that are no modules.
        places: Of each level asked for, the index of its step and the module inside it to tap; filled by ``cut``.
        recomputes: Whether the backward pass computes the activations between two levels again.
    """

    steps: tuple[str, ...]
    levels: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)
    functions: Mapping[str, Function] = field(default_factory=lambda: {"flatten": flatten})
    places: Mapping[str, tuple[int, str | None]] = field(default_factory=dict)
    recomputes: bool = False

    @classmethod
    def of(
        cls,
        network: nn.Module,
        steps: Iterable[str],
        *,
        levels: Mapping[str, str],
        aliases: Mapping[str, str] | None = None,
        functions: Mapping[str, Function] | None = None,
    ) -> "Chain":
        """Return the chain over ``steps`` with every ``nn.Sequential`` replaced by what it holds."""
        functions = {"flatten": flatten, **(functions or {})}
        flat = tuple(leaf for step in steps for leaf in ([step] if step in functions else _leaves(network, step)))
        return cls(steps=flat, levels=levels, aliases=aliases or {}, functions=functions)

    def offered(self) -> tuple[str, ...]:
        """Return the level names that stand for a map or vector: ``cK``, ``embedding``, ``logits``."""
        return tuple(self.levels)

    def locate(self, network: nn.Module, level: str) -> tuple[int, str | None]:
        """Return the step after which ``level`` can be read and the module inside it to tap, None for its output.

        Raises:
            UserError: No level, alias or module has that name.
        """
        maps = sorted_levels(tuple(self.levels))
        deepest = {PREPOOL: self.levels[maps[-1]]} if maps else {}
        path = {**deepest, **self.aliases, **self.levels}.get(level, level)
        inside = [index for index, step in enumerate(self.steps) if step == path or step.startswith(f"{path}.")]
        if inside:
            return inside[-1], None
        around = [index for index, step in enumerate(self.steps) if path.startswith(f"{step}.")]
        modules = dict(network.named_modules())
        if not around or path not in modules:
            raise _unknown_level(level, [*self.levels, *self.aliases], modules)
        return around[0], path

    def cut(self, network: nn.Module, levels: Sequence[str]) -> "Chain":
        """Delete what none of ``levels`` needs from ``network`` and return the shorter chain.

        Raises:
            UserError: No level, alias or module has one of the names.
        """
        places = {level: self.locate(network, level) for level in levels}
        length = max(index for index, _ in places.values()) + 1
        for step in self.steps[length:]:
            if step not in self.functions:
                _delete(network, step)
        return replace(self, steps=self.steps[:length], places=places)

    def cut_behind(self, network: nn.Module, levels: Sequence[str], entry: str) -> "Chain":
        """Return ``cut``: it knows where each of ``levels`` stands, none of them behind ``entry``."""
        return self.cut(network, levels)

    def taps(self) -> list[str]:
        """Return the modules that must be hooked for the levels of ``cut``."""
        return list(dict.fromkeys(path for _, path in self.places.values() if path is not None))

    def run(self, network: nn.Module, images: Tensor, tapped: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Walk the chain and return the levels of ``cut``.

        Args:
            network: The network that was cut.
            images: ``[B, C, H, W]``, normalised.
            tapped: What the hooks fill while the steps run.

        Raises:
            UserError: The network never calls a module that was asked for.
        """
        return self._run_from(0, network, images, tapped)

    def known_at(self, network: nn.Module, entry: str, modules: Collection[str]) -> tuple[str, ...]:
        """Return the levels of ``cut`` that are read up to and including ``entry``, shallow to deep.

        Args:
            network: The network that was cut.
            entry: One of ``cK``; the modules of its part and of those before it are ``modules``.
            modules: Not looked at: the steps tell.
        """
        start = self._end_of(entry)
        known = {level: (index, path is None) for level, (index, path) in self.places.items() if index < start}
        return tuple(sorted(known, key=lambda level: known[level]))

    def go_on(
        self,
        network: nn.Module,
        stored: Mapping[str, Tensor],
        entry: str,
        tapped: Mapping[str, Tensor],
        modules: Collection[str],
    ) -> dict[str, Tensor]:
        """Walk the steps behind ``entry`` and return the levels of ``cut`` that are read there.

        Args:
            network: The network that was cut.
            stored: Holds ``entry``.
            entry: One of ``cK``.
            tapped: What the hooks fill while the steps run.
            modules: Not looked at: the steps tell.

        Raises:
            UserError: The network never calls a module that was asked for.
        """
        start = self._end_of(entry)
        rest = replace(self, places={level: place for level, place in self.places.items() if place[0] >= start})
        return rest._run_from(start, network, stored[entry], tapped)

    def _run_from(
        self, start: int, network: nn.Module, values: Tensor, tapped: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        found: dict[int, Tensor] = {}
        for segment in self._segments(start) if self.recomputes else [range(start, len(self.steps))]:
            walk = partial(self._walk, network, segment)
            values, kept = checkpoint(walk, values, use_reentrant=False) if self.recomputes else walk(values)
            found |= kept
        never = [path for path in self.taps() if path not in tapped]
        if never:
            raise UserError(f"The module '{never[0]}' is never called in the forward pass: tap another.")
        return {level: found[index] if path is None else tapped[path] for level, (index, path) in self.places.items()}

    def _walk(self, network: nn.Module, segment: range, values: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """Return the output of a segment's last step, and those of its steps that are levels."""
        kept: dict[int, Tensor] = {}
        wanted = {index for index, path in self.places.values() if path is None}
        for index in segment:
            step = self.steps[index]
            function = self.functions.get(step)
            values = function(network, values) if function else network.get_submodule(step)(values)
            if index in wanted:
                kept[index] = values
        return values, kept

    def _segments(self, start: int) -> list[range]:
        """Return the steps from ``start`` on in segments that end at the levels, asked for or not.

        What is kept is one map a segment.
        A finer cut would save nothing where each layer of a segment is one step, as in VGG.
        """
        ends = sorted({self._end_of(level) for level in self.levels} | {len(self.steps)})
        ends = [end for end in ends if end > start]
        return [range(first, end) for first, end in zip([start, *ends], ends, strict=False)]

    def recomputing(self, network: nn.Module, is_active: bool) -> "Chain":
        """Return the chain that computes the activations inside its segments again in the backward pass, or doesn't."""
        return replace(self, recomputes=is_active)

    def parts(self, network: nn.Module, images: Tensor) -> dict[str, Part]:
        """Return the parts, shallow to deep: ``cK``, then ``embedding`` and ``logits``.

        A part holds what runs after the level before it, up to and including its own.
        """
        order = [*sorted_levels(tuple(self.levels)), *(name for name in self.levels if name not in LEVELS)]
        parts: dict[str, tuple[str, ...]] = {}
        start = 0
        for name in order:
            if start == len(self.steps):
                break
            end = self._end_of(name)
            parts[name] = tuple(path for step in self.steps[start:end] for path in self._modules(network, step))
            start = max(start, end)
        return {name: Part.of(network, paths) for name, paths in parts.items() if paths}

    def _end_of(self, level: str) -> int:
        path = self.levels[level]
        ends = [index + 1 for index, step in enumerate(self.steps) if step == path or step.startswith(f"{path}.")]
        return ends[-1] if ends else len(self.steps)

    def _modules(self, network: nn.Module, step: str) -> list[str]:
        if step in self.functions:
            return []
        return [f"{step}.{name}" if name else step for name, _ in network.get_submodule(step).named_modules()]


def _leaves(network: nn.Module, path: str) -> list[str]:
    module = network.get_submodule(path)
    if type(module) is not nn.Sequential:
        return [path]
    return [leaf for name, _ in module.named_children() for leaf in _leaves(network, f"{path}.{name}")]


def _delete(network: nn.Module, path: str) -> None:
    parent_path, _, name = path.rpartition(".")
    parent = network.get_submodule(parent_path)
    delattr(parent, name)
    if parent_path and not list(parent.children()):
        _delete(network, parent_path)


def _unknown_level(level: str, names: list[str], modules: Iterable[str]) -> UserError:
    near = did_you_mean(level, [*names, *modules])
    return UserError(f"Unknown level '{level}'. Known: {', '.join(names)}, and the path of any module.{near}")
