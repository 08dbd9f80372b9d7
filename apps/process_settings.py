"""How a command's process waits and where it takes memory from; to be settled before torch is imported."""

import ctypes
import os

# of glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_TOP_PAD_BYTES = 64 * 2**20
_LARGEST_KEPT = 32 * 2**20  # the most that glibc takes


def settle_process() -> None:
    """Make a process fast on a CPU. What the environment says already is obeyed."""
    # Threads sleep while they wait. By default they spin, and beside another busy process on the same cores an epoch
    # then takes ten times as long; alone it takes about as long as before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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
