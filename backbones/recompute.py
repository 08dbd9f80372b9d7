"""Gradient checkpointing (Chen et al., 2016): activations are computed again in the backward pass, not kept."""

from typing import Any

import torch
from torch import Tensor, nn


def is_recomputing() -> bool:
    """Return whether this thread is inside a backward pass, where only a checkpoint runs a forward pass again.

    It is how ``torch.utils.checkpoint`` itself tells one backward pass from another.
    """
    return bool(torch._C._current_graph_task_id() != -1)


class BufferGuard:
    """Hooks that keep a module's buffers as they are while its forward pass is repeated.

    A batch norm in training mode would count the same batch twice into its statistics. It is given copies to spoil:
    with ``track_running_stats`` off it would save fewer tensors than in the first pass, which a checkpoint refuses.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._kept: dict[str, Tensor | None] = {}

    def enter(self, module: nn.Module, args: Any) -> None:
        """Put copies in the place of the buffers; a forward pre-hook."""
        if is_recomputing():
            self._kept = dict(module._buffers)
            module._buffers.update({name: each.clone() for name, each in self._kept.items() if each is not None})

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """Put the buffers back; a forward hook that must run even if the repeated pass is broken off."""
        module._buffers.update(self._kept)
        self._kept = {}


def guard_buffers(network: nn.Module) -> None:
    """Hook every module that owns buffers and has no guard yet.

    To be called before each pass: replacing modules (synchronised batch norms, say) loses their hooks.
    """
    for module in network.modules():
        if module._buffers and not any(_is_guard(hook) for hook in module._forward_pre_hooks.values()):
            guard = BufferGuard()
            module.register_forward_pre_hook(guard.enter)
            # a checkpoint ends the repeated pass with an exception once it has what the backward pass asked for
            module.register_forward_hook(guard.leave, always_call=True)


def _is_guard(hook: Any) -> bool:
    return isinstance(getattr(hook, "__self__", None), BufferGuard)
