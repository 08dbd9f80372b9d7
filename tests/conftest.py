"""What holds for every test."""

import gc
import os
import tempfile

import pytest
import torch

# The suite runs in as many processes as there are cores; with more threads than that everything waits for everything.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What is measured beside other tests tells nothing about this machine: it is kept from the user's own cache.
_CACHE = tempfile.TemporaryDirectory(prefix="onetrunk-cache-")
os.environ["ONETRUNK_CACHE"] = _CACHE.name

# What `auto` stands for is the same on every machine: fp32. Tests of bf16 ask for it.
torch.cpu._is_avx512_bf16_supported = torch.cpu._is_amx_tile_supported = lambda: False

# What the tests import while they are collected stays: the collector need not walk it again and again, neither
# meanwhile nor later.
gc.disable()


def pytest_configure(config: pytest.Config) -> None:
    """Hide the GPUs from all tests but those that are for them: elsewhere `auto` is the CPU."""
    if "not gpu" in config.option.markexpr:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_finish() -> None:
    """Collect from here on what the tests themselves leave."""
    gc.enable()
    gc.collect()
    gc.freeze()
