"""The benchmarks start, share honest arithmetic, and one that fails doesn't take the others along. Nothing is timed."""

import ast
import csv
import importlib
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from onetrunk.datasets import open_dataset

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FILES = sorted(BENCHMARKS.glob("*.py"))
SHARED = {"random_weights", "scenes", "turns"}  # what the scripts import


@pytest.fixture(autouse=True)
def beside_the_scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("path", [path for path in FILES if path.stem not in SHARED], ids=lambda path: path.stem)
def test_every_script_answers_help(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert said.startswith(f"usage: {path.name}")
    claim = ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]
    assert " ".join(claim.split()) in " ".join(said.split())


def test_make_bench_runs_what_there_is():
    scripts = load("run_all").SCRIPTS
    assert set(scripts) <= {path.stem for path in FILES}
    contributing = (BENCHMARKS.parent / "CONTRIBUTING.md").read_text()
    assert not [name for name in scripts if f"`{name}.py`" not in contributing]


def test_one_failing_script_is_reported_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    run_all = load("run_all")
    (tmp_path / "bad.py").write_text("import sys\nprint('begun')\nsys.exit('no such pictures')\n")
    (tmp_path / "good.py").write_text("import sys\nprint('ratio', sys.argv[1])\n")
    monkeypatch.setattr(run_all, "HERE", tmp_path)
    monkeypatch.setattr(run_all, "SCRIPTS", {"bad": ("",), "good": ("4.2", "7")})
    results = tmp_path / "RESULTS.md"
    monkeypatch.setattr(sys, "argv", ["run_all.py", "--output", str(results)])
    assert run_all.main() == 1
    assert "failed: bad; the file says why" in capsys.readouterr().err
    text = results.read_text()
    assert "- CPU: " in text
    assert "bf16 instructions: " in text
    assert "begun\nFAILED with exit code 1:\nno such pictures" in text
    assert "## good\n\n`python benchmarks/good.py 4.2`" in text
    assert "```\nratio 4.2\n```" in text
    assert "```\nratio 7\n```" in text  # each of a script's sizes has its section

    monkeypatch.setattr(sys, "argv", ["run_all.py", "--only", "good", "--output", str(results)])
    assert run_all.main() == 0
    assert "FAILED" not in results.read_text()


def test_both_sides_take_turns_and_each_round_has_its_own_ratio():
    turns = load("turns")
    order: list[str] = []
    found = turns.take_turns(3, {name: lambda name=name: order.append(name) or len(order) for name in ("a", "b")})
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [1, 4, 5], "b": [2, 3, 6]}
    # the second round was disturbed, both of its sides
    assert str(turns.ratio([4.0, 40.0, 5.0], [1.0, 8.0, 1.0])) == "5.00 (from 4.00 to 5.00)"


def test_both_sides_get_the_same_threads():
    _, said = load("turns").run(sys.executable, "-c", "import torch; print(torch.get_num_threads())", threads=1)
    assert said.strip() == "1"


def test_a_side_that_fails_says_why():
    with pytest.raises(SystemExit, match=r"(?s)ended with exit code 1.*ZeroDivisionError: division by zero"):
        load("turns").run(sys.executable, "-c", "1 / 0", threads=1)


def test_the_rate_of_training_steps_leaves_out_start_up_and_validation():
    tuned = load("finetune_torchvision").Tuned
    # two epochs of three steps a second apart; an hour of validation between them
    found = tuned([5.0, 9.0, 13.0, 3613.0, 3614.0, 3615.0], [13.0, 3602.0], hits=1, images=2)
    assert found.rate(4, 12) == pytest.approx(8 / 2)


def test_generated_pictures_open_as_the_data_of_every_app(tmp_path):
    scenes = load("scenes")
    scenes.write_scenes(tmp_path / "one", {"train": 4, "val": 3}, size=(64, 48))
    kinds = {
        "classification": "labels",
        "segmentation": "masks",
        "detection": "objects",
        "captioning": "captions",
        "vqa": "questions",
    }
    for app, kind in kinds.items():
        path = scenes.data_path(tmp_path / "one", app)
        assert [len(open_dataset(path, split, kind=kind)) for split in ("train", "val")] == [4, 3], app
    assert open_dataset(tmp_path / "one" / "pictures", "train", kind="labels").classes == scenes.SHAPES

    scenes.write_scenes(tmp_path / "two", {"train": 4, "val": 3}, size=(64, 48))
    for path in sorted((tmp_path / "one").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_the_class_of_a_picture_is_the_shape_of_its_largest_thing(tmp_path):
    scenes = load("scenes")
    scenes.write_scenes(tmp_path, {"train": 9}, size=(64, 48))
    areas: dict[str, list[tuple[int, str]]] = {}
    with (tmp_path / "detection.csv").open() as stream:
        for row in csv.DictReader(stream):
            area = (int(row["xmax"]) - int(row["xmin"])) * (int(row["ymax"]) - int(row["ymin"]))
            areas.setdefault(row["path"], []).append((area, row["label"]))
    assert len(areas) == 9
    assert all(Path(path).parent.name == max(found)[1] for path, found in areas.items())


def test_vgg_goes_over_to_timms_names():
    state = {
        "features.0.bias": torch.zeros(64),
        "classifier.0.weight": torch.arange(2 * 25088.0).reshape(2, 25088),
        "classifier.0.bias": torch.zeros(2),
        "classifier.3.weight": torch.ones(3, 4096),
        "classifier.3.bias": torch.ones(3),
    }
    moved = load("features_timm").to_timm("vgg16", state)
    assert moved["pre_logits.fc1.weight"].shape == (2, 512, 7, 7)
    assert moved["pre_logits.fc2.weight"].shape == (3, 4096, 1, 1)
    assert torch.equal(moved["pre_logits.fc1.weight"].flatten(1), state["classifier.0.weight"])
    names = ["features.0.bias", "pre_logits.fc1.bias", "pre_logits.fc1.weight", "pre_logits.fc2.bias"]
    assert sorted(moved) == [*names, "pre_logits.fc2.weight"]
    assert load("features_timm").to_timm("resnet18", state) is state
