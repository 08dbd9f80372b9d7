"""The trunk: one class for every network, made by the builders of the families."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from . import lora
from .continuation import cut_copy, find_obstacle
from .errors import UserError, unknown
from .fingerprint import fingerprint
from .flow import Facts, Flow
from .parts import Part
from .preprocessing import Preprocessing
from .recompute import guard_buffers
from .spec import FeatureSpec, sorted_levels
from .taps import attach_taps
from .tuning import Tuning


class Backbone(nn.Module):
    """A network as a shared feature extractor.

    ``backbone(images)`` takes ``[B, C, H, W]`` float32, normalised, and returns exactly the levels asked for at the
    build: ``c0`` .. ``c5`` (``[B, C, h, w]``), ``prepool``, the map that is pooled for ``embedding`` (``[B, D]``: what
    the ImageNet classifier reads), ``logits`` (``[B, 1000]``), an alias such as ``fc7`` or any module path such as
    ``layer3.5.conv2``. Nothing is computed past the deepest of them, and what none of them needs is not in ``network``.

    Attributes:
        name: As in ``build_backbone``.
        network: The network under its original state-dict names, without the parts that were left out.
        levels: What ``forward`` returns.
        facts: What was measured: ``specs``, ``shapes``, ``embedding_dim`` and more.
        in_channels: Channels of the pictures.
        preprocessing: What the weights expect of pictures.
        weights: The text that named the weights.
        recipe: ``build_backbone(**recipe, weights="none")`` builds the same structure.
        notes: What the caller should know about how the weights were loaded.
        frozen_until: ``none``, ``all`` or the level up to which parameters and statistics stay as they are.
        tuning: What is trained of the rest: everything, the affine parameters of its norms, or LoRA updates.
    """

    def __init__(
        self,
        *,
        name: str,
        network: nn.Module,
        flow: Flow,
        levels: Sequence[str],
        in_channels: int = 3,
        facts: Facts | None = None,
    ) -> None:
        """Cut ``network`` down to ``levels``.

        Raises:
            UserError: A level has an unknown name.
        """
        super().__init__()
        self.name = name
        self.levels = tuple(dict.fromkeys(levels))
        if not self.levels:
            raise UserError("No level asked for: name at least one, e.g. 'c5' or 'embedding'.")
        self.flow = flow.cut(network, self.levels)
        self.network = network
        self._taps = attach_taps(network, self.flow.taps())
        self.in_channels = in_channels
        self.facts = facts or Facts()
        self.preprocessing = Preprocessing()
        self.weights = "none"
        self.recipe: dict[str, Any] = {}
        self.notes: tuple[str, ...] = ()
        self.frozen_until = "none"
        self.tuning = Tuning()
        self._frozen = Part((), ())
        self._is_asked_to_train = True
        self._recomputes = False
        self._obstacles: dict[str, str | None] = {}

    @property
    def specs(self) -> Mapping[str, FeatureSpec]:
        """Every ``cK`` this trunk can offer, shallow to deep, asked for or not."""
        return self.facts.specs

    @property
    def embedding_dim(self) -> int:
        """Length of ``embedding``; 0 if the network has none."""
        return self.facts.embedding_dim

    @property
    def num_logits(self) -> int:
        """Length of ``logits``; 0 if the network has no classifier."""
        return self.facts.num_logits

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the levels of normalised pictures ``[B, C, H, W]``.

        Raises:
            UserError: The pictures have another number of channels, or are too small for the network.
        """
        self.facts.check(images, name=self.name, in_channels=self.in_channels, levels=self.levels)
        with self._opened() as tapped:
            return self.flow.run(self.network, images, tapped)

    @contextmanager
    def _opened(self) -> Iterator[dict[str, Tensor]]:
        if self._recomputes:
            guard_buffers(self.network)
            # asked anew in each pass: Lightning puts the mode back after a validation without calling train()
            self.flow = self.flow.recomputing(self.network, self.training and torch.is_grad_enabled())
        with self._taps.opened() as tapped:
            yield tapped

    def stored_levels(self, entry: str) -> tuple[str, ...]:
        """Return what has to be kept of a picture so that a pass can start behind ``entry``, shallow to deep.

        That is ``entry``, asked for or not, and the levels asked for that are computed up to there. If that is all of
        them, nothing stands behind, and they alone are returned as ``levels`` has them.

        Args:
            entry: A level ``cK``, or ``all`` for a trunk that is frozen whole.

        Raises:
            UserError: ``entry`` is none of these.
        """
        self._check_entry(entry)
        if entry == "all":
            return self.levels
        known = self.flow.known_at(self.network, entry, self._part_until(entry).modules)
        if set(known) == set(self.levels):
            return self.levels
        return known if entry in known else (*known, entry)

    def going_on(self, stored: Mapping[str, Tensor], entry: str) -> dict[str, Tensor]:
        """Return what ``forward`` returns, from the ``stored_levels`` of the same pictures.

        Nothing up to ``entry`` is computed, and no gradient reaches it. What stands behind works as in ``forward``:
        its mode, its statistics, its taps, what is tuned of it, and whether its activations are computed again.

        Args:
            stored: ``[B, ...]`` of each of ``stored_levels(entry)``, as ``forward`` returns them.
            entry: A level ``cK`` that ``can_go_on`` has nothing against, or ``all``.

        Raises:
            UserError: ``entry`` is none of these, or a level is missing in ``stored``.
        """
        needed = self.stored_levels(entry)
        missing = [level for level in needed if level not in stored]
        if missing:
            raise UserError(
                f"To go on behind {entry}, {self.name} needs the stored levels {', '.join(needed)};"
                f" {', '.join(missing)} is missing: store what stored_levels('{entry}') names."
            )
        found = {level: stored[level] for level in self.levels if level in needed}
        if len(found) < len(self.levels):
            with self._opened() as tapped:
                modules = self._part_until(entry).modules
                found |= self.flow.go_on(self.network, stored, entry, tapped, modules)
        return {level: found[level] for level in self.levels}

    def can_go_on(self, entry: str) -> str | None:
        """Return None, or why a pass of this network can't start behind ``entry``.

        It is tried once for each entry, on random pictures in evaluation mode: ``going_on`` has to give what
        ``forward`` gives, to 1e-5 of a level's largest value.

        Args:
            entry: A level ``cK``, or ``all``.

        Raises:
            UserError: ``entry`` is none of these.
        """
        if set(self.stored_levels(entry)) == set(self.levels):
            return None  # nothing stands behind it
        if entry not in self._obstacles:
            self._obstacles[entry] = find_obstacle(self, entry)
        return self._obstacles[entry]

    def cut_copy(self, levels: Sequence[str]) -> "Backbone":
        """Return a frozen copy in evaluation mode that computes ``levels`` and nothing behind them.

        It has values of its own; LoRA updates are folded into them. Its ``recipe`` builds the same structure, except
        that timm's networks keep all their stages there if a level is a module's path.

        Args:
            levels: Of those asked for, and any ``cK`` that is computed on the way to them.

        Raises:
            UserError: There is none, or the trunk doesn't compute one of them.
        """
        return cut_copy(self, levels)

    def _check_entry(self, entry: str) -> None:
        if entry != "all" and entry not in self.specs:
            raise unknown("level to go on from", entry, [*self.specs, "all"])

    def freeze(self, until: str = "all") -> None:
        """Keep a part of the trunk as it is: no gradient, no drifting statistics, no dropout or drop path.

        It may be called again with another value, before or after ``tune()``, ``train()`` and ``eval()``. LoRA updates
        of what is frozen now are taken out if they change nothing yet, and kept as they are if they were trained.

        Args:
            until: ``all``, ``none``, or a level ``cK``: everything up to and including it.

        Raises:
            UserError: ``until`` is none of these, or nothing is left for ``tune("norm")`` or ``tune("lora")``.
        """
        allowed = ["none", *self.specs, "all"]
        if until not in allowed:
            raise unknown("part to freeze", until, allowed)
        self._set_trained(until, self.tuning)

    def tune(self, how: str, *, rank: int = 8, alpha: float = 16.0) -> None:
        """Choose what is trained of the part that ``freeze`` leaves free.

        It may be called again, before or after ``freeze()``, ``train()`` and ``eval()``.

        ``norm`` trains the weights and biases of normalisation layers (Frankle et al., 2021, "Training BatchNorm and
        Only BatchNorm"), and ``lora`` low-rank updates of layers (Hu et al., 2021). With either, the trunk stays in
        evaluation mode: no dropout, no drop path, and unlike in Frankle et al. no moving statistics. Then exactly the
        trained parameters change, everything else is provably the same (``frozen_fingerprint``), and small batches of
        a new task don't spoil statistics that a million pictures made.

        ``lora`` adapts every convolution with one group and every linear layer that a pass calls; grouped (depthwise)
        convolutions and weights that a network uses without calling their layer (``qkv`` of BEiT and Swin V2) stay as
        they are. New updates start from torch's global generator and change nothing before they are trained; the state
        dict then names a layer's own weight ``<path>.base_layer.weight``, until ``merge()``.

        Args:
            how: ``full``, ``norm`` or ``lora``.
            rank: Of each LoRA update, at least 1.
            alpha: A LoRA update is scaled by ``alpha / rank``.

        Raises:
            UserError: The trunk has nothing to tune in this way, all of it is frozen, it holds trained LoRA updates
                that this would throw away, or a value means nothing.
        """
        self._set_trained(self.frozen_until, Tuning(how, rank, alpha))

    def merge(self) -> None:
        """Fold LoRA updates into the weights and bring back the original layers and names; without any, do nothing.

        Outputs stay the same up to rounding. From then on the trunk is tuned ``full``: what ``freeze`` leaves free is
        trainable.
        """
        if self.tuning.how == "lora":
            lora.fold(self.network)
            self._set_trained(self.frozen_until, Tuning())

    def _set_trained(self, until: str, tuning: Tuning) -> None:
        if until == "all" and tuning.how != "full":
            raise UserError(
                f"freeze('all') and tune('{tuning.how}') contradict each other: one trains nothing of {self.name}, the"
                " other a part of it. Freeze up to a level or 'none', or tune 'full'."
            )
        frozen = self._part_until(until)
        selected = tuning.select(self.name, self.network, frozen.parameters, self.facts.called)
        tuning.refuse_loss(self.network, before=self.tuning)
        self.frozen_until, self.tuning, self._frozen = until, tuning, frozen
        trained = tuning.apply(self.network, selected)
        self.network.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
        self.train(self._is_asked_to_train)

    def checkpoint_activations(self) -> None:
        """Compute activations again in the backward pass instead of keeping them (Chen et al., 2016).

        It costs about a third more time and changes nothing else: outputs, gradients, statistics and random numbers are
        bit-identical. One map is kept for each level, or for each of timm's blocks. Evaluation mode and
        ``torch.no_grad`` keep no more than they did.

        Raises:
            UserError: timm has no checkpointing for this network.
        """
        self.flow = self.flow.recomputing(self.network, True)
        self._recomputes = True

    def _part_until(self, until: str) -> Part:
        if until == "all":
            return Part.of(self.network, [path for path, _ in self.network.named_modules()])
        order = sorted_levels(tuple(self.specs))
        names = order[: order.index(until) + 1] if until in order else []
        parts = [self.facts.parts[name] for name in names if name in self.facts.parts]
        return Part(
            modules=tuple(path for part in parts for path in part.modules),
            parameters=tuple(name for part in parts for name in part.parameters),
        )

    def train(self, mode: bool = True) -> "Backbone":
        """Set training mode, except for what is frozen or tuned in part: that stays in evaluation mode."""
        self._is_asked_to_train = mode
        self.training = mode and self.frozen_until != "all"
        self.network.train(self.training and self.tuning.how == "full")
        for path in self._frozen.modules:
            self.network.get_submodule(path).training = False
        return self

    @property
    def is_frozen(self) -> bool:
        """Whether no parameter of the trunk is trainable."""
        return not any(parameter.requires_grad for parameter in self.network.parameters())

    def parameter_groups(self, *, trainable_only: bool = True) -> list[tuple[str, list[nn.Parameter]]]:
        """Return the parameters of each part that has some, shallow to deep; LoRA updates stand with their layer.

        Args:
            trainable_only: Whether to leave out what is frozen or not tuned. For an optimizer that outlives a thaw,
                leave nothing out.
        """
        groups = []
        for name, part in self.facts.parts.items():
            own = lora.parameters_with_adapters(self.network, part.parameters)
            kept = [parameter for parameter in own if parameter.requires_grad or not trainable_only]
            if kept:
                groups.append((name, kept))
        return groups

    def fingerprint(self) -> str:
        """Return the SHA-256 over names, shapes and float32 values of ``network``'s parameters and buffers.

        LoRA updates don't count before ``merge()``: it is that of the weights they stand on.
        """
        return fingerprint(lora.original_state(self.network)[0])

    def frozen_names(self) -> frozenset[str]:
        """Return the names in the state dict of what ``freeze`` holds fixed; none where the rest is tuned in part."""
        if self.tuning.how != "full":
            return frozenset()
        return frozenset(f"network.{name}" for name in self.tuning.fixed_state(self.network, self._frozen))

    def frozen_fingerprint(self) -> str:
        """Return the SHA-256, as ``fingerprint`` takes it, over what may not change; "" if that is nothing.

        That is what ``freeze`` holds fixed; with ``tune("norm")`` or ``tune("lora")``, everything but the trained
        parameters. Names are those without LoRA, so that ``fingerprint()`` before equals ``frozen_fingerprint()`` with.
        """
        state = self.tuning.fixed_state(self.network, self._frozen)
        return fingerprint(state) if state else ""


def require_pyramid(backbone: Backbone) -> None:
    """Refuse a trunk that has no pyramid of maps for a dense head.

    Raises:
        UserError: All maps share one stride, or the strides are no powers of two.
    """
    if len(backbone.specs) > 1:
        return
    strides = sorted(set(backbone.facts.map_strides))
    text = ", ".join(f"{stride:g}" for stride in strides) or "none"
    reason = "its maps all share one stride" if len(strides) == 1 else "the strides of its maps are no powers of two"
    raise UserError(
        f"{backbone.name} can't carry a dense head: {reason} ({text}). It still classifies from its embedding;"
        " for dense tasks take e.g. resnet50 or efficientnet_lite0."
    )
