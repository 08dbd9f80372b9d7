"""Several processes that train or evaluate together: who writes, and what all of them know.

Every process runs the same command. The first one (rank 0) owns the run's folder, the log and the terminal; the others
compute. Lightning starts them, or something outside it did (``torchrun``); either way ``LOCAL_RANK`` tells.
"""

import os
from typing import Any, TypeVar

import torch
import torch.distributed as dist

Value = TypeVar("Value")


def is_first() -> bool:
    """Whether this process is the one that writes, of all that run the same command; true where there is one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    # before the processes know each other
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return os.environ.get("LOCAL_RANK", "0") == "0" and node == "0"


def is_one_of_several() -> bool:
    """Whether other processes run the same command and know of this one."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather(value: Value) -> list[Value]:
    """Return every process's value, in the order of ranks. All processes have to call it."""
    if not is_one_of_several():
        return [value]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def own(values: list[Value]) -> Value:
    """Return this process's of the values that :func:`gather` gave."""
    return values[dist.get_rank() if is_one_of_several() else 0]


def highest(number: int, device: torch.device) -> int:
    """Return the highest of every process's numbers. All processes have to call it."""
    if not is_one_of_several():
        return number
    tensor = torch.tensor(number, device=device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return int(tensor)


def share_buffers(module: torch.nn.Module) -> None:
    """Give every process the first one's buffers, such as the statistics of batch normalisation."""
    if is_one_of_several():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
