"""What is trained of the part of a trunk that is not frozen."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from . import lora
from .errors import UserError, unknown
from .parts import Part

How = Literal["full", "norm", "lora"]


@dataclass(frozen=True)
class Tuning:
    """What is trained of the free part.

    Attributes:
        how: ``full``, ``norm`` or ``lora``.
        rank: Of each low-rank update, for ``lora``.
        alpha: A low-rank update is scaled by ``alpha / rank``.
    """

    how: str = "full"
    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        """Refuse what means nothing.

        Raises:
            UserError: An unknown ``how``, a rank below 1, or an alpha that is not a finite number above 0.
        """
        if self.how not in get_args(How):
            raise unknown("way to tune", self.how, get_args(How))
        if self.rank < 1:
            raise UserError(f"The rank of LoRA is a whole number of at least 1, not {self.rank}.")
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise UserError(f"The alpha of LoRA is a finite number above 0, not {self.alpha}.")

    def select(self, name: str, network: nn.Module, frozen: Collection[str], called: Collection[str]) -> list[str]:
        """Return what is tuned: names of parameters, or for ``lora`` paths of the layers to adapt.

        Args:
            name: Of the trunk, for messages.
            network: With or without adapters.
            frozen: Names of the frozen parameters.
            called: Paths of the modules that a pass calls.

        Raises:
            UserError: There is nothing to tune in this way.
        """
        if self.how == "norm":
            return _require(_norm_parameters(name, network), frozen, f"normalisation layers of {name}")
        if self.how == "lora":
            weights = [f"{path}.weight" for path in lora.adaptable_layers(network, called)]
            free = _require(weights, frozen, f"layers of {name} that LoRA can adapt")
            return [weight.removesuffix(".weight") for weight in free]
        state, _ = lora.original_state(network)
        return [key for key, tensor in state.items() if isinstance(tensor, nn.Parameter) and key not in frozen]

    def apply(self, network: nn.Module, selected: list[str]) -> list[nn.Parameter]:
        """Put adapters where they belong, and return the parameters that are trained."""
        if self.how == "lora":
            return lora.adapt(network, selected, rank=self.rank, alpha=self.alpha)
        lora.discard(network)
        return [parameter for name, parameter in network.named_parameters() if name in set(selected)]

    def refuse_loss(self, network: nn.Module, before: "Tuning") -> None:
        """Refuse to throw away adapters that were trained.

        Raises:
            UserError: This tuning has no place for what ``before`` has trained.
        """
        if before.how != "lora" or self == before:
            return
        if not all(lora.is_idle(layer) for layer in lora.adapted_layers(network).values()):
            raise UserError(
                f"The trunk holds trained LoRA updates of rank {before.rank} and alpha {before.alpha:g}:"
                " call merge() before it is tuned in another way."
            )

    def fixed_state(self, network: nn.Module, frozen: Part) -> dict[str, Tensor]:
        """Return what training may not change, under the names it has without adapters.

        Args:
            network: As ``apply`` left it.
            frozen: What ``freeze`` holds fixed.
        """
        state, adapters = lora.original_state(network)
        if self.how != "full":
            return {key: tensor for key, tensor in (state | adapters).items() if not tensor.requires_grad}
        fixed = {id(network.get_parameter(name)) for name in frozen.parameters}
        for path in frozen.modules:
            fixed.update(id(buffer) for buffer in network.get_submodule(path).buffers(recurse=False))
        return {key: tensor for key, tensor in state.items() if id(tensor) in fixed}


def _norm_types() -> tuple[type[nn.Module], ...]:
    """Return batch and instance norms, layer and group norms with timm's variants of them, and timm's own classes."""
    from timm import layers

    return (
        *(_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
        *(layers.RmsNorm, layers.RmsNormFp32, layers.RmsNorm2d, layers.RmsNorm2dFp32),
        *(layers.SimpleNorm, layers.SimpleNormFp32, layers.SimpleNorm2d, layers.SimpleNorm2dFp32),
    )


def _norm_parameters(name: str, network: nn.Module) -> list[str]:
    norms = _norm_types()
    names = [
        f"{path}.{key}" if path else key
        for path, module in network.named_modules()
        if isinstance(module, norms)
        for key, _ in module.named_parameters(recurse=False)
        if key in {"weight", "bias"}
    ]
    if not names:
        raise UserError(
            f"{name} has no normalisation layers with weights to tune: tune 'lora' instead, or take a network that has"
            " them, e.g. vgg16_bn."
        )
    return names


def _require(names: list[str], frozen: Collection[str], what: str) -> list[str]:
    free = [name for name in names if name not in frozen]
    if not free:
        raise UserError(f"Nothing is left to tune: all {what} are frozen. Freeze less, or tune 'full'.")
    return free
