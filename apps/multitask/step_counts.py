"""In how many steps of a training each of several tasks takes part, known before the first of them."""

from typing import NamedTuple

import torch
from torch import nn

from ...datasets import MixedLoader
from ...datasets.sample import task_of_key


class StepCount(NamedTuple):
    """Optimizer steps of a task."""

    before_thaw: int
    """Those of the epochs in which the trunk is frozen for a time."""
    whole: int
    """Those of the run."""


def count_steps(loader: MixedLoader, *, epochs: int, frozen_epochs: int, accumulate: int) -> dict[str, StepCount]:
    """Return of each task in how many steps it knows any picture; which they are follows from seed and epoch alone.

    Args:
        loader: Of joint records; no picture is read.
        epochs: Of the run.
        frozen_epochs: How many of these come before the thaw.
        accumulate: Batches of a step.
    """
    found: dict[str, StepCount] = {}
    for name, source in loader.loaders.items():
        records = [{task_of_key(key) for key in record.targets} for record in source.dataset.records]
        tasks = dict.fromkeys(task for known in records for task in known)
        known = torch.tensor([[task in own for own in records] for task in tasks])
        batches = loader.batch_sampler.steps_with(name, known, epochs)
        rest = -batches.shape[-1] % accumulate  # an epoch's last step may have fewer
        padded = nn.functional.pad(batches, (0, rest))
        steps = padded.reshape(len(tasks), epochs, -1, accumulate).any(-1).sum(-1)
        for task, own in zip(tasks, steps, strict=True):
            found[task] = StepCount(int(own[:frozen_epochs].sum()), int(own.sum()))
    return found
