"""How a command's process is set up before torch is imported."""

import os
import subprocess
import sys

import pytest

#: What a large array that is freed and taken again costs: pages that the system has to hand out anew.
TAKE_AGAIN = """
import os, resource, sys
from onetrunk.apps.process_settings import settle_process
settle_process()
import torch
def take():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(24 * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(20):
    take()
names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "THP_MEM_ALLOC_ENABLE")
print(sum(take() for _ in range(4)), *(os.environ.get(name) for name in names))
"""


def settled(**environment):
    settled_here = ("MALLOC_", "GLIBC_", "OMP_WAIT", "GOMP_")
    usual = {key: value for key, value in os.environ.items() if not key.startswith(settled_here)}
    done = subprocess.run(
        [sys.executable, "-c", TAKE_AGAIN],
        env={**usual, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    faults, *rest = done.stdout.split()
    return int(faults), rest


@pytest.mark.skipif(not hasattr(os, "confstr") or "glibc" not in str(os.confstr("CS_GNU_LIBC_VERSION")), reason="glibc")
def test_freed_memory_is_kept_unless_the_environment_says_otherwise():
    kept, said = settled(THP_MEM_ALLOC_ENABLE="0")
    assert said == ["PASSIVE", "20000", "0"]
    new, said = settled(THP_MEM_ALLOC_ENABLE="0", MALLOC_MMAP_THRESHOLD_="131072", OMP_WAIT_POLICY="ACTIVE")
    assert said == ["ACTIVE", "None", "0"]
    assert kept < 100 < 4 * 6_000 < new  # 24 MiB are 6,144 pages
