"""Passes on the meta device without the work that no shape depends on."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

#: Each returns its first argument with other values, and takes any shape.
CHANGES_VALUES = frozenset(
    (
        *(functional.batch_norm, functional.relu, functional.relu6, functional.silu, functional.gelu),
        *(Tensor.normal_, Tensor.uniform_, Tensor.erfinv_, Tensor.clamp_, Tensor.fill_, Tensor.zero_),
    )
)


class ShapesOnly(TorchFunctionMode):
    """Leaves out, on the meta device, what changes values and no shape.

    PyTorch works these out in Python there, about a millisecond each: two thirds of what ``backbones list`` took. The
    parameters of the norms are missing from the graph, so that it is no measure of what a parameter reaches.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return the first argument as it is, where its shape is all that matters."""
        if func in CHANGES_VALUES and args and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))
