"""Lightning's trainer as all commands share it, and one pass over a split with it."""

import logging
import sys
import time
import warnings
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import RichProgressBar

from ..datasets import ResumableLoader
from .card import Cost
from .checkpoints import AtomicCheckpointIO, BadData
from .config import RuntimeOptions
from .evaluation import Evaluation
from .hardware import choose_device, peak_memory_mib
from .interruption import Interrupted, stop_on_signals
from .task import Task


class ProgressBar(RichProgressBar):
    """Lightning's bar, with epochs counted from 1 as everywhere else."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch + 1}/{self.trainer.max_epochs}"


def evaluate(task: Task, loader: ResumableLoader, options: RuntimeOptions) -> tuple[Evaluation, float]:
    """Return a task's evaluation on a loader's split, and the seconds it took."""
    started = time.monotonic()
    trainer = make_trainer(options, callbacks=[BadData(options.bad_data)], logger=False)
    with stop_on_signals():
        try:
            trainer.validate(task, loader, verbose=False)
        except Interrupted as stop:
            stop.add_note(f"stopped by {stop} in the evaluation.")
            raise
        finally:
            loader.close()
    assert task.evaluation is not None
    return task.evaluation, time.monotonic() - started


def predict(task: Task, loader: ResumableLoader, options: RuntimeOptions) -> list[dict[str, Any]]:
    """Return a row of plain values for each image, in the loader's order; an image that was skipped says why."""
    trainer = make_trainer(options, callbacks=[BadData(options.bad_data)], logger=False)
    try:
        with stop_on_signals():
            batches = trainer.predict(task, loader)
    finally:
        loader.close()
    return [row for rows in batches or [] for row in rows]


def make_trainer(options: RuntimeOptions, *, callbacks: list[pl.Callback], **settings: Any) -> pl.Trainer:
    """Return Lightning's trainer with what all commands share.

    Args:
        options: Device and precision.
        callbacks: In the order in which they act.
        settings: More of the trainer's own arguments.
    """
    _quiet_lightning()
    device = choose_device(options.device)
    # the bar goes where a person looks; a log file gets a line an epoch instead
    if sys.stderr.isatty() and sys.stdout.isatty():
        callbacks = [*callbacks, ProgressBar(leave=False)]
    return pl.Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=1,
        precision="bf16-mixed" if options.precision == "bf16" else "32-true",
        callbacks=callbacks,
        # not what Lightning finds in the environment: under SLURM it would write and read checkpoints of its own
        plugins=[AtomicCheckpointIO(), LightningEnvironment()],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(callback, RichProgressBar) for callback in callbacks),
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **settings,
    )


def _quiet_lightning() -> None:
    """Silence advertisements, and warnings about what this suite does on purpose."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for pattern in (
        ".*does not have many workers.*",
        ".*smaller than the logging interval.*",
        ".*in eval mode.*",
        ".*lr_scheduler.step.*",
        ".*LeafSpec.*",
        ".*Checkpoint directory.*exists.*",
    ):
        warnings.filterwarnings("ignore", pattern)


def measure_cost(task: Task, evaluation: Evaluation, seconds: float, total: float, options: RuntimeOptions) -> Cost:
    """Return what an evaluation cost; ``seconds`` are those of the evaluation, ``total`` those of the command."""
    parameters = list(task.parameters())
    return Cost(
        images_per_second=evaluation.used / seconds,
        peak_memory_mib=peak_memory_mib(choose_device(options.device)),
        trained_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        parameters=sum(p.numel() for p in parameters),
        seconds=total,
    )
