"""The table of runs, in every state that a run can be in."""

import json
import os
import shutil
from pathlib import Path

import pytest
from onetrunk.apps.cli import main
from onetrunk.apps.runs import ListOptions, list_runs


@pytest.fixture
def folder(trained_run: Path, tmp_path: Path) -> Path:
    """Runs below each other: finished, in its third epoch, in its first, just begun, and broken in two ways."""
    root = tmp_path / "runs"
    names = ("finished", "third", "first", "begun", "bad-card", "bad-config")
    for name in names:
        shutil.copytree(trained_run, root / "classification" / name)
    for name in ("third", "first", "begun", "bad-config"):
        (root / "classification" / name / "results.json").unlink()
    third = root / "classification" / "third" / "log.csv"
    third.write_text("".join(third.read_text().splitlines(keepends=True)[:4]))
    for name in ("first", "begun"):
        (root / "classification" / name / "log.csv").unlink()
    shutil.rmtree(root / "classification" / "begun" / "checkpoints")
    (root / "classification" / "bad-card" / "results.json").write_text("{")
    config = root / "classification" / "bad-config" / "config.yaml"
    config.write_text(config.read_text().splitlines()[0] + "\nepochs: 6\n")
    (root / "notes").mkdir()
    (root / "notes" / "config.yaml").write_text("something: else\n")
    for age, name in enumerate(names):
        for file in (root / "classification" / name).rglob("*"):
            os.utime(file, (1_700_000_000 - age, 1_700_000_000 - age))
    return root


def test_each_run_says_how_far_it_got(folder: Path, trained_run: Path, pictures: Path) -> None:
    rows = {Path(row.path).name: row for row in list_runs(ListOptions(folder=str(folder)))}
    assert list(rows) == ["finished", "third", "first", "begun", "bad-card", "bad-config"]  # the newest first
    states = [rows[name].state for name in ("finished", "third", "first", "begun")]
    assert states == ["finished", "epoch 3 of 6", "epoch 0 of 6", "not started"]
    assert rows["bad-card"].state.startswith("broken: ")
    assert "results.json (JSONDecodeError: Expecting property name" in rows["bad-card"].state
    assert "config.yaml (KeyError: 'data')" in rows["bad-config"].state
    top1 = json.loads((trained_run / "results.json").read_text())["metrics"]["top1"]
    done = rows["finished"]
    assert (done.metric, done.value, done.low, done.high) == ("top1", top1["value"], top1["low"], top1["high"])
    for row in (done, rows["third"]):
        assert (row.task, row.data, row.trunk) == ("classification", str(pictures), "timm/test_resnet")
        assert (row.weights, row.frozen, row.tuned) == ("none", "none", "full")


def test_an_odd_folder_hides_no_other_one(folder: Path) -> None:
    runs = folder / "classification"
    (runs / "first" / "log.csv").write_text("")
    (runs / "begun" / "log.csv").write_text("epoch,step,train_loss\n")
    card = json.loads((runs / "finished" / "results.json").read_text())
    for name, odd in (("third", {"metrics": {}, "primary": ""}), ("bad-card", {"metrics": {}, "primary": "top1"})):
        (runs / name / "results.json").write_text(json.dumps(card | odd))
    rows = {Path(row.path).name: row for row in list_runs(ListOptions(folder=str(folder)))}
    assert (rows["first"].state, rows["begun"].state) == ("epoch 0 of 6", "not started")
    assert (rows["third"].state, rows["third"].metric, rows["third"].value) == ("finished", "", None)
    assert "results.json (KeyError: 'top1')" in rows["bad-card"].state
    assert rows["finished"].value is not None


def test_it_is_a_table_or_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "list", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "epoch 3 of 6" in shown
    assert "something" not in shown
    assert main(["runs", "list", str(folder), "--json"]) == 0
    assert [Path(row["path"]).name for row in json.loads(capsys.readouterr().out)][:2] == ["finished", "third"]


def test_several_seeds_are_a_row_beside_their_runs(trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "many" / "seed-0")
    card = json.loads((trained_run / "results.json").read_text())
    card["repeats"] = {"over": "seed", "numbers": [0], "folders": ["seed-0"], "metrics": {}}
    (tmp_path / "many" / "results.json").write_text(json.dumps(card))
    rows = {row.path: row.state for row in list_runs(ListOptions(folder=str(tmp_path)))}
    many = tmp_path / "many"
    assert rows == {str(many): "finished, 1 seeds", str(many / "seed-0"): "finished"}


def test_runs_is_where_it_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["runs", "list"]) == 2
    assert "There is no folder 'runs'. Name the one that holds runs" in capsys.readouterr().err
    (tmp_path / "runs").mkdir()
    assert main(["runs", "list"]) == 0
    assert "There is no run below 'runs'." in capsys.readouterr().out
