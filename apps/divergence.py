"""Networks whose numbers left the range of floats: noticed where values come to the CPU anyway, and never kept."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..backbones.errors import UserError


def is_finite(output: Any) -> bool:
    """Whether every number in a head's output, a tensor or tensors in lists and dicts, is finite; waits for it."""
    if isinstance(output, Tensor):
        return _is_finite(output.detach())
    if isinstance(output, Mapping):
        return all(map(is_finite, output.values()))
    return all(map(is_finite, output)) if isinstance(output, list | tuple) else True


def _is_finite(numbers: Tensor) -> bool:
    if not numbers.is_floating_point() or numbers.numel() == 0:
        return True
    if numbers.dim() == 4 and numbers.is_contiguous(memory_format=torch.channels_last):
        numbers = numbers.permute(0, 2, 3, 1)  # as they lie in memory: others are copied
    # a NaN is its own smallest and largest; torch.isfinite takes ten times as long, in bf16 thirty
    return bool(torch.stack(torch.aminmax(numbers)).isfinite().all())


class Diverged(UserError):
    """A training whose outputs or loss aren't finite."""


def divergence_error(epoch: int, learning_rate: float) -> Diverged:
    """Return the error of a training whose outputs or loss aren't finite.

    Args:
        epoch: Counted from 1.
        learning_rate: The run's, for the message.
    """
    return Diverged(
        f"The training diverged in epoch {epoch}: the network's outputs or its loss are NaN or infinite. Train anew "
        f"with a smaller --learning-rate than {learning_rate:g}, or with --fit.clip-norm 1. The checkpoints that were "
        "written before stay as they were."
    )


def unusable_network_error() -> UserError:
    """Return the error of an evaluation whose outputs or loss aren't finite."""
    return UserError(
        "The network's outputs on this split, or their loss, are NaN or infinite: its training diverged, or its "
        "weights are damaged. Train it again with a smaller --learning-rate, or with --fit.clip-norm 1."
    )
