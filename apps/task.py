"""Trunk, head, loss and evaluator as one Lightning module: the only training step of the suite."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from ..backbones import Backbone
from ..backbones.errors import UserError
from ..datasets import Batch, Context
from .config import OptimOptions
from .divergence import divergence_error, is_finite, unusable_network_error
from .evaluated_images import Rows
from .evaluation import Evaluation, Evaluator, Piece, join_pieces, mean_loss
from .fast_trunk import FastTrunk
from .fixed_state import FixedState
from .processes import gather, is_one_of_several, share_buffers
from .schedule import RatePlan, accumulated, set_momentum
from .views import View

Mixing = Callable[..., Batch]
"""Mixes the images of a training batch: called with the batch, and ``epoch``, ``index`` and ``rank`` by name."""


class Head(nn.Module, ABC):
    """What an app puts on a trunk. It sees features, never images.

    That one rule makes the shared trunk, stored features and the pass through many heads one code path.
    """

    levels: tuple[str, ...]
    """The levels of the trunk it reads; nothing else is computed for it."""
    measures_loss: bool = True
    """Whether evaluation computes the loss too; not that of a detector, which is of boxes drawn at random."""

    @abstractmethod
    def forward(self, features: Mapping[str, Tensor], context: Context) -> Any:
        """Return the app's raw output for a batch."""

    @abstractmethod
    def loss(self, output: Any, context: Context, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the named, unweighted parts of the loss, each a scalar.

        Args:
            output: What :meth:`forward` gave for the batch.
            context: The batch's canvas and sizes.
            targets: The batch's targets (``datasets/sample.py``).
        """

    @abstractmethod
    def predict(self, output: Any, context: Context) -> list[dict[str, Any]]:
        """Return one row of plain values an image: class names, original pixels, words."""

    def merge_views(self, outputs: Sequence[Any], views: Sequence[View], context: Context) -> Any:
        """Return one output from those of several views of the same images.

        Args:
            outputs: What :meth:`forward` gave for each view.
            views: The views.
            context: Of the batch as it is.

        Raises:
            UserError: If the head's outputs can't be merged.
        """
        raise UserError(
            "This head can't merge what it says about several views of an image. Leave out --flips, --crops "
            "and --scales."
        )

    def join_windows(self, outputs: Iterable[Any], context: Context) -> Any:
        """Return the output for pictures from that for their windows.

        Args:
            outputs: What :meth:`forward` gives for some of the windows after the other, in their order.
            context: Says where the windows lie.

        Raises:
            UserError: If the head can't read windows.
        """
        raise UserError("This head reads a picture as a whole, not in windows.")


class Task(pl.LightningModule):
    """A trunk with one head, ready to be trained, evaluated and used.

    Args:
        backbone: The trunk; it must give the head's levels.
        head: The app's head.
        evaluator: The app's evaluator.
        description: Plain values from which the app rebuilds the head (``model_file.py``).
        loss_weights: Weights of the loss parts by name; 1 where not given.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        evaluator: Evaluator,
        *,
        description: dict[str, Any],
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        """See the class."""
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.evaluator = evaluator
        self.description = description
        self.loss_weights = dict(loss_weights or {})
        self.optim = OptimOptions()
        self.learning_rate = 1e-3
        # Not from the trainer's `estimated_stepping_batches`: asking for it here makes Lightning set up the loaders
        # before it has read the checkpoint, and the position inside the epoch is then never restored.
        self.rate_plan = RatePlan(steps=1)
        self.mixing: Mixing | None = None
        self.views: tuple[View, ...] = ()
        self.keeps_outputs = False
        self.keep_prediction: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None
        self.evaluation: Evaluation | None = None
        self.stored_entry: str | None = None
        self.fast: FastTrunk | None = None
        self.fixed: FixedState | None = None
        self._pieces: list[Piece] = []
        self._is_channels_last = False

    def features(self, batch: Batch, view: View | None = None) -> Mapping[str, Tensor]:
        """Return the trunk's maps for a batch, seen through a view, or the stored ones that it carries.

        Where only a part of the trunk is frozen, ``stored_entry`` is the level behind which the rest of it goes on.
        """
        if batch.features is not None:
            stored = {level: self._ready(features.float()) for level, features in batch.features.items()}
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

    def forward(self, batch: Batch) -> Any:
        """Return the head's output for a batch."""
        return self.head(self.features(batch), batch.context)

    def look(self, batch: Batch) -> Any:
        """Return the head's output for a batch, merged over test-time views and windows where there are any.

        Raises:
            UserError: If there are views, but only stored features to look at, or a head that can't merge outputs.
        """
        windows = batch.context.windows
        if windows is None:
            return self._look(batch)
        # not all windows of large pictures at once: as many as there would be pictures
        at_once = max(1, batch.size)
        parts = (self._look(batch.take_windows(start, start + at_once)) for start in range(0, len(windows), at_once))
        return self.head.join_windows(parts, batch.context)

    def _look(self, batch: Batch) -> Any:
        if not self.views:
            return self(batch)
        if batch.features is not None:
            raise UserError("Stored features are of one view of each image. Leave out --flips, --crops and --scales.")
        canvas = batch.context.canvas
        outputs = [
            self.head(self.features(batch, view), replace(batch.context, canvas=view.canvas(canvas)))
            for view in self.views
        ]
        return self.head.merge_views(outputs, self.views, batch.context)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor | None:
        """Return the weighted loss of a batch; nothing for one whose images were all skipped."""
        if batch.size == 0:
            # the other processes wait for this one's gradients
            trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
            return torch.stack([0.0 * p.sum() for p in trained]).sum() if is_one_of_several() else None
        if self.mixing is not None:
            batch = self.mixing(batch, epoch=self.current_epoch, index=batch_index, rank=self.global_rank)
        try:
            output = self(batch)
        except ValueError as error:
            raise _single_value_error(error, batch) from error
        loss = self._weighted(self.head.loss(output, batch.context, batch.targets))
        self.log("train_loss", loss, prog_bar=True, batch_size=batch.size)
        # Lightning divides every loss by the full number of accumulated batches, also where an epoch has fewer left
        full, batches = self.trainer.accumulate_grad_batches, int(self.trainer.num_training_batches)
        return loss if full == 1 else loss * (full / accumulated(batch_index, batches, full))

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Set the momentum where the schedule moves it too."""
        momentum = self.rate_plan.momentum(self.global_step)
        if momentum is not None:
            optimizer = self.optimizers(use_pl_optimizer=False)
            assert isinstance(optimizer, torch.optim.Optimizer)
            set_momentum(optimizer, momentum)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Keep the evaluator's rows of a batch; of outputs that aren't finite only a loss that isn't either."""
        if batch.size == 0:
            self._keep(batch, {}, loss=0.0)
            return
        output = self.look(batch)
        if not is_finite(output):
            self._keep(batch, {}, loss=math.nan)
            return
        loss = 0.0
        if self.head.measures_loss:
            loss = float(self._weighted(self.head.loss(output, batch.context, batch.targets)))
        self._keep(batch, self.evaluator.collect(output, batch), loss=loss)

    def _keep(self, batch: Batch, rows: Rows, *, loss: float) -> None:
        # copies: a view of what a worker sent would keep its shared memory, an open file for each
        own = {name: values.copy() for name, values in rows.items()}
        names = batch.names if rows else []
        self._pieces.append(Piece(batch.indices.cpu().numpy().copy(), names, own, batch.skipped, loss))

    def predict_step(self, batch: Batch, batch_index: int) -> list[dict[str, Any]]:
        """Return a row an image: its name, and the head's prediction or why it was skipped.

        With ``keeps_outputs`` also the head's raw ``output`` for it, on the CPU, for what averages or calibrates.
        """
        predicted = self._predict(batch) if batch.size else []
        if self.keep_prediction is not None:
            predicted = [self.keep_prediction(name, row) for name, row in zip(batch.names, predicted, strict=True)]
        rows = {
            int(index): {"image": name, **row}
            for index, name, row in zip(batch.indices, batch.names, predicted, strict=True)
        }
        rows |= {bad.index: {"image": bad.name, "error": bad.reason} for bad in batch.skipped}
        return [rows[index] for index in sorted(rows)]

    def _predict(self, batch: Batch) -> list[dict[str, Any]]:
        output = self.look(batch)
        rows = self.head.predict(output, batch.context)
        if not self.keeps_outputs:
            return rows
        return [{**row, "output": one} for row, one in zip(rows, output.float().cpu(), strict=True)]

    def on_validation_epoch_start(self) -> None:
        """Start each evaluation with nothing kept, and with the same statistics in every process."""
        self._pieces = []
        self.evaluator.is_brief = self.trainer.state.fn == "fit"
        share_buffers(self)

    def on_validation_epoch_end(self) -> None:
        """Log the figures of all processes' batches, and outside of training keep the whole evaluation.

        Raises:
            UserError: If outputs or losses aren't finite, or the metric that chooses the checkpoint is undefined.
        """
        pieces = [piece for part in gather(self._pieces) for piece in part]
        self._pieces = []
        is_training = self.trainer.state.fn == "fit"
        if not all(math.isfinite(piece.loss) for piece in pieces):
            epoch = self.current_epoch + 1
            raise divergence_error(epoch, self.learning_rate) if is_training else unusable_network_error()
        images, skipped = join_pieces(pieces)
        images = self.evaluator.complete(images)
        if is_training:
            figures = self.evaluator.values(images)
            if self.evaluator.primary not in figures:
                raise _undefined_error(self.evaluator.primary)
        else:
            self.evaluation = self.evaluator.evaluate(images, skipped)
            if self.views:
                self.evaluation.details["views"] = [view.name for view in self.views]
            figures = {name: estimate.value for name, estimate in self.evaluation.metrics.items()}
        loss = {"loss": mean_loss(pieces)} if self.head.measures_loss else {}
        self.log_dict({f"val_{name}": value for name, value in {**loss, **figures}.items()})

    def _weighted(self, parts: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.loss_weights.get(name, 1.0) * part for name, part in parts.items()]).sum()

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
        optimizer = _optimizer(self._parameter_groups(), self.optim)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate_plan.factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters by learning rate and weight decay, the trunk's shallow stages first, the head last.

        Each stage of the trunk learns ``layer_decay`` times as fast as what stands on it (Clark 2020, ELECTRA).
        """
        # a trunk that will be thawed has its groups from the start: those of a resumed run must be the same
        stages = self.backbone.parameter_groups(trainable_only=not self.rate_plan.thaw_step)
        trunk_rate = self.learning_rate * self.optim.trunk_factor
        parts = [
            ("trunk", trunk_rate * self.optim.layer_decay ** (len(stages) - depth), parameters)
            for depth, (_, parameters) in enumerate(stages)
        ]
        parts.append(("head", self.learning_rate, [p for p in self.head.parameters() if p.requires_grad]))
        groups: dict[tuple[str, float, float], list[nn.Parameter]] = {}
        for name, rate, parameters in parts:
            for parameter in parameters:
                # vectors are biases and normalisation parameters
                decay = self.optim.weight_decay if parameter.dim() > 1 else 0.0
                groups.setdefault((name, rate, decay), []).append(parameter)
        return [
            {"params": kept, "lr": rate, "weight_decay": decay, "name": name}
            for (name, rate, decay), kept in groups.items()
        ]


def _single_value_error(error: ValueError, batch: Batch) -> ValueError:
    """Return batch normalisation's complaint about a single value a channel in our words, and others as they are."""
    if "Expected more than 1 value per channel" not in str(error):
        return error
    return UserError(
        f"Batch normalisation can't train on a batch of {batch.size} image whose map has a single cell "
        f"(canvas {batch.context.canvas[0]}x{batch.context.canvas[1]}). "
        "Use a larger --batch-size, a larger --image-size, or --freeze all."
    )


def _undefined_error(metric: str) -> UserError:
    return UserError(
        f"'{metric}' can't choose the checkpoint: the images of the validation split that can be read leave it "
        "undefined. Choose another metric with --select, or mend the images."
    )


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
