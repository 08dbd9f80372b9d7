"""The log of a run: ``log.csv`` and a printed line, an epoch each."""

import csv
import math
import time
from typing import Any

import pytorch_lightning as pl
import rich

from ..datasets import Batch, MixedBatch
from .divergence import divergence_error
from .on_trunk import OnTrunk
from .processes import gather, is_first, own
from .run_folder import RunFolder, replacing
from .schedule import accumulated

_DROPPED = "dropped_boxes"
"""How many objects random changes moved off the canvas in an epoch; only where there are objects."""
_SHOWN = 6
"""So many figures are printed; the file holds all."""


class EpochLog(pl.Callback):
    """Writes ``log.csv``, a row an epoch, and prints it. Its running means are part of the checkpoint."""

    def __init__(self, run: RunFolder) -> None:
        """Take the run's folder."""
        self.run = run
        self.rows: list[dict[str, Any]] = []
        self._sums = {"loss": 0.0, "images": 0.0, "seconds": 0.0}
        self._resumed_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far and the means in progress."""
        return {"rows": self.rows, "sums": gather({**self._sums, "seconds": self._seconds()})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a checkpoint; rows written after it are replaced."""
        self.rows, self._sums = state_dict["rows"], own(state_dict["sums"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._resumed_at = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch | MixedBatch,
        batch_idx: int,
    ) -> None:
        """Add the batch to the epoch's means."""
        if batch.size and outputs:  # a step in which nothing was trained has none
            batches = accumulated(batch_idx, int(trainer.num_training_batches), trainer.accumulate_grad_batches)
            self._sums["loss"] += float(outputs["loss"]) * batches * batch.size  # it is divided by them
            self._sums["images"] += batch.size
            if (dropped := batch.dropped_boxes) is not None:
                self._sums[_DROPPED] = self._sums.get(_DROPPED, 0.0) + float(dropped)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write and print the epoch's row, of all processes together.

        Raises:
            UserError: If its training loss isn't finite.
        """
        self.refuse_divergence(trainer)
        parts = gather(self._sums)
        images = max(1.0, sum(part["images"] for part in parts))
        row: dict[str, Any] = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        row["train_loss"] = sum(part["loss"] for part in parts) / images
        if any(_DROPPED in part for part in parts):
            row[_DROPPED] = round(sum(part.get(_DROPPED, 0.0) for part in parts))
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        validated = {name: value for name, value in logged.items() if name.startswith("val_")}
        row |= {name: value for name, value in logged.items() if name.startswith("train_loss_")}  # one a task
        row |= dict(sorted(validated.items()))
        row["learning_rate"] = trainer.optimizers[0].param_groups[-1]["lr"]
        row["seconds"] = self._seconds()
        self.rows.append(row)
        self._sums = {"loss": 0.0, "images": 0.0, "seconds": 0.0}
        self._resumed_at = time.monotonic()
        if not is_first():
            return
        self._write()
        task = trainer.lightning_module
        assert isinstance(task, OnTrunk)
        names = dict.fromkeys(("train_loss", *task.judged_by, *validated))
        shown = "  ".join(f"{name} {row[name]:.4g}" for name in list(names)[: max(_SHOWN, 1 + len(task.judged_by))])
        line = f"epoch {row['epoch']}/{trainer.max_epochs}  {shown}  {row['seconds']:.1f} s"
        rich.get_console().print(line, soft_wrap=True, highlight=False)  # above the progress bar, where there is one

    def refuse_divergence(self, trainer: pl.Trainer) -> None:
        """Stop a training whose loss wasn't finite in a step of this epoch, in any process; all have to call it.

        Raises:
            UserError: Saying what to try.
        """
        if not all(gather(math.isfinite(self._sums["loss"]))):
            task = trainer.lightning_module
            assert isinstance(task, OnTrunk)
            raise divergence_error(trainer.current_epoch + 1, task.learning_rate)

    def _seconds(self) -> float:
        return self._sums["seconds"] + time.monotonic() - self._resumed_at

    def _write(self) -> None:
        with replacing(self.run.log) as stream:
            # of boxes an epoch that draws few batches of them may know nothing
            names = dict.fromkeys(name for row in self.rows for name in row)
            writer = csv.DictWriter(stream, fieldnames=list(names))
            writer.writeheader()
            writer.writerows(self.rows)
