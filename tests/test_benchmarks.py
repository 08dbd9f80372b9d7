"""The benchmarks start, share honest arithmetic, and one that fails doesn't take the others along. Nothing is timed."""

import ast
import csv
import importlib
import re
import runpy
import sys
from argparse import Namespace
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


def joint_model(kind: str, trunk: str = "timm/test_resnet"):
    torch.manual_seed(0)
    return load("multi_head").build_model(trunk, kind, 64)


def small(**given):
    return Namespace(**{"rounds": 1, "batch_size": 2, "image_size": 64, "trunks": "same", **given})


def test_five_heads_are_measured_beside_five_models_to_the_end_of_a_table(monkeypatch, capsys):
    words = "--backbones timm/test_resnet --heads light --rounds 1 --batch-size 2 --image-size 64".split()
    monkeypatch.setattr(sys, "argv", ["multi_head.py", *words])
    load("multi_head").main()
    said = capsys.readouterr().out
    assert "timm/test_resnet, light heads (linear, fcn32s, retinanet, lstm, product), 64 x 64, fp32 on the CPU" in said
    assert said.count("share of the ideal") == 2
    for how in ("raw outputs, without detections and texts", "to the end, with detections and texts"):
        assert f"forward of the heads: {how}" in said
    counted = re.search(r"counted +together [\d.]+, separate [\d.]+ MiB; ratio ([\d.]+), ideal ([\d.]+)", said)
    assert counted[1] == counted[2]
    assert float(counted[1]) > 1
    resident = re.search(r"resident +together ([\d.]+), separate ([\d.]+) MiB; ratio [\d.]+", said)
    assert 0 < float(resident[1]) < float(resident[2])


@pytest.mark.parametrize("trunks", ["same", "own"])
def test_every_pass_of_both_sides_is_timed(trunks):
    multi_head = load("multi_head")
    joint = joint_model("heavy")
    alone = multi_head.take_apart(joint, trunks)
    for model in (joint, *alone.values()):
        multi_head.stop_early(model, "raw")
    found = multi_head.measure_passes(joint, alone, small(trunks=trunks, rounds=2))
    expected = {"trunk", "together", "separate", *(f"head of {task}" for task in multi_head.TASKS)}
    assert found.keys() == expected | {f"trunk of {task}" for task in multi_head.TASKS if trunks == "own"}
    assert all(len(each) == 2 and min(each) > 0 for each in found.values())


def test_raw_heads_stop_before_detections_and_texts_and_dropout_stays_off():
    multi_head = load("multi_head")
    joint = joint_model("light")
    images, context = multi_head.random_batch(joint, 2, 64)
    found = {}
    for outputs in ("raw", "final"):
        multi_head.stop_early(joint, outputs)
        found[outputs] = joint(images, dict.fromkeys(joint.heads, context))
        assert not [
            part for head in joint.heads.values() for part in head.modules() if part is not head and part.training
        ]
    assert "answers" in found["raw"]["detection"]
    assert "detections" not in found["raw"]["detection"]
    assert found["raw"]["captioning"].keys() == {"cells"}
    assert len(found["final"]["detection"]["detections"]) == len(found["final"]["captioning"]["texts"]) == 2


def test_sides_that_say_something_else_are_not_compared():
    multi_head = load("multi_head")
    joint = joint_model("light")
    alone = multi_head.take_apart(joint, "same")
    with torch.no_grad():
        alone["vqa"].heads["vqa"].classifier[-1].bias[0] += 1
    with pytest.raises(SystemExit, match="vqa: together with other heads it says something else than alone"):
        multi_head.measure_passes(joint, alone, small())


def test_models_that_stand_alone_share_nothing_and_may_have_less_of_the_trunk():
    multi_head = load("multi_head")
    joint = joint_model("light")
    models = [joint, *multi_head.take_apart(joint, "same").values()]
    places = [parameter.data_ptr() for model in models for parameter in model.parameters()]
    assert len(set(places)) == len(places)
    assert len({multi_head.count_bytes(model.backbone) for model in models}) == 1
    part = multi_head.cut_trunk(joint.backbone, ["c3"]).eval()
    assert multi_head.count_bytes(part) < multi_head.count_bytes(joint.backbone)
    images, _ = multi_head.random_batch(joint, 2, 64)
    with torch.no_grad():
        assert torch.equal(part(images)["c3"], joint.features(images)["c3"])


def test_the_ideal_is_five_trunks_and_heads_over_one_trunk_and_heads():
    multi_head = load("multi_head")
    found = {"trunk": [10.0, 20.0], **{f"head of {task}": [1.0, 4.0] for task in multi_head.TASKS}}
    assert multi_head.ideal_ratios(found) == pytest.approx([55 / 15, 120 / 40])
    found |= {f"trunk of {task}": [6.0, 12.0] for task in multi_head.TASKS}
    assert multi_head.ideal_ratios(found) == pytest.approx([35 / 15, 80 / 40])


def test_memory_that_the_system_does_not_tell_is_not_made_up(monkeypatch, capsys):
    multi_head = load("multi_head")
    monkeypatch.setattr(multi_head, "resident", lambda: None)
    multi_head.print_resident("timm/test_resnet", "light", 64, "together")
    said = capsys.readouterr().out
    monkeypatch.setattr(multi_head, "run", lambda *words, threads: (0.0, said))
    multi_head.show_resident("timm/test_resnet", "light", small())
    assert "resident             not measured: this system has no /proc/self/statm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image-size", "100"], "--image-size 100: a multiple of 32, such as 224"),
        (["--rounds", "0"], "--rounds and --batch-size: at least 1"),
    ],
)
def test_sizes_that_cannot_be_measured_are_refused(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["multi_head.py", *words])
    with pytest.raises(SystemExit, match="2"):
        load("multi_head").main()
    assert message in capsys.readouterr().err
