"""The moving average of the weights, on Lightning's callback."""

from typing import Any

import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema(EMAWeightAveraging):
    """An exponential moving average of weights and batch-norm statistics, which is what is validated and kept.

    Lightning's own update differs in two ways that matter here. It computes ``decay * a + (1 - decay) * b``, which
    moves a weight that doesn't change by rounding, and cuts counters to whole numbers: a frozen trunk would come out
    changed. And its memory has full length from the first step, so that a short run would keep little but its random
    start; here the decay is ``min(decay, (1 + n) / (10 + n))`` after n steps, as in TensorFlow's and timm's averages.
    """

    def __init__(self, decay: float) -> None:
        """Take the decay that is reached in the end."""
        WeightAveraging.__init__(self, multi_avg_fn=_update(decay))
        self.update_every_n_steps = 1
        self.update_starting_at_step = None
        self.update_starting_at_epoch = None

    def averaged_state(self) -> dict[str, Tensor]:
        """Return the averages under the task's own names."""
        assert self._average_model is not None
        state: dict[str, Tensor] = self._average_model.module.state_dict()
        return state


def _update(decay: float) -> Any:
    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
        if not averaged[0].is_floating_point():  # counters
            for average, value in zip(averaged, current, strict=True):
                average.copy_(value)
            return
        count = int(updates)
        step = get_ema_multi_avg_fn(min(decay, (1 + count) / (10 + count)))  # type: ignore[no-untyped-call]
        step(averaged, current, updates)

    return update
