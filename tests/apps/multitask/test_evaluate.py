"""One pass over a data set evaluates all heads, each as its app's own command does."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from onetrunk.apps.cli import main
from onetrunk.apps.evaluated_images import read_images
from onetrunk.apps.fast_trunk import FastTrunk
from onetrunk.apps.multitask.card import MultiTaskCard
from onetrunk.apps.multitask.evaluation import run_evaluation
from onetrunk.apps.multitask.options import EvaluateOptions
from onetrunk.apps.trainer import print_undefined
from onetrunk.backbones import UserError
from onetrunk.datasets import write_shapes
from torch import Tensor

from .conftest import APPS, Family, train, write_model

CPU = ["--workers", "0", "--device", "cpu", "--batch-size", "4"]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures trunks were given, by pass."""
    seen: list[int] = []
    call = FastTrunk.__call__

    def counted(self: FastTrunk, images: Tensor) -> dict[str, Tensor]:
        seen.append(len(images))
        return call(self, images)

    monkeypatch.setattr(FastTrunk, "__call__", counted)
    return seen


KINDS = ("labels", "annotations", "captions", "qa")


def forget(data: Path, split: str, key: str, *places: int) -> None:
    """Make something unknown of some pictures of a split of scenes, by their places; of all where none are given."""
    path = data / "annotations" / f"superset_{split}.json"
    content = read_json(path)
    chosen = [content["images"][place] for place in places] or content["images"]
    for image in chosen:
        image["known"] = [each for each in image.get("known", KINDS) if each != key]
    numbers = {image["id"] for image in chosen}
    content[key] = [each for each in content[key] if each["image_id"] not in numbers]
    if not places:
        del content[key]
    path.write_text(json.dumps(content))


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty scenes with every kind of annotation, 28 train, 6 val, 6 test; the first of val has no label."""
    folder = tmp_path_factory.mktemp("shapes") / "shapes"
    assert write_shapes(folder, images=40, size=64, workers=1) == {"train": 28, "val": 6, "test": 6}
    forget(folder, "val", "labels", 0)
    return folder


@pytest.fixture(scope="session")
def of_shapes(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Family:
    """Runs of all apps on these scenes, and the model that they were joined to."""
    root = tmp_path_factory.mktemp("of_shapes")
    runs = {app: train(app, shapes, root / app) for app in APPS}
    words = ["multitask", "join", "--models", *map(str, runs.values()), "--output", str(root / "joined")]
    assert main(words) == 0
    return Family(runs, root / "joined")


def evaluate(model: Path, *more: str) -> int:
    return main(["multitask", "evaluate", "--model", str(model), *CPU, *more])


def own(app: str, run: Path, data: Path, output: Path) -> Path:
    """Evaluate a model with its app's own command; return the folder of the evaluation."""
    words = ["--model", str(run), "--data", str(data), "--output", str(output), *CPU]
    assert main([app, "evaluate", *words]) == 0
    return output


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def assert_same(found: Path, expected: Path) -> None:
    """Check that two folders hold the same evaluation."""
    mine, its = read_json(found / "results.json"), read_json(expected / "results.json")
    assert mine["metrics"].keys() == its["metrics"].keys()
    for name, figure in its["metrics"].items():
        assert mine["metrics"][name] == pytest.approx(figure, abs=1e-6), name
    for key in ("task", "split", "samples", "data", "backbone", "primary", "selected_on"):
        assert mine[key] == its[key], key
    names = {path.name for path in expected.iterdir()}
    assert {path.name for path in found.iterdir()} == names
    for name in names - {"results.json", "images.npz"}:
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    one, other = read_images(found / "images.npz")[0], read_images(expected / "images.npz")[0]
    assert one.names == other.names
    assert one.contents is not None
    assert other.contents is not None
    assert (one.contents == other.contents).all()


def test_each_task_is_evaluated_on_its_own_data_as_its_own_command_does_it(
    family: Family, tmp_path: Path, request: pytest.FixtureRequest, capsys: Captured
) -> None:
    assert evaluate(family.joined, "--output", str(tmp_path / "out")) == 0
    said = capsys.readouterr().out
    assert "6 tasks on one trunk (val)" in said
    assert f"card       {tmp_path / 'out' / 'results.json'}" in said
    for app, run in family.runs.items():
        expected = own(app, run, request.getfixturevalue(APPS[app][0]), tmp_path / app)
        assert_same(tmp_path / "out" / app, expected)
    card = MultiTaskCard.read(tmp_path / "out" / "results.json")
    assert list(card.tasks) == list(APPS)
    assert card.backbone["fingerprint_before"] == card.backbone["fingerprint_after"]
    assert card.tasks["vqa"] == read_json(tmp_path / "out" / "vqa" / "results.json")


def test_one_pass_over_one_data_set_is_for_all_tasks(
    of_shapes: Family, shapes: Path, tmp_path: Path, passes: list[int], capsys: Captured
) -> None:
    """Also where the first task doesn't know the first picture, each task has its own order."""
    assert evaluate(of_shapes.joined, "--data", str(shapes), "--output", str(tmp_path / "out")) == 0
    assert passes == [4, 2]
    said = capsys.readouterr().out
    for app, run in of_shapes.runs.items():
        assert_same(tmp_path / "out" / app, own(app, run, shapes, tmp_path / app))
    used = {app: each["samples"]["used"] for app, each in read_json(tmp_path / "out" / "results.json")["tasks"].items()}
    assert used == {**dict.fromkeys(APPS, 6), "classification": 5, "localization": 5}
    notes = [line for line in said.splitlines() if "isn't known of" in line]
    assert notes
    assert len(notes) == len(set(notes))


def test_the_data_of_all_tasks_are_taken_for_their_own_where_none_are_given(
    of_shapes: Family, passes: list[int]
) -> None:
    card = run_evaluation(EvaluateOptions(model=str(of_shapes.joined), workers=0, device="cpu", batch_size=8))
    assert passes == [6]
    assert list(card.tasks) == list(APPS)
    assert not card.alone


def test_tasks_are_chosen_by_name(of_shapes: Family, shapes: Path, tmp_path: Path) -> None:
    words = ["--tasks", "vqa", "segmentation", "--data", str(shapes), "--output", str(tmp_path), "--split", "test"]
    assert evaluate(of_shapes.joined, *words) == 0
    card = MultiTaskCard.read(tmp_path / "results.json")
    assert (card.split, list(card.tasks)) == ("test", ["segmentation", "vqa"])
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "segmentation", "vqa"}


def test_a_model_of_one_app_is_evaluated_as_one_with_one_head(
    of_shapes: Family, tmp_path: Path, capsys: Captured
) -> None:
    assert evaluate(of_shapes.runs["segmentation"], "--output", str(tmp_path)) == 0
    assert "1 task on one trunk (val)" in capsys.readouterr().out
    assert list(read_json(tmp_path / "results.json")["tasks"]) == ["segmentation"]


def test_a_task_that_nothing_is_known_for_is_left_out(
    of_shapes: Family, shapes: Path, tmp_path: Path, capsys: Captured
) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    for split in ("train", "val", "test"):
        forget(data, split, "captions")
    forget(data, "val", "qa")  # other splits have questions
    assert evaluate(of_shapes.joined, "--data", str(data)) == 0
    said = capsys.readouterr().out
    why = "--tasks captioning says what is missing"
    assert f"captioning is left out: no usable captions of 'val' in {data}; {why}" in said
    assert f"vqa is left out: no usable questions of 'val' in {data}" in said
    assert "4 tasks on one trunk" in said
    assert evaluate(of_shapes.joined, "--data", str(data), "--tasks", "captioning", "vqa") == 2
    assert f"{data}: of no picture 'captions' is known" in capsys.readouterr().err
    assert evaluate(of_shapes.joined, "--data", str(data), "--tasks", "vqa") == 2
    assert f"{data}: there is no split 'val'" in capsys.readouterr().err


def test_a_fault_in_what_is_annotated_is_no_reason_to_leave_a_task_out(
    of_shapes: Family, shapes: Path, tmp_path: Path, capsys: Captured
) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    path = data / "annotations" / "superset_val.json"
    content = read_json(path)
    content["labels"][0]["label"] = "hexagram"
    path.write_text(json.dumps(content))
    assert evaluate(of_shapes.joined, "--data", str(data)) == 2
    printed = capsys.readouterr()
    assert "the class 'hexagram' isn't one of" in printed.err
    assert "left out" not in printed.out


def test_data_without_anything_are_an_error(of_shapes: Family, shapes: Path, tmp_path: Path, capsys: Captured) -> None:
    assert evaluate(of_shapes.joined, "--data", str(tmp_path / "nowhere")) == 2
    assert f"{tmp_path / 'nowhere'}: there is no such file or folder" in capsys.readouterr().err
    assert evaluate(of_shapes.joined, "--data", str(shapes), "--split", "vall") == 2
    assert "there is no split 'vall'" in capsys.readouterr().err


def test_tasks_that_are_not_there_are_named(of_shapes: Family, capsys: Captured, tmp_path: Path) -> None:
    assert evaluate(of_shapes.joined, "--tasks", "segmentatoin") == 2
    assert "Unknown task 'segmentatoin'" in capsys.readouterr().err
    model = write_model(tmp_path / "labels")
    assert evaluate(model, "--tasks", "vqa") == 2
    assert f"Unknown task of '{model}' 'vqa'. Known: classification." in capsys.readouterr().err


def test_own_data_have_to_be_there(tmp_path: Path, shapes: Path) -> None:
    model = write_model(tmp_path / "labels")
    with pytest.raises(UserError, match=r"doesn't say what its head of classification was trained on.*--data DIR"):
        run_evaluation(EvaluateOptions(model=str(model)))
    description = read_json(model / "model.json")
    (model / "model.json").write_text(json.dumps({**description, "data": {"path": "gone"}}))
    with pytest.raises(UserError, match=r"'gone', which the head of classification was trained on, isn't there\..*--"):
        run_evaluation(EvaluateOptions(model=str(model)))


def test_an_evaluation_is_not_written_over_unasked(of_shapes: Family, tmp_path: Path, capsys: Captured) -> None:
    words = ["--tasks", "classification", "--output", str(tmp_path)]
    assert evaluate(of_shapes.joined, *words) == 0
    before = (tmp_path / "results.json").read_bytes()
    assert evaluate(of_shapes.joined, *words) == 2
    assert "results.json, " in (said := capsys.readouterr().err)
    assert f"{tmp_path / 'classification'}: already there. Write over it: --overwrite" in said
    assert (tmp_path / "results.json").read_bytes() == before
    assert evaluate(of_shapes.joined, *words, "--overwrite", "--split", "test") == 0
    assert read_json(tmp_path / "results.json")["split"] == "test"


def test_heads_are_compared_with_models_that_were_trained_alone(
    of_shapes: Family, tmp_path: Path, capsys: Captured
) -> None:
    words = ["--alone", str(of_shapes.runs["segmentation"]), "--output", str(tmp_path)]
    assert evaluate(of_shapes.joined, *words) == 0
    assert "together - alone" in capsys.readouterr().out
    alone = MultiTaskCard.read(tmp_path / "results.json").alone
    assert list(alone) == ["segmentation"]
    row = alone["segmentation"]
    assert row["low"] <= row["difference"] <= row["high"]
    assert row["difference"] == pytest.approx(0, abs=1e-6)
    assert row["images"] == 6


def test_what_cannot_be_compared_is_said_first(
    of_shapes: Family, shapes: Path, tmp_path: Path, capsys: Captured
) -> None:
    run, out = str(of_shapes.runs["vqa"]), tmp_path / "out"
    words = ["--tasks", "segmentation", "--data", str(shapes), "--output", str(out)]
    assert evaluate(of_shapes.joined, *words, "--alone", run) == 2
    assert f"--alone: '{run}' is of vqa, which isn't evaluated here. Leave it out" in capsys.readouterr().err
    assert not out.exists()
    # other images are known only when all is done
    assert evaluate(of_shapes.joined, *words, "--split", "test", "--alone", str(of_shapes.runs["segmentation"])) == 2
    assert read_json(out / "results.json")["split"] == "test"
    assert evaluate(of_shapes.joined, "--alone", run) == 2
    assert "--alone compares what is written: add --output DIR." in capsys.readouterr().err


def test_a_picture_that_cannot_be_read_counts_for_the_tasks_that_know_it(
    of_shapes: Family, shapes: Path, tmp_path: Path, capsys: Captured
) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    bad = min((data / "images" / "val").iterdir())
    bad.write_bytes(b"no picture")
    words = ["--data", str(data), "--output", str(tmp_path / "out")]
    assert evaluate(of_shapes.joined, *words) == 2
    error = capsys.readouterr().err
    assert error.count(bad.name) == 1
    assert "1 image can't be read" in error
    assert not (tmp_path / "out").exists()
    assert evaluate(of_shapes.joined, *words, "--bad-data", "skip") == 0
    assert "skipped    images that can't be read: 1 of segmentation, 1 of detection" in capsys.readouterr().out
    tasks = read_json(tmp_path / "out" / "results.json")["tasks"]
    counts = {app: (each["samples"]["used"], each["samples"]["skipped"]) for app, each in tasks.items()}
    assert counts == {**dict.fromkeys(APPS, (5, 1)), "classification": (5, 0), "localization": (5, 0)}


@pytest.fixture(scope="session")
def uncut(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Scenes that have no splits."""
    folder = Path(shutil.copytree(shapes, tmp_path_factory.mktemp("uncut") / "uncut"))
    for split in ("val", "test"):
        (folder / "annotations" / f"superset_{split}.json").unlink()
        shutil.rmtree(folder / "images" / split)
    (folder / "annotations" / "superset_train.json").rename(folder / "annotations" / "superset.json")
    return folder


def test_heads_are_evaluated_on_the_splits_that_were_cut_for_them(
    uncut: Path, tmp_path: Path, capsys: Captured
) -> None:
    apps = ("classification", "captioning")
    runs = {app: train(app, uncut, tmp_path / app) for app in apps}
    assert main(["multitask", "join", "--models", *map(str, runs.values()), "--output", str(tmp_path / "joined")]) == 0
    capsys.readouterr()
    assert evaluate(tmp_path / "joined", "--output", str(tmp_path / "out")) == 0
    said = capsys.readouterr().out
    for app in apps:
        cut = tmp_path / "joined" / "splits" / f"{app}.csv"
        assert f"val is the split that the model was trained with ({cut})" in said
        assert_same(tmp_path / "out" / app, own(app, runs[app], uncut, tmp_path / f"{app}-own"))


def test_heads_that_were_trained_together_are_judged_as_at_the_end_of_their_training(
    uncut: Path, tmp_path: Path
) -> None:
    words = "--backbone timm/test_resnet --weights none --freeze all --image-size 64 --epochs 1 --batch-size 8".split()
    words += ["--workers", "0", "--device", "cpu", "--data", str(uncut), "--output", str(tmp_path / "run")]
    assert main(["multitask", "train", "--tasks", "classification", "vqa", *words]) == 0
    assert evaluate(tmp_path / "run", "--output", str(tmp_path / "out")) == 0
    for app in ("classification", "vqa"):
        found, expected = (read_json(folder / app / "results.json") for folder in (tmp_path / "out", tmp_path / "run"))
        for name, figure in expected["metrics"].items():
            assert found["metrics"][name] == pytest.approx(figure, abs=1e-6), name
        assert found["data"]["fingerprint"] == expected["data"]["fingerprint"]
        assert found["samples"] == expected["samples"]


def test_one_data_set_by_two_names_is_one(of_shapes: Family, tmp_path: Path, passes: list[int]) -> None:
    model = Path(shutil.copytree(of_shapes.joined, tmp_path / "joined"))
    description = read_json(model / "model.json")
    given = description["tasks"]["segmentation"]["data"]["path"]
    (tmp_path / "other").symlink_to(given)
    description["tasks"]["segmentation"]["data"]["path"] = str(tmp_path / "other")
    (model / "model.json").write_text(json.dumps(description))
    card = run_evaluation(EvaluateOptions(model=str(model), workers=0, device="cpu", batch_size=8))
    assert passes == [6]
    assert list(card.tasks) == list(APPS)
    assert {each["data"]["path"] for each in card.tasks.values()} == {given}


def test_a_head_that_reads_windows_is_refused(tmp_path: Path, shapes: Path, capsys: Captured) -> None:
    model = write_model(tmp_path / "model", resize="window")
    other = write_model(tmp_path / "other", "localization")
    words = {
        "evaluate": ["--model", str(model), "--data", str(shapes)],
        "predict": ["--model", str(model), "--images", str(shapes / "images" / "val")],
        "join": ["--models", str(model), str(other), "--output", str(tmp_path / "joined")],
    }
    for command, given in words.items():
        assert main(["multitask", command, *given]) == 2
        said = capsys.readouterr().err
        assert "was trained with --resize window, in which a picture becomes any number of windows" in said, command
        assert "Use it with its own app's commands, or train it with --resize pad." in said


def test_splits_that_a_task_has_from_another_are_kept_with_its_head(object_folder: Path, tmp_path: Path) -> None:
    """Captions of the pictures in a file without splits are in those of the objects."""
    data = Path(shutil.copytree(object_folder, tmp_path / "data"))
    images, captions = [], []
    for split, count in (("train", 16), ("val", 8)):
        for place in range(0, count, 2):
            images.append({"id": len(images) + 1, "file_name": f"{split}/{place:02}.png", "width": 64, "height": 48})
            captions.append({"id": len(images), "image_id": len(images), "caption": f"A disc of {split}."})
    content = {"images": images, "annotations": captions}
    (data / "annotations" / "captions.json").write_text(json.dumps(content))
    words = "--backbone timm/test_resnet --weights none --freeze all --image-size 64 --epochs 1 --batch-size 8".split()
    words += ["--workers", "0", "--device", "cpu", "--data", str(data), "--output", str(tmp_path / "run")]
    words += ["--task-options", json.dumps({"captioning": {"head_options": {"width": 16, "min_count": 1}}})]
    assert main(["multitask", "train", "--tasks", "detection", "captioning", *words]) == 0
    assert [file.name for file in (tmp_path / "run" / "splits").iterdir()] == ["captioning.csv"]
    assert evaluate(tmp_path / "run", "--output", str(tmp_path / "out")) == 0
    for app in ("detection", "captioning"):
        found, expected = (read_json(folder / app / "results.json") for folder in (tmp_path / "out", tmp_path / "run"))
        assert found["samples"] == expected["samples"]
        assert found["data"]["fingerprint"] == expected["data"]["fingerprint"]


def test_metrics_without_a_value_are_those_of_a_task(capsys: Captured) -> None:
    evaluation: Any = SimpleNamespace(details={"undefined": {"ap": "no objects"}})
    print_undefined(evaluation, of="detection")
    print_undefined(evaluation)
    said = capsys.readouterr().out.splitlines()
    assert said == ["undefined and left out of detection: ap (no objects)", "undefined and left out: ap (no objects)"]
