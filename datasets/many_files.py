"""Looking at very many files."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")

#: So many are looked at before what they took is judged.
_CHUNK = 64
#: Seconds a file from which on threads are worth it: most of it is then waiting, or decoding without Python's lock.
_SLOW = 0.00025


def look_at_files(look: Callable[[Item], Found], items: Sequence[Item], *, workers: int = 8) -> list[Found]:
    """Return what looking at each of many files gives, in their order.

    Files that the system has in memory are looked at one after another: threads would hand Python's lock to and fro,
    and take three times as long. From the first ones on that are slow to come, as over a network, threads look.

    Args:
        look: Looks at one.
        items: What it takes.
        workers: Threads at most.
    """
    found: list[Found] = []
    while len(found) < len(items):
        started = time.perf_counter()
        chunk = items[len(found) : len(found) + _CHUNK]
        found += [look(item) for item in chunk]
        if time.perf_counter() - started > _SLOW * len(chunk):
            break
    rest = items[len(found) :]
    if rest:
        with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
            found += pool.map(look, rest)
    return found
