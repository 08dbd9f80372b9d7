"""Reading the output of modules that lie inside a step of a network."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from .errors import UserError


class Reading:
    """What the taps of a network read during one pass.

    At other times they read nothing: neither when a checkpoint repeats a part of the pass, whose copies would outlive
    the backward pass, nor when somebody calls the network itself.
    """

    def __init__(self) -> None:
        """Be closed."""
        self.values: dict[str, Tensor] | None = None

    @contextmanager
    def opened(self) -> Iterator[dict[str, Tensor]]:
        """Yield the dict that the taps fill meanwhile; its graph lives no longer than the caller keeps it."""
        values: dict[str, Tensor] = {}
        self.values = values
        try:
            yield values
        finally:
            self.values = None


class Tap:
    """A forward hook that keeps a copy of a module's output.

    It copies because what follows may overwrite the tensor in place (``out += identity`` after a ResNet's last norm,
    ``F.relu(x, inplace=True)`` in GoogLeNet): without the copy, the later values would be read.
    """

    def __init__(self, reading: Reading, path: str) -> None:
        """Keep outputs under ``path``."""
        self.reading = reading
        self.path = path

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """Keep a copy; the last call in a pass wins."""
        if self.reading.values is None:
            return
        if not isinstance(output, Tensor):
            raise UserError(f"The module '{self.path}' returns a {type(output).__name__}, not a tensor: tap another.")
        self.reading.values[self.path] = output.clone()


def attach_taps(network: nn.Module, paths: Iterable[str]) -> Reading:
    """Hook the modules at ``paths`` and return what every forward pass opens.

    The hooks are objects, not closures, so that a deep copy of the network comes with its own reading.
    """
    reading = Reading()
    for path in paths:
        network.get_submodule(path).register_forward_hook(Tap(reading, path))
    return reading


def disable_in_place(network: nn.Module) -> None:
    """Make in-place modules return new tensors, so that no level is overwritten by the layer after it.

    Values do not change. Nor does the memory that training holds: an activation keeps its output for the backward pass
    and the layer before it keeps its input.
    """
    for module in network.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
