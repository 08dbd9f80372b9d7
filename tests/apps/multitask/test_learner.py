"""What a step does to each part: heads that know none of its pictures, clipping, weights of losses, aggregation."""

import copy
import csv
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from onetrunk.apps.cli import main
from onetrunk.apps.multitask.balance import AGGREGATORS
from onetrunk.apps.multitask.learner import MultiTaskLearner
from safetensors.torch import load_file
from torch import Tensor

from .conftest import PLAIN, card_of, heads_of, train_together

NARROW: dict[str, dict[str, Any]] = {"classification": {}, "segmentation": {"head_options": {"width": 16}}}
DETECTION = {"head_options": {"width": 16, "hidden": 16, "levels": ["c2", "c3", "c4"], "drawn_proposals": 8}}


@dataclass
class Moment:
    """A part of the parameters behind a step."""

    weights: list[Tensor]
    memory: list[dict[str, Tensor]]
    rates: list[float]
    steps: int
    has_gradients: bool


@pytest.fixture(scope="module")
def watched(partial_shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A run in which labels are known of a few pictures, and after each step who knew any, and each part's state."""
    moments: list[dict[str, Any]] = []

    def look(self: MultiTaskLearner, outputs: Any, batch: Any, batch_index: int) -> None:
        optimizer = self.optimizers(use_pl_optimizer=False)
        known = {task for part in batch.batches.values() for task in part.known}
        parts: dict[str, Moment] = {}
        for group in optimizer.param_groups:
            # a learned weight of a loss is one of several in its group
            names = [f"balance.{task}" for task in self.tasks] if group["name"] == "balance" else [group["name"]]
            for place, parameter in enumerate(group["params"]):
                name = names[place % len(names)]
                part = parts.setdefault(name, Moment([], [], [], self.steps[group["name"]], False))
                part.weights.append(parameter.detach().clone())
                part.memory.append(copy.deepcopy(optimizer.state[parameter]))
                part.rates.append(group["lr"])
                part.has_gradients |= parameter.grad is not None
        moments.append({"known": known, "parts": parts})

    run = tmp_path_factory.mktemp("watched") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MultiTaskLearner, "on_train_batch_end", look)
        words = f"--data {partial_shapes} --batch-size 2 --epochs 2 --balance.method uncertainty"
        train_together(run, NARROW, words)
    return run, moments


def same(one: Moment, other: Moment) -> bool:
    """To the bit: weights, what the optimizer remembers, and the learning rate."""
    return (
        all(map(torch.equal, one.weights, other.weights))
        and all(
            a.keys() == b.keys() and all(torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key])) for key in a)
            for a, b in zip(one.memory, other.memory, strict=True)
        )
        and one.rates == other.rates
        and one.steps == other.steps
    )


def pairs(moments: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Steps with those before them; those that know no label, once there was one to remember."""
    found = [
        (before, after)
        for before, after in itertools.pairwise(moments)
        if "classification" not in after["known"] and before["parts"]["heads.classification"].memory[0]
    ]
    assert len(found) >= 3
    return found


def test_a_step_without_labels_moves_nothing_of_its_head_by_a_bit(watched: tuple[Path, list[dict[str, Any]]]) -> None:
    _, moments = watched
    for before, after in pairs(moments):
        assert after["known"] == {"segmentation"}
        for part in ("heads.classification", "balance.classification"):
            assert not after["parts"][part].has_gradients, part
        assert same(before["parts"]["heads.classification"], after["parts"]["heads.classification"])
        mine, its = (each["parts"]["balance.classification"] for each in (before, after))
        assert all(map(torch.equal, mine.weights, its.weights))
        for part in ("heads.segmentation", "trunk", "balance.segmentation"):
            assert after["parts"][part].has_gradients, part
            assert not same(before["parts"][part], after["parts"][part]), part
            assert after["parts"][part].steps == before["parts"][part].steps + 1, part


def test_zero_gradients_would_have_moved_it(watched: tuple[Path, list[dict[str, Any]]]) -> None:
    """Else the test above would show nothing."""
    before, _ = pairs(watched[1])[0]
    part = before["parts"]["heads.classification"]
    parameters = [torch.nn.Parameter(values.clone()) for values in part.weights]
    optimizer = torch.optim.AdamW(parameters, lr=part.rates[0], weight_decay=0.0)
    for parameter, memory in zip(parameters, part.memory, strict=True):
        optimizer.state[parameter] = {name: torch.as_tensor(value).clone() for name, value in memory.items()}
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert part.rates[0] > 0
    assert not any(map(torch.equal, parameters, part.weights))


def test_steps_are_counted_by_part(watched: tuple[Path, list[dict[str, Any]]]) -> None:
    run, moments = watched
    steps = card_of(run)["details"]["steps"]
    assert steps["trunk"] == steps["heads.segmentation"] == len(moments) == 2 * 9
    assert steps["heads.classification"] == sum("classification" in each["known"] for each in moments) < 2 * 9
    used = {task: card["data"]["train"]["used"] for task, card in card_of(run)["tasks"].items()}
    assert used == {"classification": 5, "segmentation": 17}


def test_learned_weights_of_losses_are_on_the_card(watched: tuple[Path, list[dict[str, Any]]]) -> None:
    run, _ = watched
    weights = card_of(run)["details"]["loss_weights"]
    kept = torch.load(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    for task, weight in weights.items():
        variance = float(kept[f"balance.log_variances.{task}"])
        assert variance != 0
        assert weight == pytest.approx(math.exp(-variance))
    # what is balanced is no part of the model
    assert not any("balance" in name for name in load_file(run / "model" / "model.safetensors"))


def test_dwa_weighs_by_the_means_of_the_log(shapes: Path, tmp_path: Path) -> None:
    words = f"--data {shapes} --freeze c4 --balance.method dwa --balance.temperature 0.5 --epochs 3 --cache off"
    run = train_together(tmp_path / "run", NARROW, words)
    with (run / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))[-2:]
    ratios = {task: float(rows[1][f"train_loss_{task}"]) / float(rows[0][f"train_loss_{task}"]) for task in NARROW}
    powers = {task: math.exp(ratio / 0.5) for task, ratio in ratios.items()}
    expected = {task: 2 * power / sum(powers.values()) for task, power in powers.items()}
    assert card_of(run)["details"]["loss_weights"] == pytest.approx(expected, rel=1e-4)


def test_losses_to_balance_need_something_to_move(shapes: Path, tmp_path: Path, capsys: Any) -> None:
    """The trunk isn't frozen by its name, but nothing of it is behind what is."""
    words = f"--data {shapes} --freeze c5 --cache off --balance.method dwa --epochs 1"
    train_together(tmp_path / "run", NARROW, words, code=2)
    said = capsys.readouterr().err
    assert "--balance.method: the trunk is frozen, so that no task's loss moves what another one reads" in said
    assert not (tmp_path / "run").exists()


def test_the_loss_is_logged_as_it_is_where_a_step_has_fewer_batches(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[float, int]] = []

    def look(self: MultiTaskLearner, outputs: Any, batch: Any, batch_index: int) -> None:
        logged.append((float(self.trainer.callback_metrics["train_loss"]), batch.size))

    monkeypatch.setattr(MultiTaskLearner, "on_train_batch_end", look)
    words = f"--data {shapes} --freeze all --cache off --fit.accumulate 2 --epochs 1"
    run = train_together(tmp_path / "run", NARROW, words)
    assert [size for _, size in logged] == [5, 6, 6]
    with (run / "log.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["train_loss"]) == pytest.approx(sum(loss * size for loss, size in logged) / 17, rel=1e-5)


def test_the_log_counts_boxes_that_were_moved_off_the_canvas(shapes: Path, tmp_path: Path) -> None:
    words = f"--data {shapes} --freeze all --cache off --augment.min-zoom 2 --augment.max-zoom 3 --epochs 1"
    run = train_together(tmp_path / "run", {"classification": {}, "detection": DETECTION}, words)
    with (run / "log.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert int(row["dropped_boxes"]) > 0


@pytest.mark.parametrize("name", ["none", *AGGREGATORS])
def test_every_aggregation_trains_a_trunk_with_detectors_too(name: str, shapes: Path, tmp_path: Path) -> None:
    own = {"detection": DETECTION, "classification": {}, "vqa": {"head_options": {"width": 16, "embedding": 16}}}
    words = f"--data {shapes} --freeze c1 --balance.aggregation {name} --epochs 1 --batch-size 17 --fit.clip-norm 1"
    run = train_together(tmp_path / "run", own, words)
    card = card_of(run)
    assert card["backbone"]["fingerprint_before"] != card["backbone"]["fingerprint_after"]
    assert card["details"]["steps"] == {"trunk": 1, "balance": 0, **{f"heads.{task}": 1 for task in own}}
    with (run / "log.csv").open(newline="") as stream:
        assert all(math.isfinite(float(row["train_loss"])) for row in csv.DictReader(stream))


def test_aggregation_is_of_the_gradients_of_several_data_sets(
    pictures: Path, mask_folder: Path, tmp_path: Path
) -> None:
    """In steps with a single task it changes nothing; so where no step has two, the model is that without it."""
    own = {
        "classification": {"data": str(pictures), "augment": PLAIN},
        "segmentation": {"data": str(mask_folder), "head_options": {"width": 16}, "augment": PLAIN},
    }
    runs = {}
    for name in ("none", "pcgrad", "upgrad"):
        words = f"--freeze c2 --cache off --epochs 1 --optim.trunk-factor 1 --balance.aggregation {name}"
        runs[name] = load_file(train_together(tmp_path / name, own, words) / "model" / "model.safetensors")
    assert any(not torch.equal(runs["none"][name], values) for name, values in runs["pcgrad"].items())
    assert any(not torch.equal(runs["pcgrad"][name], values) for name, values in runs["upgrad"].items())
    # what is frozen stays
    frozen = [name for name in runs["none"] if name.startswith("backbone.network.conv1.")]
    assert frozen
    assert all(torch.equal(runs["none"][name], runs["upgrad"][name]) for name in frozen)


def test_a_head_is_clipped_by_itself(shapes: Path, tmp_path: Path) -> None:
    runs = {}
    plain = f"--data {shapes} --freeze all --cache off --epochs 1 --optim.name sgd --optim.weight-decay 0"
    clipped = {**NARROW, "segmentation": {**NARROW["segmentation"], "fit": {"clip_norm": 1e-4}}}
    for name, own, words in (
        ("untrained", NARROW, "--learning-rate 0"),
        ("free", NARROW, ""),
        ("clipped", clipped, ""),
    ):
        runs[name] = heads_of(train_together(tmp_path / name, own, f"{plain} {words}"))

    def moved(name: str, task: str) -> float:
        parts = [
            (runs[name][task][key] - values).norm()
            for key, values in runs["untrained"][task].items()
            if values.is_floating_point() and "running" not in key
        ]
        return float(torch.stack(parts).norm())

    assert moved("free", "segmentation") > 100 * moved("clipped", "segmentation") > 0
    free, other = runs["free"]["classification"], runs["clipped"]["classification"]
    assert all(torch.equal(other[name], values) for name, values in free.items())
    assert moved("free", "classification") > 0


@pytest.mark.parametrize(
    ("freeze", "changes"), [("all", ""), ("c2", ""), ("all", "--augment.flip 0.5 --cache-views 2")]
)
def test_stored_features_make_the_model_that_pictures_make(
    freeze: str, changes: str, partial_shapes: Path, tmp_path: Path
) -> None:
    own = {**NARROW, "detection": {**DETECTION, "learning_rate": 0.0005}}
    words = (
        f"--data {partial_shapes} --freeze {freeze} --epochs 3 --optim.name sgd --learning-rate 0.0005 "
        f"--optim.trunk-factor 1 {changes}"
    )
    stored = train_together(tmp_path / "stored", own, f"{words} --cache on")
    seen = train_together(tmp_path / "seen", own, f"{words} --cache off")
    found, expected = (load_file(run / "model" / "model.safetensors") for run in (stored, seen))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-4, atol=1e-5, msg=lambda text, at=name: f"{at}: {text}")
    for task, card in card_of(seen)["tasks"].items():
        # of boxes that a new detector is as sure of, rounding decides which comes first
        for name, figure in card["metrics"].items() if task != "detection" else ():
            assert card_of(stored)["tasks"][task]["metrics"][name]["value"] == pytest.approx(figure["value"], abs=1e-4)
    if changes:  # two looks, which the epochs take turns with
        facts = card_of(stored)["details"]["stored"]
        assert [each["views"] for each in facts.values()] == [2]


def test_the_command_ends_with_the_table_of_all(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_together(tmp_path / "run", NARROW, f"--data {shapes} --freeze all --epochs 1")
    said = capsys.readouterr().out
    assert "2 tasks on one trunk (val)" in said
    for task in NARROW:
        card = json.loads((run / task / "results.json").read_text())
        assert card == card_of(run)["tasks"][task]
        assert main(["runs", "compare", str(run / task), str(run / task)]) in (0, 2)
