"""The data sets of several tasks: how often each is seen, what is left out, and how pictures may be changed."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from onetrunk.apps import stored_features
from onetrunk.apps.checkpoints import BadData
from onetrunk.apps.fast_trunk import FastTrunk, Form
from onetrunk.datasets import read_excerpts

from .conftest import PLAIN, card_of, train_together

QUICK = "--freeze all --epochs 1 --cache off"


@pytest.fixture
def two(pictures: Path, mask_folder: Path) -> dict[str, dict[str, Any]]:
    """33 and 12 pictures: 5 and 2 batches of 8."""
    return {
        "classification": {"data": str(pictures), "augment": PLAIN},
        "segmentation": {"data": str(mask_folder), "head_options": {"width": 16}, "augment": PLAIN},
    }


@pytest.mark.parametrize(
    ("words", "counts"),
    [
        ("--mix size", (5, 2)),
        # 7 batches in proportion to the roots of 33 and 12: 4.4 and 2.6
        ("--mix sqrt", (4, 3)),
        ("--mix weights --mix-weights 1 6", (1, 6)),
    ],
)
def test_an_epoch_has_as_many_batches_of_each_as_it_says(
    words: str,
    counts: tuple[int, int],
    two: dict[str, dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = train_together(tmp_path / "run", two, f"{QUICK} {words}")
    said = capsys.readouterr().out
    drawn = [f"{count} with {own['data']}" for count, own in zip(counts, two.values(), strict=True)]
    assert f"an epoch is {max(counts)} steps: {', '.join(drawn)}, evenly spread ({words[:10].strip()}" in said
    details = card_of(run)["details"]
    assert list(details["batches_an_epoch"].values()) == list(counts)
    assert [details["steps"][f"heads.{task}"] for task in two] == list(counts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--mix weights --mix-weights 1", "--mix-weights takes one for each data set, in this order: "),
        ("--mix weights --mix-weights 1 0", "is a number above 0, not 0.0. Leave out a data set that isn't to be"),
        ("--mix weights --mix-weights 1 -2", "is a number above 0, not -2.0"),
        ("--mix weights", "--mix weights takes a weight for each data set: --mix-weights 2 1"),
    ],
)
def test_weights_that_mean_nothing_are_refused(
    words: str, message: str, two: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_together(tmp_path / "run", two, f"{QUICK} {words}", code=2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_one_data_set_by_two_names_is_one(
    mask_folder: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shapes.parent / "x" / ".." / shapes.name
    (shapes.parent / "x").mkdir(exist_ok=True)
    own = {
        "classification": {"data": str(shapes)},
        "segmentation": {"data": str(other), "head_options": {"width": 16}},
    }
    run = train_together(tmp_path / "run", own, QUICK)
    assert "an epoch is 3 steps: each picture once, for all tasks that know it" in capsys.readouterr().out
    assert list(card_of(run)["details"]["batches_an_epoch"].values()) == [3]


def test_a_task_changes_pictures_in_its_own_way_unless_it_shares_them(
    shapes: Path, two: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"classification": {"augment": {"flip": 0.5}}, "segmentation": {}}
    train_together(tmp_path / "run", own, f"{QUICK} --data {shapes}", code=2)
    said = capsys.readouterr().err
    assert "--task-options: classification sets augment, and shares the pictures of" in said
    assert "with segmentation. Set it for all of them: --augment.*" in said
    for each in two.values():  # alone on its pictures it may: other looks make another model
        del each["augment"]
    words = f"{QUICK} --tasks classification segmentation"
    losses = []
    for name, plain in (("changed", False), ("plain", True)):
        given = {task: {**each, **({"augment": PLAIN} if plain else {})} for task, each in two.items()}
        with (train_together(tmp_path / name, given, words) / "log.csv").open(newline="") as stream:
            losses.append([row["train_loss"] for row in csv.DictReader(stream)])
    assert losses[0] != losses[1]


def test_changes_for_shared_pictures_are_refused_where_none_are_shared(
    two: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_together(tmp_path / "run", two, f"{QUICK} --augment.flip 0.5", code=2)
    said = capsys.readouterr().err
    assert "--augment.flip: has no effect without a data set of several tasks" in said
    assert "task_options" in said


def test_a_picture_that_cannot_be_read_is_counted_for_the_tasks_that_know_it(
    pictures: Path, mask_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels"
    shutil.copytree(pictures, labels)
    broken = labels / "train" / "red" / "03.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:100] + b"\0" * 60 + content[160:])  # a quick look doesn't find it
    own = {
        "classification": {"data": str(labels), "augment": PLAIN},
        "segmentation": {"data": str(mask_folder), "head_options": {"width": 16}, "augment": PLAIN},
    }
    train_together(tmp_path / "strict", own, QUICK, code=2)
    assert "03.png" in capsys.readouterr().err
    for cache in ("off", "on"):
        run = train_together(tmp_path / cache, own, f"--freeze all --epochs 1 --cache {cache} --bad-data skip")
        cards = {task: card["data"]["train"] for task, card in card_of(run)["tasks"].items()}
        assert (cards["classification"]["used"], cards["classification"]["skipped"]) == (32, 1)
        assert "03.png" in cards["classification"]["skipped_files"][0]["file"]
        assert (cards["segmentation"]["used"], cards["segmentation"]["skipped"]) == (12, 0)


def test_a_split_that_was_cut_is_kept_of_each_task(pictures: Path, shapes: Path, tmp_path: Path) -> None:
    """And goes with its head."""
    rows = ["path,label"] + [f"{path},{path.parent.name}" for path in sorted((pictures / "train").rglob("*.png"))]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(rows) + "\n")
    own = {"classification": {"data": str(table), "augment": PLAIN}, "vqa": {"data": str(shapes)}}
    run = train_together(tmp_path / "run", own, f"{QUICK} --split-seed 3")
    lines = (run / "splits" / "classification.csv").read_text().splitlines()
    assert len(lines) == 1 + 33
    assert not (run / "splits" / "vqa.csv").exists()
    assert (run / "model" / "splits" / "classification.csv").read_text().splitlines() == lines
    assert json.loads((run / "results.json").read_text())["tasks"]["classification"]["samples"]["used"] == 6


def test_data_that_lack_what_a_task_needs_are_named(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"classification": {"data": str(pictures)}, "segmentation": {"data": str(pictures)}}
    train_together(tmp_path / "run", own, QUICK, code=2)
    said = capsys.readouterr().err
    assert str(pictures) in said
    assert "masks" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


def copied(data: Path, folder: Path) -> Path:
    return Path(shutil.copytree(data, folder))


def test_of_data_sets_with_the_same_names_the_one_that_has_a_bad_picture_is_blamed(
    shapes: Path, tmp_path: Path
) -> None:
    """Stopped or not, and whether a look at its end tells or not."""
    data = {name: copied(shapes, tmp_path / name) for name in ("whole", "torn")}
    bad = min((data["torn"] / "images" / "train").iterdir())
    bad.write_bytes(b"no picture")
    own: dict[str, dict[str, Any]] = {
        "classification": {"data": str(data["whole"]), "augment": PLAIN},
        "segmentation": {"data": str(data["torn"]), "head_options": {"width": 16}, "augment": PLAIN},
    }
    for cache in ("off", "on"):
        run = train_together(tmp_path / cache, own, f"--freeze all --epochs 1 --cache {cache} --bad-data skip")
        cards = {task: card["data"]["train"] for task, card in card_of(run)["tasks"].items()}
        assert (cards["classification"]["used"], cards["classification"]["skipped"]) == (16, 0)
        assert (cards["segmentation"]["used"], cards["segmentation"]["skipped"]) == (16, 1)
        assert bad.name in cards["segmentation"]["skipped_files"][0]["file"]


@pytest.mark.parametrize("kept", [{"": {"a.png": "a.png: torn"}}, {"a.png": "a.png: torn"}])
def test_what_was_skipped_is_read_from_checkpoints_old_and_new(kept: dict[str, Any], tmp_path: Path) -> None:
    torch.save(kept, tmp_path / "kept.ckpt")
    bad_data = BadData("skip")
    bad_data.load_state_dict({"skipped": torch.load(tmp_path / "kept.ckpt", weights_only=True)})
    assert bad_data.all_skipped() == {"": {"a.png": "a.png: torn"}}


def test_the_trunk_runs_in_one_form_over_all_data_sets(
    two: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which a run that goes on has again."""
    looked: list[int] = []

    def settle(backbone: Any, records: Any, *given: Any, canvas: tuple[int, int]) -> FastTrunk:
        looked.append(len(records))
        form = Form("bf16" if len(looked) == 1 else "fp32")
        return FastTrunk(backbone, form, device=torch.device("cpu"), canvas=canvas, batch_size=8)

    monkeypatch.setattr("onetrunk.apps.stored_features.settle_trunk", settle)
    run = train_together(tmp_path / "run", two, "--freeze all --epochs 2 --cache on")
    assert looked == [33 + 15 + 12 + 7]
    assert [each["precision"] for each in card_of(run)["details"]["stored"].values()] == ["bf16", "bf16"]
    config = (run / "config.yaml").read_text()
    assert "cache_precision: bf16" in config
    assert "compile: 'off'" in config


def test_there_has_to_be_room_for_the_features_of_all_data_sets_together(
    two: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes: list[int] = []
    make = stored_features._make_plan

    def measured(*given: Any) -> Any:
        plan = make(*given)
        sizes.append(plan.size)
        return plan

    monkeypatch.setattr(stored_features, "_make_plan", measured)
    # room for the larger, and for the smaller, but not for both
    monkeypatch.setattr(stored_features, "free_bytes", lambda folder: sum(sizes) - 1 if sizes else 0)
    train_together(tmp_path / "run", two, "--freeze all --epochs 2 --cache on", code=2)
    assert len(sizes) == 2
    assert "features' needs" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("epochs", "views"), [(2, 3), (1, 3)])
def test_of_a_data_set_that_is_seen_more_often_as_many_looks_are_stored(
    epochs: int, views: int, two: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """Twelve pictures in 2 batches, of which an epoch draws 6: three times each."""
    two["segmentation"]["augment"] = {"color_jitter": 0.8, "vertical_flip": 0.5}
    words = f"--freeze all --epochs {epochs} --cache-views 3 --mix weights --mix-weights 1 6"
    words += " --optim.name sgd --learning-rate 0.0005"  # small steps leave rounding small
    losses = []
    for cache in ("auto", "off"):
        run = train_together(tmp_path / cache, two, f"{words} --cache {cache}")
        with (run / "log.csv").open(newline="") as stream:
            losses.append([float(row["train_loss_segmentation"]) for row in csv.DictReader(stream)])
    stored = card_of(tmp_path / "auto")["details"]["stored"]
    assert stored[two["segmentation"]["data"]]["views"] == views
    assert stored[two["classification"]["data"]]["views"] == 1
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_pictures_that_one_task_learns_and_another_is_judged_on_are_named(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {name: copied(shapes, tmp_path / name) for name in ("labels", "masks")}
    learned, judged = (
        min((data[name] / "images" / split).iterdir()) for name, split in zip(data, ("train", "val"), strict=True)
    )
    shutil.copy(learned, judged)
    own: dict[str, dict[str, Any]] = {
        "classification": {"data": str(data["labels"]), "augment": PLAIN},
        "segmentation": {"data": str(data["masks"]), "head_options": {"width": 16}, "augment": PLAIN},
    }
    train_together(tmp_path / "run", own, "--epochs 1")
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    both = f"1 of the 4 images in 'val of {data['masks']}' is in 'train of {data['labels']}' too, byte for byte"
    assert [both in line for line in warnings] == [False, True]  # the first is of the masks' own splits
    assert "Figures on" in warnings[1]
    train_together(tmp_path / "frozen", own, QUICK)  # no head learns from another's pictures
    assert both not in capsys.readouterr().out


def test_the_ends_of_a_file_are_read_once_for_all_tasks(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    def read(records: Any) -> Any:
        seen.extend(record.path for record in records)
        return read_excerpts(records)

    monkeypatch.setattr("onetrunk.apps.data_check.read_excerpts", read)
    train_together(tmp_path / "run", {}, f"{QUICK} --data {shapes} --tasks classification segmentation vqa")
    assert len(seen) == len(set(seen)) == 17 + 4


def test_a_task_that_is_not_known_in_val_is_named(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = copied(shapes, tmp_path / "data")
    file = data / "annotations" / "superset_val.json"
    content = json.loads(file.read_text())
    del content["labels"]
    for image in content["images"]:
        image["known"] = ["annotations", "captions", "qa"]
    file.write_text(json.dumps(content))
    words = f"{QUICK} --data {data} --tasks classification segmentation"
    train_together(tmp_path / "run", {}, words, code=2)
    assert f"classification: {data}: of no picture of 'val' the labels are known." in capsys.readouterr().err
