"""When the parts of a training begin and end: the thaw of a trunk, a task's own steps, patience."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from onetrunk.apps.multitask.learner import MultiTaskLearner
from onetrunk.apps.thaw import Thaw
from onetrunk.backbones.errors import UserError
from safetensors.torch import load_file

from .conftest import PLAIN, card_of, train_together

#: 33 and 12 pictures in batches of 8: 5 and 2 steps an epoch.
HEADS: dict[str, dict[str, Any]] = {
    "classification": {"augment": PLAIN},
    "segmentation": {"head": "fcn8s", "head_options": {"dropout": 0.0}, "augment": PLAIN},
}
METRICS = {"classification": "top1", "segmentation": "mean_iou"}
THAWED = "--freeze until:2 --epochs 4 --optim.trunk-factor 1 --optim.warmup-fraction 0 --optim.thaw-factor 0.5"


@pytest.fixture(scope="module")
def own(pictures: Path, mask_folder: Path) -> dict[str, dict[str, Any]]:
    """The options of two tasks with a data set each."""
    data = {"classification": pictures, "segmentation": mask_folder}
    return {task: {**options, "data": str(data[task])} for task, options in HEADS.items()}


def rows_of(run: Path) -> list[dict[str, float]]:
    with (run / "log.csv").open(newline="") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def watch(run: Path, own: dict[str, Any], words: str, *, code: int = 0) -> list[dict[str, float]]:
    """Train; return the learning rate of each part that takes part in a step, and of each step its epoch."""
    steps: list[dict[str, float]] = []
    before = MultiTaskLearner.on_before_optimizer_step

    def look(self: MultiTaskLearner, optimizer: torch.optim.Optimizer) -> None:
        moved = [each for each in optimizer.param_groups if any(one.grad is not None for one in each["params"])]
        steps.append({"epoch": self.current_epoch, **{each["name"]: each["lr"] for each in moved}})
        before(self, optimizer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MultiTaskLearner, "on_before_optimizer_step", look)
        train_together(run, own, words, code=code)
    return steps


@pytest.fixture(scope="module")
def thawed(own: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, float]]]:
    """A run whose trunk learns from the third epoch on, and its learning rates."""
    run = tmp_path_factory.mktemp("thawed") / "run"
    return run, watch(run, own, f"{THAWED} --fit.patience 4")


def test_heads_go_with_the_trunk_of_their_epoch_where_it_is_thawed(
    thawed: tuple[Path, list[dict[str, float]]],
) -> None:
    run, _ = thawed
    rows, card = rows_of(run), card_of(run)
    means = [sum(row[f"val_{task}_{metric}"] for task, metric in METRICS.items()) / 2 for row in rows]
    assert [row["val_mean"] for row in rows] == pytest.approx(means)
    for task, metric in METRICS.items():
        best = card["tasks"][task]["details"]["training"]["best_epoch"]
        assert best == 1 + means.index(max(means)), task
        value = card["tasks"][task]["metrics"][metric]["value"]
        assert value == pytest.approx(rows[best - 1][f"val_{task}_{metric}"], abs=1e-5), task


def test_the_second_phase_begins_for_all_parts_at_the_thaw(thawed: tuple[Path, list[dict[str, float]]]) -> None:
    run, steps = thawed
    for part in ("trunk", "heads.classification", "heads.segmentation"):
        phases: dict[bool, list[float]] = {False: [], True: []}
        for step in steps:
            if part in step:
                phases[step["epoch"] >= 2].append(step[part])
        for is_second, rates in phases.items():
            top = 0.005 if is_second else 0.01
            expected = [top * 0.5 * (1 + math.cos(math.pi * place / len(rates))) for place in range(len(rates))]
            assert rates == pytest.approx(expected), (part, is_second)
        assert phases[True], part
    assert not any("trunk" in step for step in steps if step["epoch"] < 2)
    # of these the trunk took part in those behind the thaw
    assert card_of(run)["details"]["steps"]["trunk"] == 10


def test_a_run_that_goes_on_at_the_thaw_is_the_run_that_was_not_stopped(
    own: dict[str, Any],
    thawed: tuple[Path, list[dict[str, float]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, expected = thawed
    words = f"{THAWED} --fit.patience 4"

    def stop(self: Thaw, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == self.epochs:
            raise UserError("no power")

    with monkeypatch.context() as patch:
        patch.setattr(Thaw, "on_train_epoch_start", stop)
        first = watch(tmp_path / "run", own, words, code=2)
    assert "no power" in capsys.readouterr().err
    assert [step["epoch"] for step in first] == [0] * 5 + [1] * 5
    assert first + watch(tmp_path / "run", own, f"{words} --resume") == expected
    found, model = (load_file(run / "model" / "model.safetensors") for run in (tmp_path / "run", whole))
    assert all(torch.equal(found[name], values) for name, values in model.items())


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_schedule_of_a_task_ends_at_its_last_step(accumulate: int, partial_shapes: Path, tmp_path: Path) -> None:
    """Labels are known of 5 of 17 pictures, so a step has some or none of them, whichever epoch it is."""
    narrow: dict[str, Any] = {"classification": {}, "segmentation": {"head_options": {"width": 16}}}
    words = (
        f"--data {partial_shapes} --batch-size 2 --epochs 3 --fit.accumulate {accumulate} --freeze c3 "
        "--optim.warmup-fraction 0"
    )
    steps = watch(tmp_path / "run", narrow, words)
    assert len(steps) == 3 * 9 // accumulate
    for part in ("trunk", "heads.classification", "heads.segmentation"):
        rates = [step[part] for step in steps if part in step]
        top = 0.01 if "heads" in part else rates[0]
        expected = [top * 0.5 * (1 + math.cos(math.pi * place / len(rates))) for place in range(len(rates))]
        assert rates == pytest.approx(expected), part
    assert 3 < sum("heads.classification" in step for step in steps) < len(steps) or accumulate == 3


def ends(values: list[float], patience: int) -> int:
    """After how many epochs patience is at an end, or how many there are."""
    best, waited = -math.inf, 0
    for epoch, value in enumerate(values, start=1):
        best, waited = max(best, value), 0 if value > best else waited + 1
        if waited == patience:
            return epoch
    return len(values)


def test_on_a_trunk_that_is_trained_the_run_ends_by_the_mean(
    own: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # no weights move, but statistics of the trunk's normalisation do
    words = "--freeze c3 --cache off --epochs 12 --learning-rate 0 --fit.patience 2"
    run = train_together(tmp_path / "run", own, words)
    rows, card = rows_of(run), card_of(run)
    means = [row["val_mean"] for row in rows]
    assert ends(means, 2) == len(rows) < 12
    assert card["details"]["stopped"] == []
    for task in own:
        training = card["tasks"][task]["details"]["training"]
        best = 1 + means.index(max(means))
        assert training == {"epochs": len(rows), "best_epoch": best, "stopped_early": True}
    said = capsys.readouterr().out
    assert f"stopped early after epoch {len(rows)}: the weights of epoch {best} are kept" in said
    assert "no longer trained" not in said


def test_patience_of_one_task_ends_its_training_alone(own: dict[str, Any], tmp_path: Path) -> None:
    options = {**own, "classification": {**own["classification"], "learning_rate": 0.0, "fit": {"patience": 1}}}
    run = train_together(tmp_path / "run", options, "--freeze c3 --cache off --epochs 7 --fit.patience 7")
    rows, card = rows_of(run), card_of(run)
    assert len(rows) == 7
    last = ends([row["val_classification_top1"] for row in rows], 1)
    assert last < 7
    trained = [math.isfinite(row["train_loss_classification"]) for row in rows]
    assert trained == [True] * last + [False] * (7 - last)
    assert card["details"]["stopped"] == ["classification"]
    assert all(math.isfinite(row["train_loss_segmentation"]) for row in rows)


def test_on_a_frozen_trunk_no_mean_is_logged(own: dict[str, Any], tmp_path: Path) -> None:
    run = train_together(tmp_path / "run", own, "--freeze all --epochs 1")
    assert "val_mean" not in rows_of(run)[0]


def test_what_no_trained_task_knows_is_not_shown_to_the_trunk(
    partial_shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segmentation, which knows all pictures, is stopped: only those with labels are of use."""
    seen: list[tuple[bool, bool]] = []
    look, begin = MultiTaskLearner.features, MultiTaskLearner.on_train_start

    def stop(self: MultiTaskLearner) -> None:
        begin(self)
        self.stopped.append("segmentation")

    def count(self: MultiTaskLearner, batch: Any, *given: Any) -> Any:
        seen.append((bool(self.trainer.training), "classification" in batch.known))
        return look(self, batch, *given)

    monkeypatch.setattr(MultiTaskLearner, "on_train_start", stop)
    monkeypatch.setattr(MultiTaskLearner, "features", count)
    narrow: dict[str, Any] = {"classification": {}, "segmentation": {"head_options": {"width": 16}}}
    words = f"--data {partial_shapes} --freeze all --cache off --batch-size 2 --epochs 1"
    run = train_together(tmp_path / "run", narrow, words)
    trained = [is_known for is_training, is_known in seen if is_training]
    assert all(trained)
    steps = card_of(run)["details"]["steps"]
    assert len(trained) == steps["heads.classification"] < 9
    assert steps["heads.segmentation"] == 0
    # in validation both are looked at
    assert sum(not is_training for is_training, _ in seen) >= 2
