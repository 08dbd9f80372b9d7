"""What holds for every test."""

import gc
import os

# The suite runs in as many processes as there are cores; with more threads than that everything waits for everything.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What the tests import while they are collected stays: the collector need not walk it again and again, neither
# meanwhile nor later.
gc.disable()


def pytest_collection_finish() -> None:
    """Collect from here on what the tests themselves leave."""
    gc.enable()
    gc.collect()
    gc.freeze()
