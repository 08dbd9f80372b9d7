"""Heads of several apps that are trained on one trunk, each with a schedule, clipping and an end of its own."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ...backbones import Backbone
from ...datasets import MixedBatch
from ...datasets.findings import count
from ..on_trunk import TrainedPart
from ..schedule import RatePlan, accumulated, set_momentum
from ..task import Task, explaining_single_values
from .balance import Balance, Term, backward_aggregated
from .model import MultiTaskModel
from .options import BalanceOptions

_TRUNK, _BALANCE = "trunk", "balance"
#: Of the tasks' metrics, as it is logged.
_MEAN = "val_mean"


@dataclass(frozen=True)
class HeadPlan:
    """How the head of a task is trained.

    Attributes:
        steps: Optimizer steps of the run in which it knows any of the pictures, where none is bad.
        thaw_step: How many of these come before the trunk is thawed; 0 where it isn't.
        clip_norm: The largest norm of its gradients; None for no clipping.
        patience: After how many epochs that brought nothing better it isn't trained any more, by itself; None for
            never.
    """

    steps: int
    thaw_step: int = 0
    clip_norm: float | None = None
    patience: int | None = None


class MultiTaskLearner(MultiTaskModel):
    """A model in training.

    A task that knows none of a step's pictures isn't run: its parameters have no gradients, so that the optimizer
    leaves them and what it remembers of them alone (zero gradients would still move them by AdamW's memory), and its
    schedule doesn't go on. Where a step accumulates batches, the gradients are the means over all of them: a batch in
    which a task knows no picture counts as 0 for it.

    Attributes:
        balance: How losses are weighed.
        is_apart: Whether nothing of the trunk is trained in the whole run, so that each head keeps its own best epoch.
        steps: Of each part of the parameters in how many optimizer steps it took part.
        stopped: The tasks that aren't trained any more.
    """

    def __init__(
        self,
        backbone: Backbone,
        tasks: Mapping[str, Task],
        plans: Mapping[str, HeadPlan],
        options: BalanceOptions,
        *,
        is_apart: bool,
        clip_norm: float | None = None,
    ) -> None:
        """Put the heads of tasks on their trunk.

        Args:
            backbone: The trunk.
            tasks: With their learning rates and weight decays.
            plans: By task.
            options: How losses are weighed and gradients aggregated.
            is_apart: Whether nothing of the trunk is trained, now or later.
            clip_norm: The largest norm of the trunk's gradients.

        Raises:
            UserError: As of ``MultiTaskModel``.
        """
        super().__init__(backbone, tasks, {}, folder=Path())
        self.plans = dict(plans)
        self.balance = Balance(options, list(tasks))
        self.aggregation = options.aggregation
        self.clip_norm = clip_norm
        self.is_apart = is_apart
        self.steps = dict.fromkeys([_TRUNK, _BALANCE, *(f"heads.{name}" for name in tasks)], 0)
        self.stopped: list[str] = []
        self._passed_over = dict.fromkeys(self.steps, 0)  # steps of the schedule
        self._sums: dict[str, Tensor] = {}
        self._terms: list[Term] = []
        self._chance: dict[str, list[Tensor]] = {}

    def choosing(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Return each task's metric, where the trunk is frozen and heads are chosen apart; else the mean of all."""
        if not self.is_apart:
            return super().choosing(figures)
        named = zip(self.tasks, self.judged_by, strict=True)
        return {f"heads.{name}.": figures[figure] for name, figure in named}

    def head_parts(self) -> list[TrainedPart]:
        """Return the heads, and the learned weights of losses."""
        learned = list(self.balance.parameters())
        return [*super().head_parts(), TrainedPart(_BALANCE, self.learning_rate, 0.0, learned)]

    def early_stopping(self, patience: int | None) -> pl.Callback | None:
        """Return what ends the training of tasks one by one, and on a trunk that is trained that of all by the mean."""
        whole = None if self.is_apart else patience
        own = {name: plan.patience for name, plan in self.plans.items() if plan.patience is not None}
        return TaskStopping(own, whole) if own or whole is not None else None

    def rate_of(self, part: str) -> Callable[[int], float]:
        """Return the factor of a part's learning rate, by the steps in which it took part."""
        plan = self._rate_plan_of(part)
        return lambda _: plan.factor(self._place(part))

    def _place(self, part: str) -> int:
        return self.steps[part] + self._passed_over[part]

    def _rate_plan_of(self, part: str) -> RatePlan:
        own = self.plans.get(part.removeprefix("heads."))
        if own is None:
            return self.rate_plan
        if not self.rate_plan.thaw_step:
            return replace(self.rate_plan, steps=own.steps)
        # also for a task without a step before it the second phase is another one than the first
        thaw_step = max(1, own.thaw_step)
        return replace(self.rate_plan, steps=thaw_step + own.steps - own.thaw_step, thaw_step=thaw_step)

    def training_step(self, batch: MixedBatch, batch_index: int) -> Tensor | None:
        """Return the sum of the weighted losses of all tasks that know any of the pictures; nothing where none does."""
        losses: dict[str, Tensor] = {}
        met: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
        for part in batch.batches.values():
            with explaining_single_values(part):
                for name, own in self.own_batches(part, but=self.stopped):
                    if own.size:
                        assert own.features is not None
                        read, met[name] = self._cut(own.features)
                        with self._own_chance(name):
                            losses[name] = self.tasks[name].training_loss(read, own)
                        self._add(name, losses[name], own.size)
        if not losses:
            return None
        weighed = self.balance.weigh(losses)
        loss = torch.stack(list(weighed.values())).sum()
        self.log("train_loss", loss, prog_bar=True, batch_size=batch.size)
        # Lightning divides every loss by the full number of accumulated batches, also where an epoch has fewer left
        full, batches = self.trainer.accumulate_grad_batches, int(self.trainer.num_training_batches)
        self._terms = [Term(each, *met[name]) for name, each in weighed.items()]
        return loss if full == 1 else loss * (full / accumulated(batch_index, batches, full))

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute gradients; those of several tasks for the trunk are aggregated where that was asked for."""
        terms, self._terms = self._terms, []
        if self.aggregation == "none":
            loss.backward()  # type: ignore[no-untyped-call]
            return
        trunk = [parameter for parameter in self.backbone.parameters() if parameter.requires_grad]
        backward_aggregated(terms, self.aggregation, trunk)

    def _cut(self, features: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], tuple[list[Tensor], list[Tensor]]]:
        """Return what a head reads, cut off from the trunk where its gradients are taken apart; and the two ends."""
        if self.aggregation == "none":
            return features, ([], [])
        moved = {level: values for level, values in features.items() if values.requires_grad}
        leaves = {level: values.detach().requires_grad_() for level, values in moved.items()}
        return {**features, **leaves}, (list(moved.values()), list(leaves.values()))

    def on_train_start(self) -> None:
        """Let each task begin with the chance that it would begin with alone."""
        self._chance = self._chance or dict.fromkeys(self.tasks, self._random_states())

    @contextmanager
    def _own_chance(self, name: str) -> Iterator[None]:
        """Let what a head draws, as dropout does, follow from what it drew before, whatever others draw meanwhile.

        So a head beside others on a frozen trunk becomes the same, to the bit, as alone.
        """
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.set_rng_state(self._chance[name][0])
            for state, device in zip(self._chance[name][1:], devices, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
            self._chance[name] = self._random_states()

    def _random_states(self) -> list[Tensor]:
        own = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        return [torch.get_rng_state(), *own]

    def on_train_epoch_start(self) -> None:
        """Begin the second phase of all parts together, once the trunk is thawed, also of those that missed steps."""
        if self.rate_plan.thaw_step and not self.backbone.is_frozen:
            for part in self.steps:
                late = self._rate_plan_of(part).thaw_step - self._place(part)
                self._passed_over[part] += max(0, late)

    def on_train_batch_start(self, batch: MixedBatch, batch_index: int) -> None:
        """Set each part's learning rate, which the thaw may have changed since the last step, and its momentum."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        for group in optimizer.param_groups:
            plan, place = self._rate_plan_of(group["name"]), self._place(group["name"])
            group["lr"] = group["initial_lr"] * plan.factor(place)
            momentum = plan.momentum(place)
            if momentum is not None:
                set_momentum(group, momentum)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Count the step for the parts that take part in it."""
        groups = optimizer.param_groups
        moved = {each["name"] for each in groups if any(one.grad is not None for one in each["params"])}
        for name in moved:
            self.steps[name] += 1

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the trunk's gradients and those of each head by themselves: a large loss of one task slows no other."""
        limits = {f"heads.{name}": plan.clip_norm for name, plan in self.plans.items()} | {_TRUNK: self.clip_norm}
        for name, limit in limits.items():
            if limit is not None:
                groups = [group["params"] for group in optimizer.param_groups if group["name"] == name]
                nn.utils.clip_grad_norm_([one for parameters in groups for one in parameters], limit)

    def on_validation_epoch_end(self) -> None:
        """Log the tasks' figures, and in training the mean loss of each, which weights may follow."""
        figures = self.log_figures()
        if self.trainer.state.fn != "fit":
            return
        means = {name: float(total / size) for name, (total, size) in self._sums.items()}
        self.balance.end_epoch(means)
        self._sums = {}
        if not self.is_apart:
            self.log(_MEAN, self.choosing(figures)[""])
        # not a number for a task that wasn't trained, or the log would show its last one again
        self.log_dict({f"train_loss_{name}": means.get(name, math.nan) for name in self.tasks})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add how far each part is."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["learner"] = {
            "steps": dict(self.steps),
            "passed_over": dict(self._passed_over),
            "stopped": list(self.stopped),
            "sums": dict(self._sums),
            "history": self.balance.history(),
            "chance": dict(self._chance),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take how far each part was."""
        super().on_load_checkpoint(checkpoint)
        kept = checkpoint["learner"]
        self.steps, self.stopped, self._passed_over = kept["steps"], kept["stopped"], kept["passed_over"]
        self._sums = kept["sums"]
        self.balance.restore(kept["history"])
        self._chance = kept["chance"]

    def _add(self, name: str, loss: Tensor, size: int) -> None:
        # on the device: to wait for each loss would keep a GPU from going on; MPS has no float64
        weighted = loss.detach().to(torch.float32 if loss.device.type == "mps" else torch.float64) * size
        added = torch.stack([weighted, torch.full_like(weighted, size)])
        before = self._sums.get(name)  # of a checkpoint, maybe, that was loaded onto another device
        self._sums[name] = added if before is None else before.to(added.device) + added


class TaskStopping(pl.Callback):
    """Ends the training of a task whose metric no longer gets better; with the last one the run ends.

    Where the run has a patience of its own, it ends too once the mean of the tasks' metrics no longer gets better.
    """

    def __init__(self, patience: Mapping[str, int], whole: int | None) -> None:
        """Begin with nothing seen.

        Args:
            patience: After how many epochs without a better value, for the tasks that are ended by themselves.
            whole: The same for the mean; None where the run isn't ended by it.
        """
        self._patience = dict(patience) if whole is None else {**patience, _MEAN: whole}
        self._best: dict[str, float] = {}
        self._waited: dict[str, int] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the best of each task, and for how many epochs it has been that."""
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a checkpoint."""
        self._best, self._waited = state_dict["best"], state_dict["waited"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the epoch's figures."""
        assert isinstance(pl_module, MultiTaskLearner)
        figures = {**dict(zip(pl_module.tasks, pl_module.judged_by, strict=True)), _MEAN: _MEAN}
        ended = []
        for name, patience in self._patience.items():
            if name in pl_module.stopped:
                continue
            value = float(trainer.callback_metrics[figures[name]])
            is_better = value > self._best.get(name, float("-inf"))
            self._best[name] = max(value, self._best.get(name, value))
            self._waited[name] = 0 if is_better else self._waited.get(name, 0) + 1
            if self._waited[name] >= patience:
                ended.append(name)
        for name in (each for each in ended if each != _MEAN):
            pl_module.stopped.append(name)
            age = count(self._patience[name], "epoch")
            print(f"{name} is no longer trained after epoch {trainer.current_epoch + 1}: its best is {age} old")
        all_stopped = len(pl_module.stopped) == len(pl_module.tasks)
        trainer.should_stop = trainer.should_stop or all_stopped or _MEAN in ended
