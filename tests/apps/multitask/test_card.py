"""The card of several tasks: written, read, printed, listed, and its heads against models trained alone."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from onetrunk.apps.card import Card
from onetrunk.apps.cli import main
from onetrunk.apps.multitask.alone import check_alone, compare_alone
from onetrunk.apps.multitask.card import MultiTaskCard, print_multitask_card
from onetrunk.apps.runs import ListOptions, list_runs
from onetrunk.backbones import UserError

from .conftest import train

COST = {"images_per_second": 7.0, "peak_memory_mib": 9.0, "trained_parameters": 1200, "parameters": 34567, "seconds": 2}
TRUNK = {"name": "timm/test_resnet", "weights": "none", "frozen": "all", "frozen_fingerprint": "0123456789abcdef" * 4}


class Results(NamedTuple):
    """What a model of two heads leaves behind, and runs of one app."""

    out: Path
    labels: Path
    masks: Path

    @property
    def together(self) -> dict[str, Path]:
        return {app: self.out / app for app in ("classification", "segmentation")}


def evaluate(app: str, run: Path, data: Path, output: Path, *more: str) -> Path:
    words = ["--model", str(run), "--data", str(data), "--output", str(output), "--workers", "0", "--device", "cpu"]
    assert main([app, "evaluate", *words, *more]) == 0
    return output


@pytest.fixture(scope="module")
def results(pictures: Path, mask_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Two heads, evaluated into a folder each, and other runs of the same apps."""
    root = tmp_path_factory.mktemp("results")
    data = {"classification": pictures, "segmentation": mask_folder}
    out = root / "out"
    for app, path in data.items():
        evaluate(app, train(app, path, root / f"{app}-0"), path, out / app)
    card(out).write(out / "results.json")
    labels, masks = (train(app, path, root / f"{app}-1", "--seed", "1") for app, path in data.items())
    return Results(out, labels, masks)


def card(out: Path, **more: Any) -> MultiTaskCard:
    """The card of what was evaluated into the folders of tasks."""
    tasks = {file.parent.name: json.loads(file.read_text()) for file in sorted(out.glob("*/results.json"))}
    return MultiTaskCard(**{"split": "val", "tasks": tasks, "backbone": TRUNK, "cost": COST, **more})


def printed(shown: MultiTaskCard, where: Path | None, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The lines that the card's print has, tables cut into cells."""
    capsys.readouterr()
    print_multitask_card(shown, where)
    lines = capsys.readouterr().out.replace("┃", "│").splitlines()
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def cells(figure: dict[str, float]) -> list[str]:
    return [f"{figure['value']:.4f}", f"{figure['low']:.4f} to {figure['high']:.4f}"]


def test_it_comes_back_as_it_was_written(results: Results, tmp_path: Path) -> None:
    written = card(results.out, alone={"classification": {"alone": 0.5}}, details={"notes": ["so"]})
    written.write(tmp_path / "results.json")
    assert MultiTaskCard.read(tmp_path / "results.json") == written
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["task"] == "multitask"
    assert content["tasks"]["segmentation"] == json.loads((results.out / "segmentation" / "results.json").read_text())
    assert written.cards["classification"] == Card.read(results.out / "classification" / "results.json")


def test_each_task_is_a_row(
    results: Results, pictures: Path, mask_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = card(results.out, details={"notes": ["one loss fell"]})
    lines = printed(shown, results.out / "results.json", capsys)
    top1 = shown.tasks["classification"]["metrics"]["top1"]
    mean_iou = shown.tasks["segmentation"]["metrics"]["mean_iou"]
    assert ["2 tasks on one trunk (val)"] in lines
    assert ["task", "data", "images", "metric", "value", "95% interval"] in lines
    assert ["classification", str(pictures), "15", "top1", *cells(top1)] in lines
    assert ["segmentation", str(mask_folder), "7", "mean_iou", *cells(mean_iou)] in lines
    assert [line for (line,) in lines[-6:]] == [
        "trunk      timm/test_resnet, weights none",
        "parameters 34,567, 1,200 of them trained",
        "cost       7 images/s evaluated, 9 MiB, 2.0 s",
        "frozen     proven: the SHA-256 of the trunk is 0123456789abcdef… before and after",
        "note       one loss fell",
        f"card       {results.out / 'results.json'}",
    ]


def test_what_was_skipped_and_what_has_no_value_is_said(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = card(results.out).tasks
    labels, masks = (dict(tasks[name]) for name in ("classification", "segmentation"))
    labels["samples"] = labels["samples"] | {"skipped": 2}
    masks["data"] = masks["data"] | {"train": {"used": 9, "skipped": 3}}
    masks["metrics"] = {}
    both = {"classification": labels, "segmentation": masks}
    lines = printed(card(results.out, tasks=both), None, capsys)
    said = "skipped    images that can't be read: 2 of classification, 3 of segmentation; the card lists them"
    assert [said] in lines
    assert any(line[0] == "segmentation" and line[-3:] == ["mean_iou", "undefined", ""] for line in lines)


def test_what_a_task_has_to_say_is_said_with_its_name(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    shown = card(results.out)
    shown.tasks["segmentation"]["details"]["notes"] = ["All of it is background."]
    assert ["note       segmentation: All of it is background."] in printed(shown, None, capsys)


def test_heads_are_compared_with_models_trained_alone(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(results.masks), str(results.labels)]
    found = compare_alone(results.together, runs)
    assert list(found) == ["classification", "segmentation"]  # the model's order
    metrics = {"classification": "top1", "segmentation": "mean_iou"}
    for (app, row), run in zip(found.items(), (results.labels, results.masks), strict=True):
        alone, together = (Card.read(folder / "results.json") for folder in (run, results.out / app))
        assert (row["metric"], row["folder"]) == (metrics[app], str(run))
        assert row["images"] == together.samples["used"]
        assert row["alone"] == pytest.approx(alone.metrics[metrics[app]]["value"])
        assert row["together"] == pytest.approx(together.metrics[metrics[app]]["value"])
        assert row["difference"] == pytest.approx(row["together"] - row["alone"])
        assert row["low"] <= row["difference"] <= row["high"]
        assert 0 <= row["p_value"] <= 1
    both = card(results.out, alone=found)
    both.write(tmp_path / "results.json")  # plain values
    assert MultiTaskCard.read(tmp_path / "results.json").alone == found
    lines = printed(both, None, capsys)
    assert lines[2][-3:] == ["alone", "together - alone", "its 95% interval"]
    for app, row in found.items():
        ends = [f"{row['alone']:.4f}", f"{row['difference']:+.4f}", f"{row['low']:+.4f} to {row['high']:+.4f}"]
        assert any(line[0] == app and line[-3:] == ends for line in lines)


def test_some_heads_may_have_nothing_to_be_compared_with(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare_alone(results.together, []) == {}
    found = compare_alone(results.together, [str(results.out / "segmentation")])
    assert {name: row["difference"] for name, row in found.items()} == {"segmentation": 0}
    lines = printed(card(results.out, alone=found), None, capsys)
    assert any(line[0] == "classification" and line[-3:] == ["", "", ""] for line in lines)


def test_a_comparison_on_fewer_images_says_so(
    results: Results, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = Path(shutil.copytree(pictures, tmp_path / "fewer"))
    for picture in sorted(fewer.glob("val/*/*.png"))[::5]:
        picture.unlink()
    part = evaluate("classification", results.labels, fewer, tmp_path / "out" / "classification")
    found = compare_alone({"classification": part}, [str(results.labels)])
    assert (found["classification"]["images"], found["classification"]["difference"]) == (12, 0)
    lines = printed(card(tmp_path / "out", alone=found), None, capsys)
    assert ["note       classification, A alone and B together: A has 3 more images, which are left out."] in lines


def refused(runs: list[Path], tasks: dict[str, Path], message: str) -> None:
    """What only cards tell is refused before anything is computed, and by the comparison too."""
    with pytest.raises(UserError, match=message):
        check_alone([str(run) for run in runs], tasks)
    with pytest.raises(UserError, match=message):
        compare_alone(tasks, [str(run) for run in runs])


def test_what_cannot_be_compared_is_refused(results: Results, tmp_path: Path, pictures: Path) -> None:
    only = {"classification": results.out / "classification"}
    refused(
        [results.masks], only, r"-1' is of segmentation, which the model has no head of. It has: classification. Leave"
    )
    refused(
        [results.labels, results.masks, results.out / "classification"],
        results.together,
        r"classification-1' and '.*out/classification' are both of classification; a head is compared with one run: "
        r"leave out the other",
    )
    refused([tmp_path], only, r"holds no results.json: neither a finished run nor an evaluation with --output")
    refused([tmp_path / "nowhere"], only, r"There is no folder '.*nowhere'")
    refused([results.out], only, r"holds the results of several tasks; name the folder of one of them: .*out/class")
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copyfile(results.labels / "results.json", bare / "results.json")
    refused([bare], only, r"images.npz' is missing, so '.*bare' can't be compared")
    other = evaluate("classification", results.labels, pictures, tmp_path / "other", "--split", "train")
    assert check_alone([str(other)], only) == {"classification": other}  # what pictures say isn't read yet
    with pytest.raises(UserError, match=r"share no image: .* Evaluate both on the same split"):
        compare_alone(only, [str(other)])


def test_the_list_of_runs_has_a_row_a_task(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {row.path: row for row in list_runs(ListOptions(folder=str(results.out)))}
    assert set(rows) == {str(folder) for folder in results.together.values()}
    labels = rows[str(results.out / "classification")]
    figures = card(results.out).tasks["classification"]["metrics"]["top1"]
    assert (labels.task, labels.metric, labels.value) == ("classification", "top1", figures["value"])
    assert labels.state == "evaluated on val, one of 2 tasks"
    assert main(["runs", "list", str(results.out)]) == 0
    assert "evaluated on val, one of 2 tasks" in capsys.readouterr().out
    run = tmp_path / "run"
    run.mkdir()
    shutil.copyfile(results.labels / "config.yaml", run / "config.yaml")
    shutil.copyfile(results.out / "results.json", run / "results.json")
    assert {row.state for row in list_runs(ListOptions(folder=str(run)))} == {"finished, one of 2 tasks"}
    tasks = card(results.out).tasks
    tasks["classification"] |= {"metrics": {}}
    card(results.out, tasks=tasks).write(run / "results.json")
    values = {row.metric: row.value for row in list_runs(ListOptions(folder=str(run)))}
    assert values == {"top1": None, "mean_iou": tasks["segmentation"]["metrics"]["mean_iou"]["value"]}
    (run / "results.json").write_text('{"task": "multitask", "tasks": {"vqa": {}}}')
    (row,) = list_runs(ListOptions(folder=str(run)))
    assert row.state.startswith("broken: ")
    (run / "results.json").write_text('{"task": "multitask", "tasks": [{}]}')
    with pytest.raises(UserError, match=r"results.json' is damaged"):
        check_alone([str(run)], ["vqa"])


def test_an_unfinished_training_of_several_tasks_is_a_row(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (results.labels / "config.yaml").read_text().splitlines()
    config = [lines[0], "# trained by: onetrunk multitask", "epochs: 3", "weights: none", "data: {a: b}"]
    (tmp_path / "config.yaml").write_text("\n".join(config) + "\n")
    assert main(["runs", "list", str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["task"], row["state"], row["weights"]) == ("multitask", "not started", "none")
    assert main(["runs", "list", str(tmp_path)]) == 0


def test_commands_about_one_task_say_which_folders_to_name(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    out, labels = str(results.out), str(results.labels)
    for words in (["compare", out, labels], ["compare", labels, out]):
        assert main(["runs", *words]) == 2
        inner = ", ".join(map(str, results.together.values()))
        said = f"'{out}' holds the results of several tasks; name the folder of one of them: {inner}"
        assert said in capsys.readouterr().err
    assert main(["runs", "gain", out]) == 2
    said = "gain trains the recipe of a single one again. Weigh a head against a run that was trained alone:"
    assert f"{said} onetrunk runs compare RUN {results.out / 'classification'}" in capsys.readouterr().err
