"""What a trunk needs to know of its network: how it is walked, and what was measured on it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from .errors import UserError
from .parts import Part
from .spec import FeatureSpec


class Flow(Protocol):
    """How a network is walked: ``Chain`` for the classics, ``TimmFlow`` for timm's networks."""

    def offered(self) -> tuple[str, ...]: ...  # noqa: D102
    def cut(self, network: nn.Module, levels: Sequence[str]) -> "Flow": ...  # noqa: D102
    def cut_behind(self, network: nn.Module, levels: Sequence[str], entry: str) -> "Flow": ...  # noqa: D102
    def taps(self) -> list[str]: ...  # noqa: D102
    def run(self, network: nn.Module, images: Tensor, tapped: Mapping[str, Tensor]) -> dict[str, Tensor]: ...  # noqa: D102
    def known_at(self, network: nn.Module, entry: str, modules: Collection[str]) -> tuple[str, ...]: ...  # noqa: D102
    def go_on(  # noqa: D102
        self,
        network: nn.Module,
        stored: Mapping[str, Tensor],
        entry: str,
        tapped: Mapping[str, Tensor],
        modules: Collection[str],
    ) -> dict[str, Tensor]: ...
    def parts(self, network: nn.Module, images: Tensor) -> dict[str, Part]: ...  # noqa: D102
    def recomputing(self, network: nn.Module, is_active: bool) -> "Flow": ...  # noqa: D102


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
        called: Paths of the modules that a pass calls. Networks use some weights without calling their module.
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
    called: frozenset[str] = frozenset()
    image_size: tuple[int, int] = (224, 224)
    is_fixed_size: bool = False
    min_size: int = 1

    def check(self, images: Tensor, *, name: str, in_channels: int, levels: Sequence[str]) -> None:
        """Refuse pictures that the trunk ``name`` can't take.

        Raises:
            UserError: They have another number of channels, another size than the only one, or are too small.
        """
        given = "x".join(str(side) for side in images.shape)
        if images.ndim != 4 or images.shape[1] != in_channels:
            expected = f"[batch, {in_channels}, height, width]"
            hint = f"; for other channels build it with in_channels={images.shape[1]}" if images.ndim == 4 else ""
            raise UserError(f"{name} takes pictures {expected}, not {given}{hint}.")
        height, width = images.shape[-2:]
        if self.is_fixed_size and (height, width) != self.image_size:
            raise UserError(
                f"{name} was built for pictures of {self.image_size[0]}x{self.image_size[1]}, not {height}x{width}:"
                f" resize them, or build it with image_size=({height}, {width})."
            )
        if min(height, width) < self.min_size:
            raise UserError(
                f"{name} needs pictures of at least {self.min_size}x{self.min_size} for {', '.join(levels)},"
                f" not {height}x{width}."
            )
