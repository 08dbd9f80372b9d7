"""How a command's process waits and where it takes memory from; to be settled before torch is imported."""

import ctypes
import os

_SPINNING = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
# of glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_TOP_PAD_BYTES = 64 * 2**20
_LARGEST_KEPT = 32 * 2**20  # the most that glibc takes


def settle_process() -> None:
    """Make a process fast on a CPU. What the environment says already is obeyed."""
    # Threads that wait sleep after a millisecond, or at once where OpenMP isn't GNU's. By default they spin for longer,
    # and beside another busy process on the same cores an epoch then takes ten times as long. To sleep at once costs
    # 5% of an epoch: between two layers they wait for less than it takes to wake them.
    if not _SPINNING & os.environ.keys():
        os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="20000")
    # Large pages for large arrays
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if "GLIBC_TUNABLES" not in os.environ and not any(name.startswith("MALLOC_") for name in os.environ):
        _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Have the C library, where it is glibc, keep freed memory for the next array, of up to 32 MiB; threads share it.

    By default most arrays are new memory that the system has to empty first: every layer's output. That takes a sixth
    of the time of training and inference on a CPU, large pages or not; what is kept is about as much more memory.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
    mallopt(_TRIM_THRESHOLD, -1)
    mallopt(_TOP_PAD, _TOP_PAD_BYTES)
    mallopt(_ARENA_MAX, 1)
