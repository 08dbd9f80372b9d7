"""The trunk: one class for every network, made by the builders of the families."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .errors import UserError, unknown
from .fingerprint import fingerprint
from .parts import Part
from .preprocessing import Preprocessing
from .spec import FeatureSpec, sorted_levels
from .taps import attach_taps


class Flow(Protocol):
    """How a network is walked: ``Chain`` for the classics, ``TimmFlow`` for timm's networks."""

    def offered(self) -> tuple[str, ...]: ...  # noqa: D102
    def cut(self, network: nn.Module, levels: Sequence[str]) -> "Flow": ...  # noqa: D102
    def taps(self) -> list[str]: ...  # noqa: D102
    def run(self, network: nn.Module, images: Tensor, tapped: Mapping[str, Tensor]) -> dict[str, Tensor]: ...  # noqa: D102
    def parts(self, network: nn.Module, images: Tensor) -> dict[str, Part]: ...  # noqa: D102


@dataclass(frozen=True)
class Facts:
    """What was measured on a trunk.

    Attributes:
        specs: Every ``cK`` the trunk can offer, shallow to deep, asked for or not.
        map_strides: Stride of every map the network can be tapped at, powers of two or not.
        embedding_dim: Length of ``embedding``; 0 if the network has none.
        num_logits: Length of ``logits``; 0 if the network has no classifier.
        shapes: Of each level asked for, its shape without the batch, for pictures of ``image_size``.
        parts: Modules and parameters of each part, shallow to deep, for freezing and layer-wise rates.
        image_size: Height and width that ``shapes`` hold for.
        is_fixed_size: Whether the network takes pictures of ``image_size`` only.
        min_size: The smallest side of a square picture that the network can take.
    """

    specs: Mapping[str, FeatureSpec] = field(default_factory=dict)
    map_strides: tuple[float, ...] = ()
    embedding_dim: int = 0
    num_logits: int = 0
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)
    image_size: tuple[int, int] = (224, 224)
    is_fixed_size: bool = False
    min_size: int = 1


class Backbone(nn.Module):
    """A network as a shared feature extractor.

    ``backbone(images)`` takes ``[B, C, H, W]`` float32, normalised, and returns exactly the levels asked for at the
    build: ``c0`` .. ``c5`` (``[B, C, h, w]``), ``embedding`` (``[B, D]``: what the ImageNet classifier reads),
    ``logits`` (``[B, 1000]``), an alias such as ``fc7`` or any module path such as ``layer3.5.conv2``. Nothing is
    computed past the deepest of them, and what none of them needs is not in ``network``.

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
        self._tapped = attach_taps(network, self.flow.taps())
        self.in_channels = in_channels
        self.facts = facts or Facts()
        self.preprocessing = Preprocessing()
        self.weights = "none"
        self.recipe: dict[str, Any] = {}
        self.notes: tuple[str, ...] = ()
        self.frozen_until = "none"
        self._frozen = Part((), ())
        self._is_asked_to_train = True

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
        self._check(images)
        self._tapped.clear()
        levels = self.flow.run(self.network, images, self._tapped)
        self._tapped.clear()  # or the graph of this pass would live until the next
        return levels

    def _check(self, images: Tensor) -> None:
        given = "x".join(str(side) for side in images.shape)
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            expected = f"[batch, {self.in_channels}, height, width]"
            hint = f"; for other channels build it with in_channels={images.shape[1]}" if images.ndim == 4 else ""
            raise UserError(f"{self.name} takes pictures {expected}, not {given}{hint}.")
        height, width = images.shape[-2:]
        if self.facts.is_fixed_size and (height, width) != self.facts.image_size:
            wanted = f"{self.facts.image_size[0]}x{self.facts.image_size[1]}"
            raise UserError(
                f"{self.name} was built for pictures of {wanted}, not {height}x{width}:"
                f" resize them, or build it with image_size=({height}, {width})."
            )
        if min(height, width) < self.facts.min_size:
            raise UserError(
                f"{self.name} needs pictures of at least {self.facts.min_size}x{self.facts.min_size} for"
                f" {', '.join(self.levels)}, not {height}x{width}."
            )

    def freeze(self, until: str = "all") -> None:
        """Keep a part of the trunk as it is: no gradient, no drifting statistics, no dropout or drop path.

        It may be called again with another value, before or after ``train()`` and ``eval()``.

        Args:
            until: ``all``, ``none``, or a level ``cK``: everything up to and including it.

        Raises:
            UserError: ``until`` is none of these.
        """
        allowed = ["none", *self.specs, "all"]
        if until not in allowed:
            raise unknown("part to freeze", until, allowed)
        self._frozen = self._part_until(until)
        self.frozen_until = until
        self.network.requires_grad_(True)
        for name in self._frozen.parameters:
            self.network.get_parameter(name).requires_grad_(False)
        self.train(self._is_asked_to_train)

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
        """Set training mode, except for what is frozen: that stays in evaluation mode."""
        self._is_asked_to_train = mode
        super().train(mode and self.frozen_until != "all")
        for path in self._frozen.modules:
            self.network.get_submodule(path).training = False
        return self

    @property
    def is_frozen(self) -> bool:
        """Whether no parameter of the trunk is trainable."""
        return not any(parameter.requires_grad for parameter in self.network.parameters())

    def parameter_groups(self) -> list[tuple[str, list[nn.Parameter]]]:
        """Return the trainable parameters of each part that has some, shallow to deep."""
        groups = []
        for name, part in self.facts.parts.items():
            own = [self.network.get_parameter(path) for path in part.parameters]
            trainable = [parameter for parameter in own if parameter.requires_grad]
            if trainable:
                groups.append((name, trainable))
        return groups

    def fingerprint(self) -> str:
        """Return the SHA-256 over names, shapes and float32 values of ``network``'s parameters and buffers."""
        return fingerprint(self.network.state_dict())

    def frozen_fingerprint(self) -> str:
        """Return the SHA-256, as ``fingerprint`` takes it, over what ``freeze`` holds fixed; "" if that is nothing."""
        fixed = {id(self.network.get_parameter(name)) for name in self._frozen.parameters}
        for path in self._frozen.modules:
            fixed.update(id(buffer) for buffer in self.network.get_submodule(path).buffers(recurse=False))
        state = {key: tensor for key, tensor in self.network.state_dict(keep_vars=True).items() if id(tensor) in fixed}
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


def run_on_meta(backbone: Backbone, image_size: tuple[int, int]) -> dict[str, Tensor]:
    """Return the levels of one picture of ``image_size`` for a backbone on the meta device: shapes, no values."""
    training = backbone.training
    backbone.eval()  # batch norm in training mode refuses a single value, whatever the size of the picture
    try:
        with torch.no_grad():
            return dict(backbone(torch.empty(1, backbone.in_channels, *image_size, device="meta")))
    finally:
        backbone.train(training)
