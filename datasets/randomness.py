"""Random numbers that are functions of stated numbers, so that a run that was killed draws the same ones again."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(*keys: int | str) -> Iterator[None]:
    """Inside, the global generators of torch (CPU), Python and numpy are functions of ``keys`` alone; then restored.

    The generators of GPUs are left as they are: transforms draw on the CPU, and dropout must not start anew.
    """
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    seed = mix(*keys)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs too
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


def mix(*keys: int | str) -> int:
    """Return 63 bits that depend on all the keys and look unrelated for neighbours."""
    text = ",".join(str(key) for key in keys)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
