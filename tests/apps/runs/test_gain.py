"""What a run owes to its weights and to fine-tuning, through the command line on tiny runs."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from onetrunk.apps.cli import main
from PIL import Image

TINY = (
    "--backbone timm/test_resnet --image-size 32 --batch-size 8 --workers 0 --device cpu --epochs 1 "
    "--learning-rate 0.01"
).split()


def train(data: Path, run: Path, *more: str) -> int:
    return main(["classification", "train", "--data", str(data), "--output", str(run), *TINY, *more])


def config_of(run: Path) -> dict:
    return yaml.safe_load((run / "config.yaml").read_text())


@pytest.fixture(scope="module")
def uncut(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures without splits, so that a run cuts its own."""
    root = tmp_path_factory.mktemp("uncut") / "data"
    shutil.copytree(pictures / "train", root)
    return root


@pytest.fixture(scope="module")
def tuned(uncut: Path, trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from the weights of another, a part of the trunk frozen, with a split of its own and its gain."""
    run = tmp_path_factory.mktemp("gain") / "tuned"
    assert train(uncut, run, "--weights", str(trained_run), "--freeze", "c2", "--optim.layer-decay", "0.8") == 0
    Image.effect_noise((48, 40), 60).convert("RGB").save(uncut / "red" / "new.png")  # a cut made now would be another
    assert main(["runs", "gain", str(run), "--workers", "0"]) == 0
    return run


def test_what_it_is_compared_with_differs_in_what_it_says(tuned: Path, trained_run: Path) -> None:
    own, random, probe = config_of(tuned), config_of(tuned / "gain" / "random"), config_of(tuned / "gain" / "probe")
    assert (random["weights"], random["freeze"], random["optim"]["trunk_factor"]) == ("none", "none", 1.0)
    assert random["optim"]["layer_decay"] == 1.0
    assert (probe["weights"], probe["freeze"]) == (str(trained_run), "all")
    for other in (random, probe):
        for key in ("data", "epochs", "seed", "learning_rate", "batch_size", "head", "augment", "split_seed"):
            assert other[key] == own[key], key
    for name in ("random", "probe"):
        assert (tuned / "gain" / name / "split.csv").read_bytes() == (tuned / "split.csv").read_bytes()


def test_its_figures_are_the_runs_own(tuned: Path) -> None:
    stored = json.loads((tuned / "gain" / "gain.json").read_text())
    assert [gain["against"] for gain in stored["gains"]] == ["random", "probe"]
    for gain in stored["gains"]:
        top1 = gain["comparison"]["metrics"]["top1"]
        cards = (tuned / "gain" / gain["against"] / "results.json", tuned / "results.json")
        values = [json.loads(card.read_text())["metrics"]["top1"]["value"] for card in cards]
        assert [top1["first"], top1["second"]] == values
        assert top1["difference"]["value"] == pytest.approx(values[1] - values[0])


def test_the_same_command_goes_on(tuned: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    (run / "gain" / "probe" / "results.json").unlink()
    before = (run / "gain" / "random" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert main(["runs", "gain", str(run), "--workers", "0"]) == 0
    assert (run / "gain" / "random" / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before
    shown = capsys.readouterr().out
    assert "pretraining brings " in shown
    assert "points of top1" in shown
    assert "fine-tuning against the probe " in shown
    assert "from random weights, all of the trunk trained at the head's rate" in shown
    assert "ece (lower is better)" in shown
    assert "┃ gain" not in shown  # of a metric of which less is better, more is none


def test_a_run_that_is_replaced_keeps_its_gain_until_that_is_too(
    tuned: Path, uncut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    weights = config_of(run)["weights"]
    assert train(uncut, run, "--weights", weights, "--seed", "5", "--overwrite") == 0
    assert (run / "gain" / "random" / "results.json").is_file()
    assert main(["runs", "gain", str(run), "--workers", "0"]) == 2
    error = capsys.readouterr().err
    assert "--seed was 0 and is now 5" in error
    assert f"Train it anew: onetrunk runs gain {run} --overwrite" in error
    assert "--output" not in error
    assert main(["runs", "gain", str(run), "--workers", "0", "--overwrite"]) == 0
    assert config_of(run / "gain" / "random")["seed"] == 5


def test_where_it_was_trained_matters_only_until_it_is(
    tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    assert main(["runs", "gain", str(run), "--device", "auto"]) == 0
    (run / "gain" / "probe" / "results.json").unlink()
    assert main(["runs", "gain", str(run), "--device", "auto"]) == 2
    error = capsys.readouterr().err
    assert "--device was cpu and is now auto" in error
    assert f"leave out --device. Or train it anew: onetrunk runs gain {run} --overwrite" in error


def test_what_was_trained_on_other_data_is_no_comparison(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = Path(shutil.copytree(pictures, tmp_path / "data")), tmp_path / "run"
    assert train(data, run, "--weights", "none") == 0
    for number in range(6):
        (data / "train" / "red" / f"{number:02}.png").unlink()
    for _ in range(2):  # just trained, and found there
        assert main(["runs", "gain", str(run)]) == 2
        error = capsys.readouterr().err
        assert f"probe' was trained on other data than '{run}'" in error
        assert f"onetrunk runs gain {run} --overwrite" in error
    assert not (run / "gain" / "gain.json").exists()


def test_a_folder_that_holds_only_a_gain_is_free_for_a_run(tuned: Path, uncut: Path, tmp_path: Path) -> None:
    shutil.copytree(tuned / "gain", tmp_path / "run" / "gain")
    assert train(uncut, tmp_path / "run", "--weights", "none") == 0
    assert (tmp_path / "run" / "gain" / "gain.json").is_file()


@pytest.mark.parametrize(
    ("more", "expected"),
    [(["--weights", "none"], ["probe"]), (["--weights", "RUN", "--freeze", "all"], ["random"])],
    ids=["random weights", "probe"],
)
def test_only_what_makes_sense_is_trained(
    more: list[str], expected: list[str], pictures: Path, trained_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train(pictures, run, *[str(trained_run) if word == "RUN" else word for word in more]) == 0
    assert main(["runs", "gain", str(run), "--device", "cpu", "--workers", "0"]) == 0
    stored = json.loads((run / "gain" / "gain.json").read_text())
    assert [gain["against"] for gain in stored["gains"]] == expected
    assert sorted(entry.name for entry in (run / "gain").iterdir() if entry.is_dir()) == expected


def test_what_has_no_gain_is_refused(
    pictures: Path, tmp_path: Path, trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures, tmp_path / "run", "--weights", "none", "--freeze", "all") == 0
    assert main(["runs", "gain", str(tmp_path / "run")]) == 2
    assert (
        "is a probe of random weights: there is no pretraining and no fine-tuning to weigh" in capsys.readouterr().err
    )
    assert not (tmp_path / "run" / "gain").exists()
    card = json.loads((trained_run / "results.json").read_text())
    card["repeats"] = {"over": "seed", "numbers": [0], "folders": ["seed-0"], "metrics": {}}
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds" / "results.json").write_text(json.dumps(card))
    assert main(["runs", "gain", str(tmp_path / "seeds")]) == 2
    assert f"there is no recipe to train again. Ask of one of them: {tmp_path / 'seeds' / 'seed-0'}" in (
        capsys.readouterr().err
    )
