"""Training a task, whatever the app: seed, checkpoints, resume, best weights, card, model file."""

import math
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger

from ..backbones.errors import UserError
from ..datasets import Record, ResumableLoader, write_split
from .card import Card, make_card, print_card
from .checkpoints import BadData, Checkpoints
from .config import TrainingOptions
from .epoch_log import EpochLog
from .hardware import choose_device, choose_precision
from .interruption import Interrupted, stop_on_signals
from .model_file import save_model
from .outputs import write_predictions
from .run_folder import RunFolder, read_config, start_run
from .task import Task
from .trainer import evaluate, make_trainer, measure_cost


@dataclass(frozen=True)
class FitData:
    """What a task is trained on.

    Attributes:
        train: The training split.
        val: The split that chooses the checkpoint.
        train_fingerprint: Of the training split's records; a run resumes only on the same.
        val_fingerprint: Of the validation split's records.
        facts: The card's ``data``: at least the path.
        cut_split: The splits, where they were cut for this run; they are kept with it and with the model.
    """

    train: ResumableLoader
    val: ResumableLoader
    train_fingerprint: str
    val_fingerprint: str
    facts: dict[str, Any]
    cut_split: Mapping[str, Sequence[Record]] | None = None


def fit(task: Task, data: FitData, options: TrainingOptions, run: RunFolder) -> Card:
    """Train a task, evaluate its best checkpoint on the validation split, and write model and card.

    Args:
        task: Trunk and head; the trunk frozen as the options say.
        data: The loaders.
        options: The command's options.
        run: The run's folder, from :func:`~onetrunk.apps.run_folder.open_run`.

    Raises:
        Interrupted: If a signal stopped the run; its message says where it was saved and how to go on.
        RuntimeError: If a frozen trunk came out changed.
    """
    started = time.monotonic()
    options = _settle(options, task, run)
    task.learning_rate, task.optim = options.learning_rate, options.optim
    task.total_steps = options.epochs * math.ceil(len(data.train) / options.fit.accumulate)
    if options.fit.channels_last:
        task.use_channels_last()
    start_run(run, options)
    if data.cut_split:
        write_split(run.split, data.cut_split)
    bad_data = BadData(options.bad_data)
    try:
        before, frozen_before = _train(task, data, options, run, bad_data)
        if run.best.is_file():
            best = torch.load(run.best, map_location="cpu", weights_only=True)
            task.load_state_dict(best["state_dict"])
        evaluation, seconds = evaluate(task, data.val, options)
    except Interrupted as stop:
        if run.holds_run:
            stop.add_note("Go on with the same command and --resume.")
        raise
    finally:
        data.train.close()
        data.val.close()
    after, frozen_after = task.backbone.fingerprint(), task.backbone.frozen_fingerprint()
    if frozen_before != frozen_after:
        raise RuntimeError(f"what is frozen of the trunk changed: SHA-256 {frozen_before} before, {frozen_after} after")
    card = make_card(
        evaluation,
        task=str(task.description["task"]),
        split="val",
        selected_on="val",
        cost=measure_cost(task, evaluation, seconds, time.monotonic() - started, options),
        backbone={
            "name": task.backbone.name,
            "weights": options.weights,
            "frozen": options.freeze,
            "frozen_fingerprint": frozen_after,
            "fingerprint_before": before,
            "fingerprint_after": after,
        },
        data={**data.facts, "fingerprint": data.val_fingerprint, "train": _train_samples(data, bad_data)},
    )
    save_model(run.model, task, card, split=run.split)
    write_predictions(run.path, evaluation.predictions)
    card.write(run.card)
    print_card(card, where=run.card)
    return card


def _settle(options: TrainingOptions, task: Task, run: RunFolder) -> TrainingOptions:
    """Choose what ``auto`` stands for once, at the run's beginning; a resumed run keeps the choice."""
    if options.resume and run.holds_run:
        return replace(options, precision=read_config(run)["precision"])
    return replace(options, precision=choose_precision(options.precision, choose_device(options.device), task.backbone))


def _train(task: Task, data: FitData, options: TrainingOptions, run: RunFolder, bad_data: BadData) -> tuple[str, str]:
    """Train, and return the fingerprints that the trunk and its frozen part had when the run began."""
    resumes = options.resume and run.last.is_file()
    if resumes and not zipfile.is_zipfile(run.last):
        raise UserError(f"The checkpoint '{run.last}' is damaged. Start the run anew: --overwrite.")
    task.train()  # a part that came from a library's from_pretrained arrives in eval mode and would stay in it
    pl.seed_everything(options.seed, verbose=False)
    with stop_on_signals() as request:
        checkpoints = Checkpoints(
            run,
            request,
            save_every=options.fit.save_every,
            data_fingerprint=f"{data.train_fingerprint} {data.val_fingerprint}",
            trunk_fingerprints=(task.backbone.fingerprint(), task.backbone.frozen_fingerprint()),
        )
        trainer = make_trainer(
            options,
            default_root_dir=run.path,
            max_epochs=options.epochs,
            accumulate_grad_batches=options.fit.accumulate,
            gradient_clip_val=options.fit.clip_norm,
            deterministic=options.deterministic,
            # every checkpoint holds the epoch's row, so the log comes before it
            callbacks=[bad_data, EpochLog(run), checkpoints],
            logger=TensorBoardLogger(run.path, name=run.tensorboard.name, version=""),
            log_every_n_steps=10,
        )
        try:
            trainer.fit(task, data.train, data.val, ckpt_path=run.last if resumes else None, weights_only=True)
        except Interrupted as stop:
            saved = f"the state after step {checkpoints.saved_step} is in '{run.last}'"
            place = f"in epoch {trainer.current_epoch + 1} of {options.epochs}"
            is_saved = checkpoints.saved_step is not None
            stop.add_note(f"stopped by {stop} {place}; {saved if is_saved else 'nothing was saved yet'}.")
            raise
    return checkpoints.trunk_fingerprints


def _train_samples(data: FitData, bad_data: BadData) -> dict[str, Any]:
    skipped = [{"file": name, "reason": reason} for name, reason in sorted(bad_data.skipped.items())]
    used = len(data.train.dataset) - len(skipped)
    return {"used": used, "skipped": len(skipped), "skipped_files": skipped, "fingerprint": data.train_fingerprint}
