"""A trunk and what stands on it as one Lightning module: features, optimizer, schedule, and what a checkpoint holds."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from ..backbones import Backbone
from ..datasets import Batch
from .config import OptimOptions
from .fast_trunk import FastTrunk, autocast_dtype
from .fixed_state import FixedState
from .schedule import RatePlan
from .views import View

Mixing = Callable[..., Batch]
"""Mixes the images of a training batch: called with the batch, and ``epoch``, ``index`` and ``rank`` by name."""


class TrainedPart(NamedTuple):
    """Parameters that are trained in one way."""

    name: str
    """What log lines and checkpoints call it."""
    learning_rate: float
    """The highest."""
    weight_decay: float
    parameters: Sequence[nn.Parameter]


class OnTrunk(pl.LightningModule, ABC):
    """A trunk with one head or several, as training, evaluation and prediction need it.

    Args:
        backbone: The trunk; it must give the levels of what stands on it.
        description: Plain values; at least ``task``, and under ``inputs`` how pictures come onto the canvas.
    """

    def __init__(self, backbone: Backbone, *, description: dict[str, Any]) -> None:
        """See the class."""
        super().__init__()
        self.backbone = backbone
        self.description = description
        self.optim = OptimOptions()
        self.learning_rate = 1e-3
        # Not from the trainer's `estimated_stepping_batches`: asking for it here makes Lightning set up the loaders
        # before it has read the checkpoint, and the position inside the epoch is then never restored.
        self.rate_plan = RatePlan(steps=1)
        self.mixing: Mixing | None = None
        self.stored_entry: str | None = None
        self.fast: FastTrunk | None = None
        self.fixed: FixedState | None = None
        self._is_channels_last = False

    @property
    @abstractmethod
    def judged_by(self) -> Sequence[str]:
        """The logged figures to look at first, such as ``val_top1``."""

    @abstractmethod
    def choosing(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Return what decides whether an epoch's weights are kept; higher is better.

        Args:
            figures: What was logged of the epoch, by name.

        Returns:
            The beginning of the names of weights that are chosen together, "" for all, and the value.
        """

    @abstractmethod
    def head_parts(self) -> list[TrainedPart]:
        """Return what is trained besides the trunk."""

    def early_stopping(self, patience: int | None) -> pl.Callback | None:
        """Return what ends a training after so many epochs that brought nothing better; None where nothing has to."""
        if patience is None:
            return None
        # After validation: at the end of the epoch Lightning asks it last, when the checkpoint is written already.
        return EarlyStopping(self.judged_by[0], patience=patience, mode="max", check_on_train_epoch_end=False)

    def features(self, batch: Batch, view: View | None = None) -> Mapping[str, Tensor]:
        """Return the trunk's maps for a batch, seen through a view, or the stored ones that it carries.

        Where only a part of the trunk is frozen, ``stored_entry`` is the level behind which the rest of it goes on.
        """
        if batch.features is not None:
            # as the trunk itself would give them: a decoder puts them beside what it computes
            stored = {
                level: self._ready(features.to(autocast_dtype(features.device.type)))
                for level, features in batch.features.items()
            }
            return stored if self.stored_entry is None else self.backbone.going_on(stored, self.stored_entry)
        assert batch.images is not None
        images = self.backbone.preprocessing.normalize(batch.images)
        if view is not None:
            images = view(images)
        if self.fast is not None:
            return self.fast.to(images.device)(images)
        images = self._ready(images)
        # without a graph where nothing of the trunk is trained: no activations are kept
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.backbone.is_frozen):
            features: Mapping[str, Tensor] = self.backbone(images)
        return features

    def _ready(self, maps: Tensor) -> Tensor:
        is_map = maps.dim() == 4
        return maps.contiguous(memory_format=torch.channels_last) if self._is_channels_last and is_map else maps

    def use_channels_last(self) -> None:
        """Keep the trunk's convolutions, and the images it sees, in the channels-last memory format."""
        self.backbone.to(memory_format=torch.channels_last)
        self._is_channels_last = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what lies beside the checkpoints."""
        if self.fixed is not None:
            checkpoint["state_dict"] = self.fixed.leave_out(checkpoint["state_dict"])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what lies beside the checkpoints."""
        if self.fixed is not None:
            checkpoint["state_dict"] = self.fixed.put_back(checkpoint["state_dict"])

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer and its schedule from the run's options."""
        groups = self._parameter_groups()
        optimizer = _optimizer(groups, self.optim)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [self.rate_of(group["name"]) for group in groups])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate_of(self, part: str) -> Callable[[int], float]:
        """Return what a part's highest learning rate is multiplied with, as a function of the optimizer step."""
        return self.rate_plan.factor

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters by learning rate and weight decay, the trunk's shallow stages first, heads last.

        Each stage of the trunk learns ``layer_decay`` times as fast as what stands on it (Clark 2020, ELECTRA).
        """
        # a trunk that will be thawed has its groups from the start: those of a resumed run must be the same
        stages = self.backbone.parameter_groups(trainable_only=not self.rate_plan.thaw_step)
        trunk_rate, decay = self.learning_rate * self.optim.trunk_factor, self.optim.weight_decay
        parts = [
            TrainedPart("trunk", trunk_rate * self.optim.layer_decay ** (len(stages) - depth), decay, parameters)
            for depth, (_, parameters) in enumerate(stages)
        ]
        groups: dict[tuple[str, float, float], list[nn.Parameter]] = {}
        for part in [*parts, *self.head_parts()]:
            for parameter in part.parameters:
                # vectors are biases and normalisation parameters
                own_decay = part.weight_decay if parameter.dim() > 1 else 0.0
                groups.setdefault((part.name, part.learning_rate, own_decay), []).append(parameter)
        return [
            {"params": kept, "lr": rate, "weight_decay": own_decay, "name": name}
            for (name, rate, own_decay), kept in groups.items()
        ]


def _optimizer(groups: list[dict[str, Any]], options: OptimOptions) -> torch.optim.Optimizer:
    # one pass over all weights in place of several for each
    fused = all(parameter.device.type in ("cpu", "cuda") for group in groups for parameter in group["params"])
    optimizer: torch.optim.Optimizer
    if options.name == "sgd":
        optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True, fused=fused)
    else:
        optimizer = torch.optim.AdamW(groups, fused=fused)
    # Lightning takes this for scaled gradients, which it can't clip in bf16; bf16 scales none
    optimizer._step_supports_amp_scaling = False
    return optimizer
