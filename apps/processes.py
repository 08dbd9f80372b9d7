"""Several processes that train or evaluate together: who writes, and what all of them know.

Every process runs the same command. The first one (rank 0) owns the run's folder, the log and the terminal; the others
compute. Lightning starts them, or something outside it did (``torchrun``), and ``LOCAL_RANK`` tells them apart. On each
further machine a person starts the command with ``NODE_RANK``; Lightning adds ``LOCAL_RANK`` when its work begins.
"""

import os
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # the command line asks who is first before it imports anything heavy
    import torch

Value = TypeVar("Value")


def is_first() -> bool:
    """Whether this process is the one that writes, of all that run the same command; true where there is one."""
    known = os.environ
    if "RANK" in known:  # torchrun
        return known["RANK"] == "0"
    if is_under_slurm() and "LOCAL_RANK" not in known:
        return known["SLURM_PROCID"] == "0"
    # Lightning, and whoever starts processes as it does; before it has started any, the node's rank is all there is
    node = known.get("NODE_RANK", known.get("GROUP_RANK", "0"))
    return known.get("LOCAL_RANK", "0") == "0" and node == "0"


def describe_rank() -> str:
    """Return what the environment says of this process's rank, as ``NODE_RANK=1``."""
    names = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", *(("SLURM_PROCID",) if is_under_slurm() else ()))
    return " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)


def is_under_slurm() -> bool:
    """Whether SLURM's ``srun`` started several processes."""
    return int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ


def end_with_parent() -> None:
    """End this process when the one that started it is gone.

    If the first process is killed while the others still wait to meet it, nothing else tells them for half an hour.
    What a person started on another machine has a shell for a parent, and may outlive it.
    """
    if "LOCAL_RANK" not in os.environ and not is_under_slurm():
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()


def is_one_of_several() -> bool:
    """Whether other processes run the same command and know of this one."""
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather(value: Value) -> list[Value]:
    """Return every process's value, in the order of ranks. All processes have to call it."""
    if not is_one_of_several():
        return [value]
    import torch.distributed as dist

    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def own(values: list[Value]) -> Value:
    """Return this process's of the values that :func:`gather` gave."""
    if not is_one_of_several():
        return values[0]
    import torch.distributed as dist

    return values[dist.get_rank()]


def highest(number: int, device: "torch.device") -> int:
    """Return the highest of every process's numbers. All processes have to call it."""
    if not is_one_of_several():
        return number
    import torch
    import torch.distributed as dist

    tensor = torch.tensor(number, device=device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return int(tensor)


def share_buffers(module: "torch.nn.Module") -> None:
    """Give every process the first one's buffers, such as the statistics of batch normalisation."""
    if is_one_of_several():
        import torch.distributed as dist

        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
