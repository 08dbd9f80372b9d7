"""Training a task, whatever the app: seed, checkpoints, resume, best weights, card, model file."""

import math
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger

from ..backbones.errors import UserError
from ..backbones.synchronize import synchronize_norms
from ..datasets import ResumableLoader
from .card import Card, make_card, print_card
from .checkpoints import BadData, Checkpoints
from .commands import prepare
from .config import TrainingOptions
from .ema import Ema
from .epoch_log import EpochLog
from .evaluation import Evaluation
from .fit_data import FitData, TrainingData
from .fixed_state import FixedState
from .hardware import choose_device, choose_precision
from .inputs import InputRecipe
from .interruption import Interrupted
from .model_file import save_model
from .on_trunk import OnTrunk
from .option_checks import frozen_epochs
from .outputs import write_evaluation
from .processes import is_first
from .run_folder import SETTLED, RunFolder, read_config, start_run
from .schedule import RatePlan
from .stored_features import StoringPlan, delete_features, plan_storing, store_features
from .task import Task
from .thaw import Thaw
from .trainer import check_devices, count_trained, evaluate, make_trainer, measure_cost, running_together

Result = TypeVar("Result")


@dataclass(frozen=True)
class Trained:
    """What a finished training says of itself.

    Attributes:
        fingerprint: Of the trunk when the run began.
        frozen_fingerprint: Of what was frozen of it at the beginning and has to be so at the end; empty for nothing.
        epochs: How many were trained.
        best_epochs: Of each part of the weights (``OnTrunk.choosing``) the epoch that was kept, from 1.
        stopped_early: Whether there were to be more.
        bad_data: The images that couldn't be read.
    """

    fingerprint: str
    frozen_fingerprint: str
    epochs: int
    best_epochs: Mapping[str, int]
    stopped_early: bool
    bad_data: BadData

    def facts(self, part: str = "") -> dict[str, Any]:
        """Return the card's ``details["training"]``, for a part of the weights."""
        return {"epochs": self.epochs, "best_epoch": self.best_epochs[part], "stopped_early": self.stopped_early}


@dataclass(frozen=True)
class Finished:
    """A training whose best weights are in place, and what its results need.

    Attributes:
        data: As it was read.
        options: As they were settled.
        run: The run's folder.
        trained: What the training says of itself.
        trunk: The card's facts about the trunk.
        parameters: How many were trained.
        started: When, by ``time.monotonic``.
    """

    data: TrainingData
    options: TrainingOptions
    run: RunFolder
    trained: Trained
    trunk: dict[str, Any]
    parameters: int
    started: float


Finish = Callable[[Task, ResumableLoader, TrainingOptions], dict[str, Any]]
"""What an app does with the best weights before they are evaluated, on the validation split; the card's details."""


def fit(task: Task, data: FitData, options: TrainingOptions, run: RunFolder, *, finish: Finish | None = None) -> Card:
    """Train a task, evaluate its best checkpoint on the validation split, and write model and card.

    Args:
        task: Trunk and head; the trunk frozen as the options say.
        data: The loaders.
        options: The command's options.
        run: The run's folder, from :func:`~onetrunk.apps.run_folder.open_run`.
        finish: What is left to do with the best weights, such as calibrating them.

    Raises:
        Interrupted: If a signal stopped the run; its message says where it was saved and how to go on.
        RuntimeError: If a frozen trunk came out changed.
    """
    return fit_and_conclude(task, data, options, run, conclude=lambda finished: _conclude(task, finished, finish))


def fit_and_conclude(
    task: OnTrunk,
    data: TrainingData,
    options: TrainingOptions,
    run: RunFolder,
    *,
    conclude: Callable[[Finished], Result],
) -> Result:
    """Train what stands on a trunk, put its best weights in place, and return what is made of them.

    Args:
        task: Trunk and heads; the trunk frozen as the options say.
        data: The loaders.
        options: The command's options.
        run: The run's folder.
        conclude: Evaluates the best weights, and writes model and card.

    Raises:
        Interrupted: If a signal stopped the run; its message says where it was saved and how to go on.
        RuntimeError: If a frozen trunk came out changed.
    """
    started = time.monotonic()
    check_devices(options)
    task.fixed = FixedState(run.fixed, task.backbone, is_left_out=options.optim.ema is None)
    # before anything is computed with it: the weights' own file may be another by now
    is_restored = options.resume and task.fixed.restore(task)
    options, plans = _settle(options, task, data, run)
    task.learning_rate, task.optim = options.learning_rate, options.optim
    if options.fit.channels_last:
        task.use_channels_last()
    with _ending_well(run, data):
        if is_first():
            start_run(run, options)
            data.write_splits(run)
            if not is_restored:
                task.fixed.write(task)
        if plans:
            stored = {name: store_features(task, data.sources[name], plan, options) for name, plan in plans.items()}
            data = data.with_sources(stored)
            plans.clear()  # and with them copies of the trunk
        elif options.fit.compile:
            task.backbone.compile(dynamic=False)
        trained = _train(task, data, options, run)
        if run.best.is_file():
            best = torch.load(run.best, map_location="cpu", weights_only=True)["state_dict"]
            task.load_state_dict(task.fixed.put_back(best))
        trunk, parameters = _prove(task, trained, options), count_trained(task)
        task.backbone.merge()
        trunk["fingerprint_after"] = task.backbone.fingerprint()
        try:
            return conclude(Finished(data, options, run, trained, trunk, parameters, started))
        finally:
            if run.is_finished:  # also where a comparison that comes after it failed
                delete_features(options, run)


def _conclude(task: Task, finished: Finished, finish: Finish | None) -> Card:
    """Evaluate a task's best weights on the validation split, write model and card, and return the card."""
    data, options, run = finished.data, finished.options, finished.run
    assert isinstance(data, FitData)
    evaluation, seconds = _evaluate_best(task, data, options, finish)
    stored = {} if data.stored is None else {"stored": data.stored}
    evaluation.details["training"] = {**finished.trained.facts(), **stored}
    total = time.monotonic() - finished.started
    cost = measure_cost(task, evaluation, seconds=seconds, total=total, trained=finished.parameters, options=options)
    card = make_card(
        evaluation,
        task=str(task.description["task"]),
        split="val",
        selected_on="val",
        cost=replace(cost, storing_seconds=sum(data.stored_seconds.values())),
        backbone=finished.trunk,
        data={
            **data.facts,
            "fingerprint": data.val_fingerprint,
            "train": data.skipped_samples(finished.trained.bad_data.all_skipped().get("", {})),
        },
    )
    if is_first():
        _write(run, task, card, evaluation, data.val_contents)
    return card


def _evaluate_best(
    task: Task, data: FitData, options: TrainingOptions, finish: Finish | None
) -> tuple[Evaluation, float]:
    """Return the evaluation of the best weights on the validation split, and the seconds that it took or would take."""
    if data.stored is None:
        inputs = InputRecipe.from_dict(task.description["inputs"])
        options = prepare(task, data.val.dataset.records, inputs, options)
    facts = finish(task, data.val, options) if finish else {}
    evaluation, seconds = evaluate(task, data.val, options)
    evaluation.details.update(facts)
    # with those of the trunk, which an evaluation of its own spends as well
    return evaluation, seconds + data.stored_seconds.get("val", 0.0)


def show_finished(run: RunFolder) -> Card:
    """Print and return the card of a run that has nothing left to do."""
    card = Card.read(run.card)
    print(f"the run in '{run.path}' is finished; nothing was left to do")
    print_card(card, where=run.card)
    return card


@contextmanager
def _ending_well(run: RunFolder, data: TrainingData) -> Iterator[None]:
    """Say how to go on where a signal stopped the run, and stop the loaders' workers whatever happened."""
    try:
        yield
    except Interrupted as stop:
        if run.holds_run:
            stop.add_note("Go on with the same command and --resume.")
        raise
    finally:
        data.train.close()
        data.val.close()


def _prove(task: OnTrunk, trained: Trained, options: TrainingOptions) -> dict[str, Any]:
    """Return the card's facts about the trunk, whose frozen part has to be what it was when the run began.

    Raises:
        RuntimeError: If it changed.
    """
    frozen_before = trained.frozen_fingerprint
    frozen_after = task.backbone.frozen_fingerprint()
    if frozen_before != frozen_after:
        raise RuntimeError(f"what is frozen of the trunk changed: SHA-256 {frozen_before} before, {frozen_after} after")
    return {
        "name": task.backbone.name,
        "weights": options.weights,
        "frozen": options.freeze,
        "tuned": options.tune,
        "frozen_fingerprint": frozen_after,
        "fingerprint_before": trained.fingerprint,
    }


def _write(run: RunFolder, task: Task, card: Card, evaluation: Evaluation, contents: Mapping[str, int]) -> None:
    """Write what the run was for; the card last, because it says that the run is finished."""
    save_model(run.model, task, card, split=run.split)
    write_evaluation(run.path, task.evaluator, evaluation, contents)
    card.write(run.card)
    print_card(card, where=run.card)


def _settle(
    options: TrainingOptions, task: OnTrunk, data: TrainingData, run: RunFolder
) -> tuple[TrainingOptions, dict[str, StoringPlan]]:
    """Choose what ``auto`` stands for and what is stored, once, when a run begins; a resumed run keeps the choice.

    Of several data sets all are stored, or none.
    """
    if options.resume and run.holds_run:
        config = read_config(run)
        options = replace(options, **{name: config[name] for name in SETTLED if name in config})
    else:
        is_open = options.cache_precision == "auto"  # as it was given, not as training settles it
        precision = choose_precision(options.precision, choose_device(options.device), task.backbone)
        storing = options.precision if is_open else options.cache_precision
        options = replace(options, precision=precision, cache_precision=storing)
    plans = plan_storing(task, data.sources, options, run)
    if not plans:
        return replace(options, cache="off"), {}
    form = next(iter(plans.values())).network.form  # that of all
    compiling: Literal["on", "off"] = "on" if form.is_compiled else "off"
    return replace(options, cache="on", compile=compiling, cache_precision=form.precision), plans


def _train(task: OnTrunk, data: TrainingData, options: TrainingOptions, run: RunFolder) -> Trained:
    resumes = options.resume and run.last.is_file()
    if resumes and not zipfile.is_zipfile(run.last):
        raise UserError(f"The checkpoint '{run.last}' is damaged. Start the run anew: --overwrite.")
    task.train()  # a part that came from a library's from_pretrained arrives in eval mode and would stay in it
    whole, frozen = task.backbone.fingerprint(), task.backbone.frozen_fingerprint()
    thaw = Thaw(epochs, whole) if (epochs := frozen_epochs(options.freeze)) else None
    ema = Ema(options.optim.ema) if options.optim.ema is not None else None
    stopping = task.early_stopping(options.fit.patience)
    bad_data, epoch_log = BadData(options.bad_data), EpochLog(run)
    checkpoints = Checkpoints(
        run,
        epoch_log=epoch_log,
        save_every=options.fit.save_every,
        data_fingerprint=data.fingerprint,
        trunk_fingerprints=(whole, frozen),
        ema=ema,
    )
    trainer = make_trainer(
        options,
        default_root_dir=run.path,
        max_epochs=options.epochs,
        accumulate_grad_batches=options.fit.accumulate,
        gradient_clip_val=options.fit.clip_norm,
        deterministic=options.deterministic,
        # every checkpoint holds what the others did with the step or epoch, so it comes last
        callbacks=[bad_data, *_present(thaw, ema, stopping), epoch_log, checkpoints],
        logger=TensorBoardLogger(run.path, name=run.tensorboard.name, version=""),
        log_every_n_steps=10,
    )
    if trainer.world_size > 1 and (thaw or not task.backbone.is_frozen):
        _synchronize_norms(task, trainer)
    with running_together(trainer, data.train, data.val) as checkpoints.request:
        pl.seed_everything(options.seed + trainer.global_rank, verbose=False)
        task.rate_plan = _rate_plan(options, math.ceil(len(data.train) / options.fit.accumulate))
        try:
            trainer.fit(task, data.train, data.val, ckpt_path=run.last if resumes else None, weights_only=True)
        except Interrupted as stop:
            saved = f"the state after step {checkpoints.saved_step} is in '{run.last}'"
            place = f"in epoch {trainer.current_epoch + 1} of {options.epochs}"
            is_saved = checkpoints.saved_step is not None
            stop.add_note(f"stopped by {stop} {place}; {saved if is_saved else 'nothing was saved yet'}.")
            raise
    return _trained(task, checkpoints, epoch_log, thaw, bad_data)


def _trained(
    task: OnTrunk, checkpoints: Checkpoints, epoch_log: EpochLog, thaw: Thaw | None, bad_data: BadData
) -> Trained:
    """Return what a finished training says of itself, and print where it ended early."""
    whole, frozen = checkpoints.trunk_fingerprints
    if thaw is not None and thaw.is_thawed:
        task.backbone.freeze("none")  # a run that was stopped behind its last step has not gone on training
        frozen = ""
    epochs, stopped_early = len(epoch_log.rows), checkpoints.is_stopped
    if stopped_early and is_first():
        kept = f"the weights of epoch {' and '.join(map(str, sorted(set(checkpoints.best_epochs.values()))))} are kept"
        late = "; the trunk was never thawed" if thaw is not None and not thaw.is_thawed else ""
        print(f"stopped early after epoch {epochs}: {kept}{late}")
    return Trained(whole, frozen, epochs, checkpoints.best_epochs, stopped_early, bad_data)


def _synchronize_norms(task: OnTrunk, trainer: pl.Trainer) -> None:
    if trainer.strategy.root_device.type == "cuda":
        task.backbone.network = synchronize_norms(task.backbone.network)
    elif is_first():
        print("batch norms see the images of their own process: torch synchronises their statistics on GPUs only")


def _present(*callbacks: pl.Callback | None) -> list[pl.Callback]:
    return [callback for callback in callbacks if callback is not None]


def _rate_plan(options: TrainingOptions, steps_an_epoch: int) -> RatePlan:
    return RatePlan(
        steps=options.epochs * steps_an_epoch,
        schedule=options.optim.schedule,
        warmup_fraction=options.optim.warmup_fraction,
        thaw_step=frozen_epochs(options.freeze) * steps_an_epoch,
        thaw_factor=options.optim.thaw_factor,
    )
