"""Training, evaluating and using a task, whatever the app: device, precision, trainer, checkpoints, resume, card."""

import csv
import json
import logging
import math
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger

from ..backbones.errors import UserError
from ..datasets import Record, ResumableLoader, write_split
from .card import Card, Cost, make_card, print_card
from .checkpoints import AtomicCheckpointIO, BadData, Checkpoints
from .config import EvaluationOptions, PredictionOptions, RuntimeOptions, TrainingOptions
from .epoch_log import EpochLog
from .evaluation import Evaluation
from .hardware import choose_device, choose_precision, peak_memory_mib
from .interruption import Interrupted, stop_on_signals
from .model_file import save_model
from .run_folder import RunFolder, make_folder, read_config, replace_json, start_run
from .task import Task

Runtime = TypeVar("Runtime", bound=RuntimeOptions)


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
    before = task.backbone.fingerprint()
    bad_data = BadData(options.bad_data)
    try:
        _train(task, data, options, run, bad_data)
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
    after = task.backbone.fingerprint()
    if options.freeze == "all" and before != after:
        raise RuntimeError(f"the frozen trunk changed: SHA-256 {before} before, {after} after")
    card = make_card(
        evaluation,
        task=str(task.description["task"]),
        split="val",
        selected_on="val",
        cost=_cost(task, evaluation, seconds, time.monotonic() - started, options),
        backbone={
            "name": task.backbone.name,
            "weights": options.weights,
            "frozen": options.freeze,
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


def _train(task: Task, data: FitData, options: TrainingOptions, run: RunFolder, bad_data: BadData) -> None:
    resumes = options.resume and run.last.is_file()
    task.train()  # a part that came from a library's from_pretrained arrives in eval mode and would stay in it
    pl.seed_everything(options.seed, verbose=False)
    with stop_on_signals() as request:
        checkpoints = Checkpoints(
            run, request, save_every=options.fit.save_every, data_fingerprint=data.train_fingerprint
        )
        trainer = make_trainer(
            options,
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
            saved = f"saved in '{run.last}'" if run.last.is_file() else "before its first checkpoint"
            place = f"in epoch {trainer.current_epoch + 1} of {options.epochs}, after step {trainer.global_step}"
            stop.add_note(f"stopped by {stop} {place}, {saved}.")
            raise


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
        callbacks = [*callbacks, RichProgressBar(leave=False)]
    return pl.Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=1,
        precision="bf16-mixed" if options.precision == "bf16" else "32-true",
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
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


def _cost(task: Task, evaluation: Evaluation, seconds: float, total: float, options: RuntimeOptions) -> Cost:
    parameters = list(task.parameters())
    return Cost(
        images_per_second=evaluation.used / seconds,
        peak_memory_mib=peak_memory_mib(choose_device(options.device)),
        trained_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        parameters=sum(p.numel() for p in parameters),
        seconds=total,
    )


def _train_samples(data: FitData, bad_data: BadData) -> dict[str, Any]:
    skipped = [{"file": name, "reason": reason} for name, reason in sorted(bad_data.skipped.items())]
    used = len(data.train.dataset) - len(skipped)
    return {"used": used, "skipped": len(skipped), "skipped_files": skipped, "fingerprint": data.train_fingerprint}


def write_predictions(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write predictions as ``predictions.json`` and, flattened, as ``predictions.csv``: a row an image."""
    replace_json(folder / "predictions.json", rows)
    flat = [_flatten(row) for row in rows]
    columns = list(dict.fromkeys(column for row in flat for column in row))
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=columns)
        writer.writeheader()
        writer.writerows(flat)


def _flatten(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose lists of objects became numbered columns: ``top[0].class`` -> ``top1_class``."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, list):
            for place, entry in enumerate(value, start=1):
                flat.update({f"{key}{place}_{name}": inner for name, inner in entry.items()})
        else:
            flat[key] = value
    return flat


def evaluate_command(
    task: Task,
    loader: ResumableLoader,
    options: EvaluationOptions,
    *,
    backbone: dict[str, Any],
    data: dict[str, Any],
) -> Card:
    """Evaluate a task, write card and predictions where asked, print the card and return it."""
    started = time.monotonic()
    where = output_folder(options.output, "results.json", overwrite=options.overwrite)
    evaluation, seconds = evaluate(task, loader, prepare(task, options))
    card = make_card(
        evaluation,
        task=str(task.description["task"]),
        split=options.split,
        selected_on=None,
        cost=replace(_cost(task, evaluation, seconds, time.monotonic() - started, options), trained_parameters=0),
        backbone=backbone,
        data=data,
    )
    if where is not None:
        write_predictions(where, evaluation.predictions)
        card.write(where / "results.json")
    print_card(card, where=where / "results.json" if where else None)
    return card


def predict_command(task: Task, loader: ResumableLoader, options: PredictionOptions) -> list[dict[str, Any]]:
    """Run a task over images, write or print the predictions, and return them."""
    where = output_folder(options.output, "predictions.json", overwrite=options.overwrite)
    rows = predict(task, loader, prepare(task, options))
    if where is None:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    else:
        write_predictions(where, rows)
        print(f"{len(rows)} predictions in {where / 'predictions.csv'} and {where / 'predictions.json'}")
    return rows


def prepare(task: Task, options: Runtime) -> Runtime:
    """Bring a task into the form it runs in, and return the options with what ``auto`` stands for here."""
    task.use_channels_last()
    device = choose_device(options.device)
    return replace(options, precision=choose_precision(options.precision, device, task.backbone))


def output_folder(output: str | None, file_name: str, *, overwrite: bool) -> Path | None:
    """Return the folder for a command's files, made and checked, or nothing if none was asked for.

    Raises:
        UserError: If it already holds ``file_name`` and ``overwrite`` wasn't asked for.
    """
    if output is None:
        return None
    folder = make_folder(Path(output))
    if (folder / file_name).exists() and not overwrite:
        raise UserError(
            f"'{folder / file_name}' already exists. Write over it: --overwrite. Or elsewhere: --output DIR."
        )
    return folder
