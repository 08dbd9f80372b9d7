"""What the comparisons share: commands in processes of their own, taking turns, and the ratio of what they took.

Not a benchmark; the scripts beside it import it. A command gets as many threads as its rival, by ``OMP_NUM_THREADS``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch
from onetrunk.apps.hardware import choose_device, choose_precision
from torch import nn

HERE = Path(__file__).parent
ONETRUNK = Path(sys.executable).with_name("onetrunk")
#: So many lines of a command that failed are shown.
_LAST_LINES = 30

Result = TypeVar("Result")


@dataclass(frozen=True)
class Spread:
    """The median of several rounds, the lowest and the highest."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} (from {self.low:.2f} to {self.high:.2f})"


def spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Return the spread of the rounds' own ratios: what disturbs a round disturbs both of its sides."""
    return spread([one / other for one, other in zip(numerators, denominators, strict=True)])


def run(*words: object, threads: int) -> tuple[float, str]:
    """Run a command to its end; return its seconds by the clock, start-up and all, and what it printed.

    Raises:
        SystemExit: If it failed; with the last lines it wrote.
    """
    command = [str(word) for word in words]
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **counts})
    seconds = time.monotonic() - started
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()[-_LAST_LINES:]
        raise SystemExit("\n".join([f"{' '.join(command)}: ended with exit code {done.returncode}", *lines]))
    return seconds, done.stdout


def take_turns(rounds: int, contenders: Mapping[str, Callable[[], Result]]) -> dict[str, list[Result]]:
    """Run all contenders in each round, in every other one backwards; return what each gave, in the rounds' order."""
    found: dict[str, list[Result]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(contenders[name]())
    return found


def has_bf16(device: torch.device) -> bool:
    """Whether the machine computes bf16 with instructions of its own, and not several times slower than fp32."""
    return choose_precision("auto", device, nn.Identity()) == "bf16"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_parser(description: str | None, *, batch_size: int | None) -> argparse.ArgumentParser:
    """Return a parser with what all comparisons take: rounds, batch size, threads, workers, device."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often both sides run (default: 5)")
    usual = "each app's own" if batch_size is None else batch_size
    parser.add_argument("--batch-size", type=int, default=batch_size, help=f"of both sides (default: {usual})")
    parser.add_argument("--threads", type=int, default=cores(), help="of both sides; unset: one for each core")
    parser.add_argument("--workers", type=int, default=min(8, cores()), help="that read pictures; unset: as --threads")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="of both sides")
    return parser


def settle_device(arguments: argparse.Namespace) -> torch.device:
    """Replace ``--device auto`` by what it stands for, so that both sides run there; return it."""
    device = choose_device(arguments.device)
    arguments.device = device.type
    return device


def describe(arguments: argparse.Namespace) -> str:
    """Return what both sides were given, for the head of a table."""
    return (
        f"{arguments.device}, batch {arguments.batch_size}, {arguments.threads} threads, {arguments.workers} workers, "
        f"{arguments.rounds} rounds"
    )


@contextmanager
def working_folder(given: Path | None) -> Iterator[Path]:
    """Give the folder that was asked for, or a temporary one."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)
