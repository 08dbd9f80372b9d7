"""Whether a long training keeps its memory: resident size of the process and of its loaders over thousands of steps.

Run: python benchmarks/soak.py --output soak.csv

Trains handwritten digits with validation and a checkpoint each epoch, mixed pictures and a moving average, all that a
run can keep references to. The memory is the proportional set size, which counts shared pages once. The growth is that
of the median over the last tenth of the steps against the median of the 500 steps behind the first 500.
"""

import argparse
import csv
import math
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
from onetrunk.apps.classification import TrainOptions, train
from onetrunk.apps.classification.options import AugmentOptions
from onetrunk.apps.config import OptimOptions
from onetrunk.datasets import write_digits
from torch.optim.optimizer import register_optimizer_step_post_hook

#: Caches, thread pools and the loaders' queues are filled by then.
SETTLED = 500
EVERY = 10


class MemoryLog:
    """Counts optimizer steps and keeps the memory at every tenth of them, in MiB."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.steps = 0
        self.rows: list[tuple[int, float, int]] = []

    def __call__(self, *_: Any) -> None:
        self.steps += 1
        if self.steps % EVERY == 0:
            family = [self.process, *self.process.children(recursive=True)]
            self.rows.append((self.steps, sum(map(proportional_size, family)) / 2**20, len(family)))

    def growth(self) -> tuple[float, float]:
        """Return the settled memory and the last one, in MiB."""
        settled = [size for step, size, _ in self.rows if SETTLED < step <= 2 * SETTLED]
        last = [size for step, size, _ in self.rows if step > 0.9 * self.steps]
        return median(settled), median(last)


def proportional_size(process: psutil.Process) -> int:
    """Return the bytes of a process, pages that others share counted in part; nothing once it has ended."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--backbone", default="timm/test_resnet")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, help="a CSV file: step, MiB, processes")
    options = parser.parse_args()
    if options.steps < 4 * SETTLED:
        parser.error(f"--steps {options.steps}: at least {4 * SETTLED}")
    log = MemoryLog()
    with tempfile.TemporaryDirectory() as folder:
        counts = write_digits(Path(folder) / "digits")
        handle = register_optimizer_step_post_hook(log)
        torch.set_num_threads(1)
        train(
            TrainOptions(
                data=f"{folder}/digits",
                output=f"{folder}/run",
                backbone=options.backbone,
                weights="none",
                image_size=[32],
                epochs=math.ceil(options.steps / (counts["train"] // options.batch_size)),
                batch_size=options.batch_size,
                workers=options.workers,
                device="cpu",
                optim=OptimOptions(ema=0.99),
                augment=AugmentOptions(mixup=0.2),
            )
        )
        handle.remove()
    settled, last = log.growth()
    if options.output:
        with options.output.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("step", "mib", "processes"), *log.rows])
    change = 100 * (last / settled - 1)
    print(f"{log.steps} steps: {settled:.1f} MiB after {SETTLED}, {last:.1f} MiB at the end, {change:+.2f}%")


if __name__ == "__main__":
    main()
