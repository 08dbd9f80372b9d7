"""Heads that are trained together: what each learns, which epoch of it is kept, and what becomes of the model."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from onetrunk.apps import multitask
from onetrunk.apps.app_training import TrunkNeeds
from onetrunk.apps.cli import main
from onetrunk.apps.detection.training import ObjectTraining
from onetrunk.apps.multitask.card import MultiTaskCard
from onetrunk.apps.multitask.learner import MultiTaskLearner
from onetrunk.apps.multitask.model import load_multitask
from onetrunk.apps.multitask.stored import read_stored
from onetrunk.backbones.errors import UserError
from safetensors.torch import load_file

from .conftest import HEADS, PLAIN, card_of, heads_of, train_together, with_data

#: Plain heads, without statistics that move where nothing is learned.
STILL: dict[str, dict[str, Any]] = {
    "classification": {"augment": PLAIN},
    "segmentation": {"head": "fcn8s", "head_options": {"dropout": 0.0}, "augment": PLAIN},
}


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def best_of(values: list[float]) -> int:
    """The first epoch, from 1, with the best value."""
    return 1 + values.index(max(values))


@pytest.mark.parametrize("pair", ["off", "on"], indirect=True)
def test_on_a_frozen_trunk_each_head_is_the_one_trained_alone_to_the_bit(pair: tuple[Path, dict[str, Path]]) -> None:
    together, alone = pair
    card, heads = card_of(together), heads_of(together)
    assert card["backbone"]["fingerprint_before"] == card["backbone"]["fingerprint_after"]
    for task, run in alone.items():
        own = load_file(run / "model" / "model.safetensors")
        expected = {name.removeprefix("head."): values for name, values in own.items() if name.startswith("head.")}
        assert heads[task].keys() == expected.keys()
        assert all(torch.equal(heads[task][name], values) for name, values in expected.items())
        mine, its = card["tasks"][task], card_of(run)
        assert mine["metrics"] == its["metrics"]
        assert mine["details"]["training"]["best_epoch"] == its["details"]["training"]["best_epoch"]
        assert mine["backbone"]["fingerprint_after"] == its["backbone"]["fingerprint_after"]
        assert (mine["samples"], mine["data"]["fingerprint"]) == (its["samples"], its["data"]["fingerprint"])
        assert mine["data"]["train"] == its["data"]["train"]
        assert json.loads((together / task / "predictions.json").read_text()) == json.loads(
            (run / "predictions.json").read_text()
        )
    # neither is what it was at the beginning
    untrained = [name for name in heads["classification"] if (heads["classification"][name] == 0).all()]
    assert untrained == []


def test_what_is_taken_out_evaluates_as_the_card_says(
    pair: tuple[Path, dict[str, Path]], data: dict[str, Path], tmp_path: Path
) -> None:
    together, _ = pair
    card = card_of(together)
    for task, folder in data.items():
        taken, result = tmp_path / task, tmp_path / f"{task}-again"
        assert main(["multitask", "take-out", "--model", str(together), "--task", task, "--output", str(taken)]) == 0
        words = f"--model {taken} --data {folder} --output {result} --batch-size 8 --workers 0 --device cpu"
        assert main([task, "evaluate", *words.split()]) == 0
        found = card_of(result)
        assert found["metrics"].keys() == card["tasks"][task]["metrics"].keys()
        for name, figure in card["tasks"][task]["metrics"].items():
            assert found["metrics"][name]["value"] == pytest.approx(figure["value"], abs=1e-6), name
        assert found["data"]["fingerprint"] == card["tasks"][task]["data"]["fingerprint"]


def test_the_model_predicts_takes_another_head_and_gives_its_trunk(
    pair: tuple[Path, dict[str, Path]], data: dict[str, Path], box_table: Path, tmp_path: Path
) -> None:
    together, _ = pair
    model = load_multitask(together)
    assert list(model.tasks) == list(HEADS)
    assert not model.training
    images = str(data["segmentation"] / "val" / "images")
    rows = multitask.predict(
        multitask.PredictOptions(
            model=str(together), images=[images], output=str(tmp_path / "seen"), workers=0, device="cpu"
        )
    )
    assert len(rows) == 7
    assert {"classification", "segmentation"} <= set(rows[0])
    training = tmp_path / "training.yaml"
    training.write_text(
        "epochs: 1\nbatch_size: 8\nworkers: 0\ndevice: cpu\nhead_options: {level: c3, width: 8, hidden: 8}\n"
    )
    words = f"--model {together} --task localization --data {box_table} --training {training} --output {tmp_path}/more"
    assert main(["multitask", "add", *words.split()]) == 0
    more = read_stored(tmp_path / "more")
    assert list(more.heads) == [*HEADS, "localization"]
    for task, head in read_stored(together).heads.items():
        assert all(torch.equal(more.heads[task].tensors[name], values) for name, values in head.tensors.items())
    # and what starts from it has its trunk, be it one head or several
    own = with_data({"classification": HEADS["classification"]}, **data)
    start = f"--weights {together} --freeze all --epochs 1"
    again = train_together(tmp_path / "again", own, start)
    before = card_of(together)["tasks"]["classification"]["backbone"]["fingerprint_after"]
    assert card_of(again)["backbone"]["fingerprint_before"] == before


def test_a_finished_run_shows_its_card_and_another_is_not_written_over_it(
    pair: tuple[Path, dict[str, Path]], data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    together, _ = pair
    before = (together / "results.json").read_bytes()
    words = "--freeze all --epochs 2 --cache off"
    train_together(together, with_data(HEADS, **data), f"{words} --resume")
    said = capsys.readouterr().out
    assert "is finished; nothing was left to do" in said
    assert "2 tasks on one trunk (val)" in said
    assert "segmentation" in said
    train_together(together, with_data(HEADS, **data), words, code=2)
    assert "already holds a finished run" in capsys.readouterr().err
    train_together(together, with_data(HEADS, **data), f"{words} --resume --seed 5", code=2)
    assert "can't go on with other options: --seed was 0 and is now 5" in capsys.readouterr().err
    assert (together / "results.json").read_bytes() == before


def test_other_options_of_one_task_are_other_options(
    pair: tuple[Path, dict[str, Path]], data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    together, _ = pair
    other = with_data(HEADS, **data)
    del other["segmentation"]["learning_rate"]
    other["classification"]["fit"] = {"clip_norm": 0.5}
    train_together(together, other, "--freeze all --epochs 2 --cache off --resume", code=2)
    said = capsys.readouterr().err
    assert "can't go on with other options" in said
    assert "segmentation.learning_rate" in said
    assert "classification.fit.clip_norm" in said


@pytest.fixture(scope="module")
def apart(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classification learns nothing and isn't waited for; segmentation goes on. 2 and 5 steps an epoch."""
    own = with_data({**HEADS, "classification": STILL["classification"]}, **data)
    own["classification"] |= {"learning_rate": 0.0, "fit": {"patience": 1}}
    words = "--freeze all --epochs 4 --cache on --mix weights --mix-weights 1 3"
    return train_together(tmp_path_factory.mktemp("apart") / "run", own, words)


def test_on_a_frozen_trunk_each_head_keeps_its_own_best_epoch(apart: Path) -> None:
    rows, card = rows_of(apart), card_of(apart)
    figures = {"classification": "top1", "segmentation": "mean_iou"}
    for task, metric in figures.items():
        values = [float(row[f"val_{task}_{metric}"]) for row in rows]
        assert card["tasks"][task]["details"]["training"]["best_epoch"] == best_of(values), task
        assert card["tasks"][task]["metrics"][metric]["value"] == pytest.approx(max(values), abs=1e-6), task
    best = [card["tasks"][task]["details"]["training"]["best_epoch"] for task in figures]
    assert best[0] == 1 < best[1]


def test_a_task_that_gets_no_better_is_no_longer_trained_and_others_go_on(apart: Path) -> None:
    rows, card = rows_of(apart), card_of(apart)
    assert len(rows) == 4
    losses = {task: [float(row[f"train_loss_{task}"]) for row in rows] for task in HEADS}
    assert [math.isfinite(loss) for loss in losses["classification"]] == [True, True, False, False]
    assert all(map(math.isfinite, losses["segmentation"]))
    assert card["details"]["stopped"] == ["classification"]
    assert card["details"]["steps"] == {
        "trunk": 0,
        "balance": 0,
        "heads.classification": 2 * 2,
        "heads.segmentation": 4 * 5,
    }
    assert not card["tasks"]["segmentation"]["details"]["training"]["stopped_early"]


def test_steps_without_a_task_that_is_still_trained_are_passed_over(data: dict[str, Path], tmp_path: Path) -> None:
    """The task of the larger data set stops; the other one has pictures in two of five steps."""
    own = with_data(STILL, **data)
    own["classification"] |= {"learning_rate": 0.0, "fit": {"patience": 1}}
    run = train_together(tmp_path / "run", own, "--freeze all --epochs 3 --cache on")
    assert card_of(run)["details"]["steps"]["heads.segmentation"] == 3 * 2
    losses = [float(row["train_loss_classification"]) for row in rows_of(run)]
    assert [math.isfinite(loss) for loss in losses] == [True, True, False]
    assert all(math.isfinite(float(row["train_loss"])) for row in rows_of(run))


def test_the_run_ends_when_all_tasks_have_stopped(
    data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--freeze all --epochs 6 --learning-rate 0 --fit.patience 1"
    run = train_together(tmp_path / "run", with_data(STILL, **data), words)
    assert len(rows_of(run)) == 2
    card, said = card_of(run), capsys.readouterr().out
    assert card["details"]["stopped"] == ["classification", "segmentation"]
    for task in STILL:
        training = card["tasks"][task]["details"]["training"]
        assert training == {"epochs": 2, "best_epoch": 1, "stopped_early": True}
        assert f"{task} is no longer trained after epoch 2: its best is 1 epoch old" in said
    assert "stopped early after epoch 2" in said


def test_the_python_call_returns_the_card_of_a_training_whose_tasks_share_pictures(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a trunk that learns one epoch is best for all: that with the highest mean of the metrics."""
    card = multitask.train(
        multitask.TrainOptions(
            data=str(shapes),
            tasks=["segmentation", "classification"],
            task_options={"segmentation": {"head_options": {"width": 16}}},
            backbone="timm/test_resnet",
            weights="none",
            image_size=[64],
            epochs=3,
            batch_size=8,
            workers=0,
            device="cpu",
            output=str(tmp_path / "run"),
        )
    )
    assert isinstance(card, MultiTaskCard)
    assert card == MultiTaskCard.read(tmp_path / "run" / "results.json")
    assert list(card.tasks) == ["segmentation", "classification"]
    assert card.backbone["fingerprint_before"] != card.backbone["fingerprint_after"]
    rows = rows_of(tmp_path / "run")
    means = [(float(row["val_segmentation_mean_iou"]) + float(row["val_classification_top1"])) / 2 for row in rows]
    for task in card.tasks.values():
        assert task["details"]["training"]["best_epoch"] == best_of(means)
    said = capsys.readouterr().out
    assert "an epoch is 3 steps: each picture once, for all tasks that know it" in said
    assert "+ 2 heads" in said
    # of a picture whose label isn't known the classifier learned nothing
    assert card.tasks["classification"]["data"]["train"]["used"] == 16
    assert card.tasks["segmentation"]["data"]["train"]["used"] == 17
    assert all(math.isfinite(float(row["train_loss"])) for row in rows)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"task_options": {"segmentation": {"head": "deeplabv3plus"}}},
            r"The heads need trunks of different output strides: classification 32, segmentation 16\. One pass can't",
        ),
        ({"alone": ["nowhere"]}, r"nowhere"),
    ],
)
def test_heads_that_do_not_go_together_are_refused_before_anything_is_written(
    more: dict[str, Any], message: str, shapes: Path, tmp_path: Path
) -> None:
    options = multitask.TrainOptions(
        **{
            "data": str(shapes),
            "tasks": ["classification", "segmentation"],
            "backbone": "resnet18",
            "weights": "none",
            "image_size": [64],
            "output": str(tmp_path / "run"),
            **more,
        }
    )
    with pytest.raises(UserError, match=message):
        multitask.train(options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", ["--freeze c3 --cache off", "--freeze until:1", "--tune norm", "--tune lora"])
def test_what_is_frozen_is_proven_to_be_for_several_data_sets_too(
    words: str, data: dict[str, Path], tmp_path: Path
) -> None:
    run = train_together(tmp_path / "run", with_data(HEADS, **data), f"{words} --epochs 2 --optim.trunk-factor 1")
    trunk = card_of(run)["backbone"]
    assert trunk["fingerprint_before"] != trunk["fingerprint_after"]
    assert bool(trunk["frozen_fingerprint"]) == ("c3" in words or "tune" in words)
    assert card_of(run)["details"]["steps"]["trunk"] == (5 if "until" in words else 10)
    # each head goes with the trunk that it was trained with last
    for task in HEADS:
        own = card_of(run)["tasks"][task]["backbone"]["fingerprint_after"]
        assert load_multitask(run).take_out(task).backbone.fingerprint() == own


def test_a_frozen_trunk_that_changes_stops_the_run(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = MultiTaskLearner.training_step

    def spoil(self: MultiTaskLearner, *given: Any) -> Any:
        with torch.no_grad():
            next(self.backbone.parameters()).add_(1e-3)
        return step(self, *given)

    monkeypatch.setattr(MultiTaskLearner, "training_step", spoil)
    with pytest.raises(RuntimeError, match=r"what is frozen of the trunk changed: SHA-256 .* before, .* after"):
        train_together(tmp_path / "run", with_data(HEADS, **data), "--freeze all --epochs 1 --cache off")


def test_weights_of_a_whole_detector_are_no_trunk_for_several_heads(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs = ObjectTraining.needs

    def brings_weights(self: ObjectTraining, options: Any) -> TrunkNeeds:
        """As of a file with a detector, which is 160 MB."""
        return replace(needs(self, options), weights="its trunk")

    monkeypatch.setattr(ObjectTraining, "needs", brings_weights)
    own: dict[str, Any] = {"classification": {}, "detection": {"head_options": {"levels": ["c3", "c4"]}}}
    train_together(tmp_path / "run", own, f"--data {shapes} --epochs 1", code=2)
    said = capsys.readouterr().err
    assert "--weights none: the head of detection takes the weights of a whole model" in said
    assert "Give a trunk's weights, such as imagenet." in said


@pytest.mark.parametrize("pair", ["off", "on"], indirect=True)
def test_a_task_costs_what_it_would_alone_and_all_together_what_they_cost(pair: tuple[Path, dict[str, Path]]) -> None:
    together, alone = pair
    card = card_of(together)
    costs = {task: each["cost"] for task, each in card["tasks"].items()}
    for task, run in alone.items():
        assert costs[task]["trained_parameters"] == card_of(run)["cost"]["trained_parameters"]
        assert (costs[task]["storing_seconds"] > 0) == (card_of(run)["cost"]["storing_seconds"] > 0)
    for name in ("trained_parameters", "storing_seconds"):
        assert card["cost"][name] == pytest.approx(sum(cost[name] for cost in costs.values()))


def test_a_run_goes_on_with_its_data_by_another_name(
    pair: tuple[Path, dict[str, Path]], data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    other = {task: folder.parent / "." / folder.name / ".." / folder.name for task, folder in data.items()}
    train_together(pair[0], with_data(HEADS, **other), "--freeze all --epochs 2 --cache off --resume")
    assert "nothing was left to do" in capsys.readouterr().out
    train_together(pair[0], with_data(HEADS, **{**data, "segmentation": data["classification"]}), "--resume", code=2)
    assert "--task-options.segmentation.data was" in capsys.readouterr().err
