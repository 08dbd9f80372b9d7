"""The learning rate, and for one-cycle the momentum, as pure functions of the optimizer step."""

import math
from dataclasses import dataclass
from typing import Any

from .config import Schedule

#: One-cycle's shape as fast.ai and torch's OneCycleLR have it: the share of the rise, the first and last rate as parts
#: of the highest, and the momentum at either end and at the highest rate.
_RISE = 0.3
_FIRST, _LAST = 1 / 25, 1 / 250_000
_MOMENTUM_ENDS, _MOMENTUM_TOP = 0.95, 0.85


@dataclass(frozen=True)
class RatePlan:
    """What the highest learning rates are multiplied with at each optimizer step.

    A run whose trunk is thawed (``--freeze until:N``) has two phases, each with the whole shape of the schedule.

    Attributes:
        steps: Optimizer steps of the run.
        schedule: ``cosine`` (Loshchilov & Hutter 2017, without restarts), ``constant``, or ``one_cycle`` (Smith &
            Topin 2018, with the cosine slopes of fast.ai).
        warmup_fraction: For cosine and constant: the share of a phase's steps over which the rate rises from zero.
        thaw_step: The first step of the second phase; 0 for a single phase.
        thaw_factor: What all rates of the second phase are multiplied with.
    """

    steps: int
    schedule: Schedule = "cosine"
    warmup_fraction: float = 0.0
    thaw_step: int = 0
    thaw_factor: float = 1.0

    def factor(self, step: int) -> float:
        """Return the factor at a step, the first being 0."""
        start, end, height = self._phase(step)
        return height * self._shape(step - start, end - start)

    def momentum(self, step: int) -> float | None:
        """Return the momentum at a step (Adam's first beta), or nothing where the schedule leaves it alone."""
        if self.schedule != "one_cycle":
            return None
        start, end, _ = self._phase(step)
        return _one_cycle(step - start, end - start, _MOMENTUM_ENDS, _MOMENTUM_TOP, _MOMENTUM_ENDS)

    def _phase(self, step: int) -> tuple[int, int, float]:
        if not self.thaw_step:
            return 0, self.steps, 1.0
        if step < self.thaw_step:
            return 0, self.thaw_step, 1.0
        return self.thaw_step, self.steps, self.thaw_factor

    def _shape(self, step: int, total: int) -> float:
        if self.schedule == "one_cycle":
            return _one_cycle(step, total, _FIRST, 1.0, _LAST)
        warmup = math.ceil(self.warmup_fraction * total)
        if step < warmup:
            return (step + 1) / warmup
        if self.schedule == "constant":
            return 1.0
        return _half_cosine(1.0, 0.0, (step - warmup) / max(1, total - warmup))


def set_momentum(group: dict[str, Any], momentum: float) -> None:
    """Set SGD's momentum or Adam's first beta in a group of an optimizer."""
    if "betas" in group:
        group["betas"] = (momentum, group["betas"][1])
    else:
        group["momentum"] = momentum


def _one_cycle(step: int, total: int, first: float, top: float, last: float) -> float:
    peak = max(1.0, _RISE * total - 1)
    if step <= peak:
        return _half_cosine(first, top, step / peak)
    return _half_cosine(top, last, (step - peak) / max(1.0, total - 1 - peak))


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def accumulated(batch_index: int, batches: int, accumulate: int) -> int:
    """Return over how many batches the gradients of an optimizer step are averaged; an epoch's last may have fewer.

    Args:
        batch_index: Any batch of the step, from 0.
        batches: Of the epoch.
        accumulate: Of a full step.
    """
    return min(accumulate, batches - batch_index // accumulate * accumulate)
