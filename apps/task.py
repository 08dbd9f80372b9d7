"""Trunk, head, loss and evaluator as one Lightning module: the only training step of the suite."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..backbones import Backbone
from ..backbones.errors import UserError
from ..datasets import Batch, Context
from .divergence import divergence_error, is_finite, unusable_network_error
from .evaluated_images import Rows
from .evaluation import Evaluation, Evaluator, Piece, join_pieces, mean_loss
from .on_trunk import OnTrunk, TrainedPart
from .processes import gather, is_one_of_several, share_buffers
from .schedule import accumulated, set_momentum
from .views import View


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


class Task(OnTrunk):
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
        super().__init__(backbone, description=description)
        self.head = head
        self.evaluator = evaluator
        self.loss_weights = dict(loss_weights or {})
        self.views: tuple[View, ...] = ()
        self.keeps_outputs = False
        self.keep_prediction: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None
        self.evaluation: Evaluation | None = None
        self._pieces: list[Piece] = []

    @property
    def judged_by(self) -> Sequence[str]:
        """The metric that chooses the checkpoint, as it is logged."""
        return [f"val_{self.evaluator.primary}"]

    def choosing(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Return what decides whether an epoch's weights are kept, all of them together."""
        return {"": figures[self.judged_by[0]]}

    def head_parts(self) -> list[TrainedPart]:
        """Return the head."""
        parameters = [parameter for parameter in self.head.parameters() if parameter.requires_grad]
        return [TrainedPart("head", self.learning_rate, self.optim.weight_decay, parameters)]

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
        with explaining_single_values(batch):
            loss = self.training_loss(self.features(batch), batch)
        self.log("train_loss", loss, prog_bar=True, batch_size=batch.size)
        # Lightning divides every loss by the full number of accumulated batches, also where an epoch has fewer left
        full, batches = self.trainer.accumulate_grad_batches, int(self.trainer.num_training_batches)
        return loss if full == 1 else loss * (full / accumulated(batch_index, batches, full))

    def training_loss(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Return the weighted loss of a batch of which the trunk's maps are known."""
        return self._weighted(self.head.loss(self.head(features, batch.context), batch.context, batch.targets))

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Set the momentum where the schedule moves it too."""
        momentum = self.rate_plan.momentum(self.global_step)
        if momentum is not None:
            optimizer = self.optimizers(use_pl_optimizer=False)
            assert isinstance(optimizer, torch.optim.Optimizer)
            for group in optimizer.param_groups:
                set_momentum(group, momentum)

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
        self.begin_evaluation(is_brief=self.trainer.state.fn == "fit")
        share_buffers(self)

    def begin_evaluation(self, *, is_brief: bool) -> None:
        """Start an evaluation with nothing kept.

        Args:
            is_brief: Whether figures that cost much are left out, as between the epochs of a training.
        """
        self._pieces = []
        self.evaluator.is_brief = is_brief

    def on_validation_epoch_end(self) -> None:
        """Log the figures of all processes' batches, and outside of training keep the whole evaluation.

        Raises:
            UserError: If outputs or losses aren't finite, or the metric that chooses the checkpoint is undefined.
        """
        epoch = self.current_epoch + 1 if self.trainer.state.fn == "fit" else None
        self.log_dict({f"val_{name}": value for name, value in self.end_evaluation(epoch=epoch).items()})

    def end_evaluation(self, *, epoch: int | None) -> dict[str, float]:
        """Return the figures of all processes' batches, and outside of training keep the whole evaluation.

        Args:
            epoch: Of the training, from 1; nothing outside of one.

        Raises:
            UserError: If outputs or losses aren't finite, or the metric that chooses the checkpoint is undefined.
        """
        pieces = [piece for part in gather(self._pieces) for piece in part]
        self._pieces = []
        if not all(math.isfinite(piece.loss) for piece in pieces):
            raise unusable_network_error() if epoch is None else divergence_error(epoch, self.learning_rate)
        images, skipped = join_pieces(pieces)
        images = self.evaluator.complete(images)
        if epoch is not None:
            figures = self.evaluator.values(images)
            if self.evaluator.primary not in figures:
                raise _undefined_error(self.evaluator.primary)
        else:
            self.evaluation = self.evaluator.evaluate(images, skipped)
            if self.views:
                self.evaluation.details["views"] = [view.name for view in self.views]
            figures = {name: estimate.value for name, estimate in self.evaluation.metrics.items()}
        loss = {"loss": mean_loss(pieces)} if self.head.measures_loss else {}
        return {**loss, **figures}

    def _weighted(self, parts: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.loss_weights.get(name, 1.0) * part for name, part in parts.items()]).sum()


@contextmanager
def explaining_single_values(batch: Batch) -> Iterator[None]:
    """Put batch normalisation's complaint about a single value a channel in our words, and leave others as they are.

    Raises:
        UserError: If it can't train on so little.
    """
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            f"Batch normalisation can't train on a batch of {batch.size} image whose map has a single cell "
            f"(canvas {batch.context.canvas[0]}x{batch.context.canvas[1]}). "
            "Use a larger --batch-size, a larger --image-size, or --freeze all."
        ) from error


def _undefined_error(metric: str) -> UserError:
    return UserError(
        f"'{metric}' can't choose the checkpoint: the images of the validation split that can be read leave it "
        "undefined. Choose another metric with --select, or mend the images."
    )
