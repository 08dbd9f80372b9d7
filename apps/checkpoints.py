"""Exact resume: what is saved, when, and how a run that stops goes on at the same step."""

import random
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from ..backbones.errors import UserError
from ..datasets import Batch, MixedBatch
from .ema import Ema
from .epoch_log import EpochLog
from .inputs import bad_images_error
from .interruption import StopRequest
from .on_trunk import OnTrunk
from .processes import gather, highest, is_first, own
from .run_folder import RunFolder, replacing, unwritable_error

#: Before an epoch's last step, where validation follows, a checkpoint is written if the last is older than this.
_SECONDS_BEFORE_VALIDATION = 30.0


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in its folder, flushes it to the disk, then renames it.

    A process that is killed, or a disk that fills up, leaves the former checkpoint as it was.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write the checkpoint whole or not at all.

        Raises:
            UserError: If the disk is full or the folder can't be written to.
        """
        try:
            with replacing(Path(path), "wb") as stream:
                torch.save(checkpoint, stream)
        except RuntimeError as error:  # torch reports a short write so
            raise unwritable_error(Path(path), str(error)) from error


class Checkpoints(pl.Callback):
    """Saves the whole state of a run on optimizer steps, and stops the run where it was just saved.

    ``last.ckpt`` is written at the end of each epoch, after its validation, and every ``save_every`` seconds inside
    one. It is never written on an epoch's last step: Lightning would take such a file for a finished epoch and skip
    its validation. A state in which the loss wasn't finite is never written.

    Args:
        run: The run's folder.
        epoch_log: The log of the run, which knows the losses of the epoch so far.
        save_every: Seconds between checkpoints inside an epoch.
        data_fingerprint: Of both splits; a run doesn't go on with other data.
        trunk_fingerprints: Of the trunk as it was when the run began: all of it, and its frozen part.
        ema: The average of the weights, where the run keeps one.
    """

    def __init__(
        self,
        run: RunFolder,
        *,
        epoch_log: EpochLog,
        save_every: float,
        data_fingerprint: str,
        trunk_fingerprints: tuple[str, str],
        ema: Ema | None = None,
    ) -> None:
        """See the class."""
        self.run = run
        self.epoch_log = epoch_log
        self.request = StopRequest()
        self.ema = ema
        self.save_every = save_every
        self.data_fingerprint = data_fingerprint
        self.trunk_fingerprints = trunk_fingerprints
        self.saved_step: int | None = None
        self.best: dict[str, tuple[float, int]] = {}
        self.is_stopped = False
        self._random_state: dict[str, Any] | None = None
        self._saved_at = time.monotonic()

    @property
    def best_epochs(self) -> dict[str, int]:
        """Of each part of the weights that is chosen by itself (``OnTrunk.choosing``) the epoch it is from, from 1."""
        return {part: epoch + 1 for part, (_, epoch) in self.best.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the best so far and the states of every process's random generators."""
        return {
            "best": self.best,
            "data_fingerprint": self.data_fingerprint,
            "trunk_fingerprints": self.trunk_fingerprints,
            "is_stopped": self.is_stopped,
            "random_states": gather(random_state()),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a checkpoint.

        Raises:
            UserError: If the run began with other training data, or with another number of processes.
        """
        processes = len(state_dict["random_states"])
        if processes != len(gather(None)):
            raise UserError(
                f"The run in '{self.run.path}' was started with {processes} processes and can't go on exactly with "
                f"{len(gather(None))}: each step would see other images. Give it the same --devices and --num-nodes."
            )
        if state_dict["data_fingerprint"] != self.data_fingerprint:
            raise UserError(
                f"The data changed since the run in '{self.run.path}' began, so it can't go on exactly. "
                "Restore the data, or start another run: --output DIR."
            )
        self.best = state_dict["best"]
        # not those of the trunk as it is built now: its weights file may have been replaced meanwhile
        self.trunk_fingerprints = state_dict["trunk_fingerprints"]
        self.is_stopped = state_dict["is_stopped"]
        self._random_state = own(state_dict["random_states"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the random generators where the checkpoint left them, as late as can be."""
        if self._random_state is not None:
            restore_random_state(self._random_state)
            self._random_state = None
            self.saved_step = trainer.global_step
        trainer.should_stop = self.is_stopped  # early stopping ended the training before the run was interrupted
        self.request.is_deferred = True
        self._saved_at = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Save if it is time, then stop if that was asked for."""
        done, batches = batch_idx + 1, int(trainer.num_training_batches)
        accumulate = trainer.accumulate_grad_batches
        next_step = -(-done // accumulate) * accumulate
        is_last_step_left = next_step >= batches  # on which nothing is saved
        if done != next_step and not is_last_step_left:
            return
        age = time.monotonic() - self._saved_at
        is_last_chance = next_step + accumulate >= batches and age >= _SECONDS_BEFORE_VALIDATION
        is_due = is_first() and (age >= self.save_every or is_last_chance)
        # Clocks and signals differ between processes, and all of them have to do the same. One number says both, and is
        # read once: a signal that comes while it is decided waits for the next step.
        agreed = highest(2 * (self.request.signal_number or 0) + is_due, pl_module.device)
        if agreed and not is_last_step_left:
            self._save(trainer)
        self._stop_if(agreed // 2)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let a signal stop the run at once: validation changes no state."""
        self._act_at_once()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Defer signals to the next safe moment again."""
        self.request.is_deferred = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the best weights, then the whole state, then stop if that was asked for."""
        assert isinstance(pl_module, OnTrunk)
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        reached = pl_module.choosing(figures)
        better = {part for part, value in reached.items() if value > self.best.get(part, (float("-inf"), -1))[0]}
        if better:
            self.best |= {part: (reached[part], trainer.current_epoch) for part in better}
            state: Mapping[str, Any] = self.ema.averaged_state() if self.ema else pl_module.state_dict()
            state = state if pl_module.fixed is None else pl_module.fixed.leave_out(state)
            trainer.strategy.save_checkpoint({"state_dict": self._best_state(state, better)}, self.run.best)
        self.is_stopped = trainer.should_stop and trainer.current_epoch + 1 < (trainer.max_epochs or 0)
        self._save(trainer)
        self._stop_if(highest(self.request.signal_number or 0, pl_module.device))

    def _best_state(self, state: Mapping[str, Any], better: Collection[str]) -> Mapping[str, Any]:
        """Return a state, with the weights of an earlier epoch in those parts that weren't better now."""
        worse = tuple(part for part in self.best if part not in better)
        if not worse:
            return state
        before = torch.load(self.run.best, map_location="cpu", weights_only=True)["state_dict"]
        return {name: before[name] if name.startswith(worse) else value for name, value in state.items()}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let a signal stop the run at once from here on."""
        self._act_at_once()

    def _act_at_once(self) -> None:
        """Raise on a signal, also an earlier one; only in the first process, on which the others depend."""
        if is_first():
            self.request.is_deferred = False
            self.request.raise_if_requested()

    def _stop_if(self, signal_number: int) -> None:
        """Raise if any process got a signal."""
        if signal_number:
            self.request.note(signal_number)
            self.request.raise_if_requested()

    def _save(self, trainer: pl.Trainer) -> None:
        self.epoch_log.refuse_divergence(trainer)
        trainer.save_checkpoint(self.run.last)
        self.saved_step = trainer.global_step
        self._saved_at = time.monotonic()


class BadData(pl.Callback):
    """Stops on an image that can't be read, or counts it, as ``--bad-data`` says. Nothing is ever put in its place."""

    def __init__(self, policy: str) -> None:
        """Take ``"error"`` or ``"skip"``."""
        self.policy = policy
        self.skipped: dict[str, dict[str, str]] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the training images that were skipped so far, by any process."""
        return {"skipped": self.all_skipped()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a checkpoint."""
        kept = state_dict["skipped"]
        # as releases wrote it that knew one data set only
        self.skipped = {"": kept} if any(isinstance(reason, str) for reason in kept.values()) else kept

    def all_skipped(self) -> dict[str, dict[str, str]]:
        """Return name and reason of each training image that was skipped by any process; all have to call it.

        They come by data set, as ``TrainingData.sources`` calls it: names tell images apart within one only.
        """
        found: dict[str, dict[str, str]] = {}
        for part in gather(self.skipped):
            for source, reasons in part.items():
                found.setdefault(source, {}).update(reasons)
        return found

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch | MixedBatch, batch_idx: int
    ) -> None:
        """Look at a training batch."""
        self._take(batch)
        for source, part in (batch.batches if isinstance(batch, MixedBatch) else {"": batch}).items():
            if part.skipped:
                self.skipped.setdefault(source, {}).update({bad.name: bad.reason for bad in part.skipped})

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch | MixedBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Look at an evaluation batch; the evaluator keeps its skipped images."""
        self._take(batch)

    def _take(self, batch: Batch | MixedBatch) -> None:
        if self.policy == "error" and batch.skipped:
            raise bad_images_error(batch.skipped)


def random_state() -> dict[str, Any]:
    """Return the states of the main process's generators, in types that ``torch.load(weights_only=True)`` reads."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), has_gauss, gauss),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put the main process's generators back to a saved state."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
