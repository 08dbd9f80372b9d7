"""Lightning's trainer as all commands share it, and one pass over a split with it."""

import logging
import re
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments import ClusterEnvironment, LightningEnvironment, SLURMEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from ..backbones.errors import UserError, did_you_mean
from ..datasets import AnnotatedImages, MixedLoader, ResumableLoader
from ..datasets.findings import count
from .card import Cost
from .checkpoints import AtomicCheckpointIO, BadData
from .config import RuntimeOptions, TrainingOptions
from .evaluation import Evaluation
from .hardware import choose_device, peak_memory_mib
from .interruption import Interrupted, StopRequest, stop_on_signals
from .on_trunk import OnTrunk
from .option_checks import frozen_epochs
from .processes import describe_rank, gather, is_first, is_under_slurm
from .task import Task

Loader = ResumableLoader | MixedLoader
"""What gives batches: of one data set, or of several side by side."""

#: Lightning's strategies that start processes by the command line, which knows how to be one of several, and keep the
#: whole model in each, as checkpoints do here.
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true")

#: How gloo and NCCL say that the process at the other end is gone.
_LOST_PEER = re.compile(r"gloo|nccl|ProcessGroup|Connection (closed|reset)|Broken pipe", re.IGNORECASE)


class ProgressBar(RichProgressBar):
    """Lightning's bar, with epochs counted from 1 as everywhere else."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch + 1}/{self.trainer.max_epochs}"


def evaluate(task: Task, loader: ResumableLoader, options: RuntimeOptions) -> tuple[Evaluation, float]:
    """Return a task's evaluation on a loader's split, the same in every process, and the seconds it took."""
    seconds = look_at_all(task, loader, options)
    assert task.evaluation is not None
    print_undefined(task.evaluation)
    return task.evaluation, seconds


def look_at_all(task: OnTrunk, loader: Loader, options: RuntimeOptions) -> float:
    """Let what stands on a trunk evaluate a loader's split, and return the seconds it took."""
    started = time.monotonic()
    trainer = make_trainer(options, callbacks=[BadData(options.bad_data)], logger=False)
    with running_together(trainer, loader):
        try:
            trainer.validate(task, loader, verbose=False)
        except Interrupted as stop:
            stop.add_note(f"stopped by {stop} in the evaluation.")
            raise
        finally:
            loader.close()
    return time.monotonic() - started


def print_undefined(evaluation: Evaluation, *, of: str = "") -> None:
    """Print a line on the metrics that have no value on the images, and why; those of a task that has a name."""
    reasons: dict[str, list[str]] = {}
    for name, reason in evaluation.details.get("undefined", {}).items():
        reasons.setdefault(reason, []).append(name)
    if reasons:
        listing = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
        print(f"undefined and left out{f' of {of}' if of else ''}: {listing}")


def predict(task: OnTrunk, loader: ResumableLoader, options: RuntimeOptions) -> list[dict[str, Any]]:
    """Return a row of plain values for each image, in the loader's order; an image that was skipped says why."""
    trainer = make_trainer(options, callbacks=[BadData(options.bad_data)], logger=False)
    with running_together(trainer, loader):
        try:
            own = trainer.predict(task, loader) or []
            # batch i was for process i mod N
            rounds = zip_longest(*gather(own), fillvalue=[])
        finally:
            loader.close()
    return [row for batches in rounds for rows in batches for row in rows]


def predict_outputs(task: Task, loader: ResumableLoader, options: RuntimeOptions) -> list[dict[str, Any]]:
    """Return what :func:`predict` does, and in each row of an image that could be read the head's raw ``output``."""
    task.keeps_outputs = True
    try:
        return predict(task, loader, options)
    finally:
        task.keeps_outputs = False


@contextmanager
def running_together(trainer: pl.Trainer, *loaders: Loader) -> Iterator[StopRequest]:
    """Give each process its share of the batches, handle signals, and leave no process behind.

    Only the first process acts on a signal at once. The others note it: the first has got one too, or hears of theirs
    at the next step.

    Raises:
        UserError: If another process of the run ended, so that this one can't go on.
    """
    for loader in loaders:
        loader.share(trainer.global_rank, trainer.world_size)
    with stop_on_signals() as request:
        request.is_deferred = not is_first()
        try:
            yield request
        except BaseException as error:
            launcher = trainer.strategy.launcher
            if isinstance(launcher, _SubprocessScriptLauncher):
                launcher.kill(signal.SIGKILL)  # they wait for this process, whatever it was that stopped it
            if isinstance(error, RuntimeError) and trainer.world_size > 1 and _LOST_PEER.search(str(error)):
                raise UserError(
                    "Another process of this command ended, so it can't go on; its own message, if it had time for "
                    "one, is above. A training goes on from its last checkpoint: --resume."
                ) from error
            raise


def make_trainer(options: RuntimeOptions, *, callbacks: list[pl.Callback], **settings: Any) -> pl.Trainer:
    """Return Lightning's trainer with what all commands share.

    Args:
        options: Devices, their strategy, and precision.
        callbacks: In the order in which they act.
        settings: More of the trainer's own arguments.

    Raises:
        UserError: If the strategy is none of ``STRATEGIES``, the machine can't provide the devices, or the environment
            gives this process a rank that doesn't go with them.
    """
    _refuse_strategy(options.strategy)
    _quiet_lightning()
    device = choose_device(options.device)
    given = f"--devices {options.devices} --num-nodes {options.num_nodes}"
    # the bar goes where a person looks; a log file gets a line an epoch instead
    if is_first() and sys.stderr.isatty() and sys.stdout.isatty():
        callbacks = [*callbacks, ProgressBar(leave=False)]
    try:
        trainer = pl.Trainer(
            accelerator={"cuda": "gpu"}.get(device.type, device.type),
            devices=options.devices,
            num_nodes=options.num_nodes,
            strategy=options.strategy,
            precision="bf16-mixed" if options.precision == "bf16" else "32-true",
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO(), _environment()],
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(callback, RichProgressBar) for callback in callbacks),
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            **settings,
        )
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{given} --strategy {options.strategy}: {error}") from error
    if trainer.is_global_zero != is_first():  # it would compute alone and write nothing
        raise UserError(
            f"{given}: the environment says that this is one of more processes than that: {describe_rank()}. Say with "
            "--devices and --num-nodes how many there are, or start the command without these variables."
        )
    # its handler of SIGTERM would end the process as if all were done, and waits for the others inside of a signal
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer


def _refuse_strategy(strategy: str) -> None:
    if strategy not in STRATEGIES:
        raise UserError(
            f"--strategy {strategy}: takes {', '.join(STRATEGIES[:-1])} or {STRATEGIES[-1]}; others start processes "
            "in ways that can't be stopped and resumed here, or save a model in parts."
            f"{did_you_mean(strategy, STRATEGIES)}"
        )


def check_devices(options: RuntimeOptions) -> None:
    """Refuse devices and strategies that this machine hasn't, before anything is written.

    Raises:
        UserError: Saying what Lightning says.
    """
    make_trainer(options, callbacks=[], logger=False)


def _environment() -> ClusterEnvironment:
    """Return who starts the processes; under SLURM's srun it does, else Lightning or whoever set LOCAL_RANK."""
    if is_under_slurm():
        return SLURMEnvironment(auto_requeue=False)  # it would write and read checkpoints of its own
    return LightningEnvironment()


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
        ".*training_step. returned .None.*",  # of a step in which no task knows a picture
        ".*Checkpoint directory.*exists.*",
        ".*sync_dist=True.*",  # what is logged is the same in every process already
    ):
        warnings.filterwarnings("ignore", pattern)


def count_trained(task: OnTrunk) -> int:
    """Return how many parameters of a task are trained; ask before low-rank updates are folded in."""
    return sum(parameter.numel() for parameter in task.parameters() if parameter.requires_grad)


def describe_trained(task: OnTrunk, options: TrainingOptions) -> str:
    """Return a clause on how many parameters are trained, and when."""
    parameters = sum(parameter.numel() for parameter in task.parameters())
    frozen = frozen_epochs(options.freeze)
    later = f", the trunk's from epoch {frozen + 1} on" if frozen else ""
    return f"{count_trained(task):,} of {parameters:,} parameters are trained{later}"


def describe_training(
    task: Task,
    splits: Mapping[str, AnnotatedImages],
    options: TrainingOptions,
    *,
    head: str,
    learned: str | None = None,
) -> str:
    """Return two lines on what is about to be trained: trunk, head and parameters; data, split and canvas.

    Args:
        task: The task.
        splits: What is trained and measured on.
        options: The command's.
        head: What it is called.
        learned: What the data have, where that isn't classes.
    """
    train = splits["train"]
    learned = learned or count(len(train.classes), "class", "classes")
    counts = ", ".join(f"{len(images):,} {split}" for split, images in splits.items())
    height, width = task.description["inputs"]["canvas"]
    return (
        f"{options.backbone} ({options.weights}, freeze {options.freeze}) + {head} head: "
        f"{describe_trained(task, options)}\n"
        f"{options.data}: {learned}, {counts} images "
        f"(split: {train.split_origin}); canvas {height}x{width}"
    )


def measure_cost(
    task: Task, evaluation: Evaluation, *, seconds: float, total: float, trained: int, options: RuntimeOptions
) -> Cost:
    """Return what a result cost.

    Args:
        task: What was evaluated.
        evaluation: The result.
        seconds: Of the evaluation.
        total: Seconds of the whole command.
        trained: How many parameters were trained for it.
        options: Where it ran.
    """
    return Cost(
        images_per_second=evaluation.used / seconds,
        peak_memory_mib=peak_memory_mib(choose_device(options.device)),
        trained_parameters=trained,
        parameters=sum(parameter.numel() for parameter in task.parameters()),
        seconds=total,
    )
