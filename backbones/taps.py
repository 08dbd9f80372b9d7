"""Reading the output of modules that lie inside a step of a network."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from .errors import UserError
from .recompute import is_recomputing


class Tap:
    """A forward hook that keeps a copy of a module's output.

    It copies because what follows may overwrite the tensor in place (``out += identity`` after a ResNet's last norm,
    ``F.relu(x, inplace=True)`` in GoogLeNet): without the copy, the later values would be read.
    """

    def __init__(self, store: dict[str, Tensor], path: str) -> None:
        """Keep outputs in ``store[path]``."""
        self.store = store
        self.path = path

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """Keep a copy; the last call in a pass wins.

        A pass that a checkpoint repeats is none: its copies would outlive the backward pass.
        """
        if is_recomputing():
            return
        if not isinstance(output, Tensor):
            raise UserError(f"The module '{self.path}' returns a {type(output).__name__}, not a tensor: tap another.")
        self.store[self.path] = output.clone()


def attach_taps(network: nn.Module, paths: Iterable[str]) -> dict[str, Tensor]:
    """Hook the modules at ``paths`` and return the dict that every forward pass fills.

    The hooks are objects, not closures, so that a deep copy of the network comes with its own dict.
    """
    store: dict[str, Tensor] = {}
    for path in paths:
        network.get_submodule(path).register_forward_hook(Tap(store, path))
    return store


def disable_in_place(network: nn.Module) -> None:
    """Make in-place modules return new tensors, so that no level is overwritten by the layer after it.

    Values do not change. Nor does the memory that training holds: an activation keeps its output for the backward pass
    and the layer before it keeps its input.
    """
    for module in network.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
