"""A grid of rates and decays, and the folder of its best run, as a person gets them from the command line."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from onetrunk.apps import load_model
from onetrunk.apps.cli import main
from onetrunk.apps.config import SweepOptions, TrainingOptions
from onetrunk.apps.sweep import list_candidates
from onetrunk.apps.task import Task
from onetrunk.backbones.errors import UserError

TINY = (
    "--backbone timm/test_resnet --weights none --image-size 32 --batch-size 8 --workers 0 --device cpu --epochs 1 "
    "--optim.trunk-factor 1"
).split()
RATES = ["--sweep.learning-rates", "1e-6", "0.02"]
GRID = [*RATES, "--sweep.weight-decays", "0", "0.05"]
VALUES = [(1e-6, 0.0), (1e-6, 0.05), (0.02, 0.0), (0.02, 0.05)]
TOO_HIGH = "1e12"


def train(data: Path, run: Path, *more: str) -> int:
    return main(["classification", "train", "--data", str(data), "--output", str(run), *TINY, *more])


def card_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def set_top1(folder: Path, value: float) -> None:
    card = card_of(folder)
    card["metrics"]["top1"]["value"] = value
    (folder / "results.json").write_text(json.dumps(card))


def written_at(folder: Path) -> dict[str, int]:
    return {run.name: (run / "config.yaml").stat().st_mtime_ns for run in folder.glob("sweep-*")}


@pytest.fixture(scope="module")
def swept(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("swept") / "run"
    assert train(pictures, run, *GRID) == 0
    return run


@pytest.fixture
def sweep(swept: Path, tmp_path: Path) -> Path:
    """A copy to write to."""
    return Path(shutil.copytree(swept, tmp_path / "run"))


def test_each_combination_is_a_run_of_its_own(swept: Path) -> None:
    for number, values in enumerate(VALUES, start=1):
        config = yaml.safe_load((swept / f"sweep-{number}" / "config.yaml").read_text())
        assert (config["learning_rate"], config["optim"]["weight_decay"]) == values
        assert config["sweep"] == {"learning_rates": None, "weight_decays": None}
        assert card_of(swept / f"sweep-{number}")["sweep"] == {}


def test_the_card_is_the_best_ones_and_says_how_it_was_chosen(swept: Path) -> None:
    card = card_of(swept)
    section = card.pop("sweep")
    each = [card_of(swept / f"sweep-{number}") for number in (1, 2, 3, 4)]
    values = [one["metrics"]["top1"]["value"] for one in each]
    place = values.index(max(values))
    assert values[place] > values[0], "the test would prove nothing"
    assert (section["metric"], section["best"]) == ("top1", f"sweep-{place + 1}")
    assert section["seconds"] == pytest.approx(sum(one["cost"]["seconds"] for one in each))
    for number, (row, one, (rate, decay)) in enumerate(zip(section["candidates"], each, VALUES, strict=True), start=1):
        expected = {"folder": f"sweep-{number}", "learning_rate": rate, "weight_decay": decay, "epochs": 1}
        assert row == {**expected, **one["metrics"]["top1"]}
    assert card["selected_on"] == card["split"] == "val"
    note = card["details"].pop("notes")[-1]
    assert note.startswith("the best of 4 candidates by top1, chosen on these very images: the figures flatter it")
    assert {**card, "sweep": {}} == each[place]


def test_the_folder_is_that_of_a_finished_run(swept: Path, pictures: Path, tmp_path: Path) -> None:
    best = swept / card_of(swept)["sweep"]["best"]
    names = ["images.npz", "predictions.csv", "predictions.json", "model/model.json", "model/model.safetensors"]
    assert [(swept / name).read_bytes() for name in names] == [(best / name).read_bytes() for name in names]
    assert load_model(swept).description["task"] == "classification"
    words = ["--model", str(swept), "--workers", "0", "--device", "cpu"]
    assert main(["classification", "evaluate", "--data", str(pictures), "--output", str(tmp_path / "out"), *words]) == 0
    assert card_of(tmp_path / "out")["metrics"]["top1"] == card_of(swept)["metrics"]["top1"]
    assert card_of(tmp_path / "out")["sweep"] == {}
    picture = str(next(pictures.rglob("*.png")))
    labels = ["classification", "predict", "--images", picture, "--output", str(tmp_path / "labels"), *words]
    assert main(labels) == 0
    assert (tmp_path / "labels" / "predictions.csv").is_file()


def test_runs_knows_what_it_is(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = card_of(swept)["sweep"]["best"]
    assert main(["runs", "list", str(swept), "--json"]) == 0
    rows = {row["path"]: row for row in json.loads(capsys.readouterr().out)}
    assert len(rows) == 5
    assert rows[str(swept)]["state"] == f"finished, the best of 4: {best}"
    assert rows[str(swept)]["value"] == rows[str(swept / best)]["value"]
    assert main(["runs", "compare", str(swept / "sweep-1"), str(swept)]) == 0
    assert "B is the best of 4 candidates on these very images, which flatters it." in capsys.readouterr().out
    assert main(["runs", "gain", str(swept)]) == 2
    assert f"Ask of the best one: {swept / best}" in capsys.readouterr().err


def test_resume_trains_nothing_again_and_shows_the_table(
    swept: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, card = written_at(swept), card_of(swept)
    assert train(pictures, swept, *GRID, "--resume") == 0
    assert written_at(swept) == before
    assert card_of(swept) == card
    lines = capsys.readouterr().out.splitlines()
    assert any("candidate 2 (2 of 4), learning rate 1e-06, weight decay 0.05: " in line for line in lines)
    table = [line.split() for line in lines if " sweep-" in line]
    assert len(table) == 4
    (best,) = [row for row in table if "best" in row]
    assert card["sweep"]["best"] in best
    assert f"{card['metrics']['top1']['value']:.4f}" in best


def test_the_first_of_equals_is_the_best_and_another_one_takes_its_place(sweep: Path, pictures: Path) -> None:
    for number in (1, 2, 3, 4):
        set_top1(sweep / f"sweep-{number}", 0.5 if number == 1 else 0.625)
    assert train(pictures, sweep, *GRID, "--resume") == 0
    assert card_of(sweep)["sweep"]["best"] == "sweep-2"
    model = Path("model") / "model.safetensors"
    assert (sweep / model).read_bytes() == (sweep / "sweep-2" / model).read_bytes()
    assert (sweep / "images.npz").read_bytes() == (sweep / "sweep-2" / "images.npz").read_bytes()


def test_a_rate_that_diverges_ends_nothing(
    sweep: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, card = written_at(sweep), card_of(sweep)
    words = [*RATES, TOO_HIGH, *GRID[len(RATES) :]]
    assert train(pictures, sweep, *words, "--resume") == 0
    shown = capsys.readouterr().out
    assert "The training diverged in epoch 1" in shown
    assert sum(" diverged " in line for line in shown.splitlines() if " sweep-" in line) == 2
    assert {name: when for name, when in written_at(sweep).items() if name in before} == before
    section = card_of(sweep)["sweep"]
    assert section["candidates"][:4] == card["sweep"]["candidates"]
    assert section["best"] == card["sweep"]["best"]
    lost = {"learning_rate": 1e12, "value": None, "low": None, "high": None, "epochs": None}
    assert section["candidates"][4:] == [
        {"folder": "sweep-5", "weight_decay": 0.0, **lost},
        {"folder": "sweep-6", "weight_decay": 0.05, **lost},
    ]


def test_where_all_diverge_there_is_no_best(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(pictures, tmp_path / "run", "--sweep.learning-rates", TOO_HIGH, "1e13") == 2
    error = capsys.readouterr().err
    assert f"None of the 2 candidates in '{tmp_path / 'run'}' came out with a figure to choose by" in error
    assert "try smaller --sweep.learning-rates, or --fit.clip-norm 1" in error
    assert not (tmp_path / "run" / "results.json").exists()


def test_another_error_ends_it(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Task, *arguments: object) -> None:
        raise UserError("the disk is full")

    monkeypatch.setattr(Task, "training_step", fail)
    assert train(pictures, tmp_path / "run", *RATES) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert not (tmp_path / "run" / "sweep-2").exists()


def test_a_signal_leaves_what_is_finished_and_resume_goes_on(
    swept: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, right, steps = tmp_path / "run", Task.training_step, 0

    def stop_in_the_second(self: Task, *arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return right(self, *arguments)

    words = ["--sweep.learning-rates", "1e-6", "0.02", "--optim.weight-decay", "0"]
    with monkeypatch.context() as patched:
        patched.setattr(Task, "training_step", stop_in_the_second)
        assert train(pictures, run, *words) == 143
    assert "Go on with the same command and --resume" in capsys.readouterr().err
    assert card_of(run / "sweep-1")["metrics"] == card_of(swept / "sweep-1")["metrics"]
    assert not (run / "results.json").exists()
    assert main(["classification", "evaluate", "--model", str(run), "--data", str(pictures)]) == 2
    assert f"It is a folder of several runs: name one of them, such as {run / 'sweep-1'}" in capsys.readouterr().err
    before = written_at(run)["sweep-1"]
    assert train(pictures, run, *words, "--resume") == 0
    assert written_at(run)["sweep-1"] == before
    model = Path("model") / "model.safetensors"
    assert (run / "sweep-2" / model).read_bytes() == (swept / "sweep-3" / model).read_bytes()


def test_overwrite_replaces_all_of_it(sweep: Path, pictures: Path) -> None:
    assert train(pictures, sweep, "--sweep.weight-decays", "0.1", "--overwrite") == 0
    assert sorted(entry.name for entry in sweep.iterdir() if entry.is_dir()) == ["model", "sweep-1"]
    (only,) = card_of(sweep)["sweep"]["candidates"]
    assert not any(note.startswith("the best of") for note in card_of(sweep)["details"].get("notes", [])), "no choice"
    assert (only["learning_rate"], only["weight_decay"]) == (1e-3, 0.1)
    assert train(pictures, sweep, "--seeds", "0", "--overwrite") == 0
    assert sorted(entry.name for entry in sweep.iterdir()) == ["results.json", "seed-0"]


def test_candidates_share_what_a_frozen_trunk_computes(pictures: Path, tmp_path: Path) -> None:
    words = ["--freeze", "all", "--cache", "on", "--cache-views", "1"]
    assert train(pictures, tmp_path / "run", *RATES, *words) == 0
    assert not (tmp_path / "run" / "features").exists()
    configs = [yaml.safe_load((tmp_path / "run" / name / "config.yaml").read_text()) for name in ("sweep-1", "sweep-2")]
    assert {config["cache_folder"] for config in configs} == {str(tmp_path / "run" / "features")}
    kept = tmp_path / "kept"
    assert train(pictures, tmp_path / "other", *RATES, *words, "--cache-folder", str(kept)) == 0
    stores = {store.name for store in kept.iterdir() if store.is_dir()}
    assert {name.partition("-")[0] for name in stores} == {"train", "val"}
    assert len(stores) == 2, "one of each split for both candidates"
    best = Path("model") / "model.safetensors"
    assert (tmp_path / "other" / best).read_bytes() == (tmp_path / "run" / best).read_bytes()


def test_gain_trains_from_a_candidates_recipe_without_its_features(
    trained_run: Path, pictures: Path, tmp_path: Path
) -> None:
    run, one = tmp_path / "run", tmp_path / "run" / "sweep-1"
    words = ["--weights", str(trained_run), "--freeze", "all", "--cache", "on", "--cache-views", "1"]
    assert train(pictures, run, "--sweep.learning-rates", "0.02", *words) == 0
    assert main(["runs", "gain", str(one)]) == 0
    config = yaml.safe_load((one / "gain" / "random" / "config.yaml").read_text())
    assert (config["cache"], config["cache_folder"]) == ("off", None)  # nothing is frozen
    assert not (run / "features").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (GRID, r"already holds runs of several candidates. Go on: --resume. Replace them: --overwrite"),
        ([*RATES, "--resume"], r"--optim.weight-decay was 0.0 and is now 0.05"),
        ([*RATES, "--seed", "1", "--resume"], r"--seed was 0 and is now 1"),
        (["--seeds", "0", "--resume"], r"holds sweep-1, sweep-2, sweep-3, sweep-4; it can't go on with --seeds"),
        ([*GRID, "--resume", "--overwrite"], r"--resume and --overwrite exclude each other"),
        ([], r"isn't empty and holds no run"),
    ],
)
def test_runs_are_not_mixed_up(
    swept: Path, pictures: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = written_at(swept)
    assert train(pictures, swept, *more) == 2
    assert message in capsys.readouterr().err
    assert written_at(swept) == before


def test_other_things_are_left_alone(
    trained_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures, trained_run, *RATES, "--overwrite") == 2
    assert "holds a single run, not those of several candidates" in capsys.readouterr().err
    for name in ("model", "features"):  # somebody's own
        (tmp_path / name / name).mkdir(parents=True)
        assert train(pictures, tmp_path / name, *RATES, "--overwrite") == 2
        assert "isn't empty and holds no runs of candidates" in capsys.readouterr().err


def test_candidates_of_changed_data_get_no_card(
    sweep: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = card_of(sweep / "sweep-1")
    card["data"]["train"]["fingerprint"] = "of more images"
    (sweep / "sweep-1" / "results.json").write_text(json.dumps(card))
    assert train(pictures, sweep, *GRID, "--resume") == 2
    error = capsys.readouterr().err
    assert "candidate 2 was trained on other data than candidate 1" in error
    assert "Train all candidates again: --overwrite" in error


@pytest.mark.parametrize("more", [["--seeds", "0", "1"], ["--folds", "3"], ["--folds", "3", "--fold", "1"]])
def test_seeds_and_folds_come_after_it(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classification", "train", "--data", "nowhere", *RATES, *more]) == 2
    assert "--sweep excludes --seeds and --folds: find the best values with one --seed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("learning_rates", []),
        ("learning_rates", [0.1, 0.01, 0.1]),
        ("weight_decays", [0.0, -0.1]),
        ("weight_decays", [float("inf")]),
        ("learning_rates", [float("nan")]),
    ],
)
def test_values_that_mean_nothing_are_refused(name: str, values: list[float]) -> None:
    with pytest.raises(UserError, match=rf"--sweep\.{name.replace('_', '-')} takes different numbers of 0 or more"):
        SweepOptions(**{name: values})


def test_more_than_anybody_waits_for_is_refused() -> None:
    many = [0.1 * number for number in range(1, 12)]
    SweepOptions(learning_rates=many[:10], weight_decays=many[:10])
    with pytest.raises(UserError, match=r"give 110 combinations, each of which is trained; 100 are allowed"):
        SweepOptions(learning_rates=many, weight_decays=many[:10])


def test_a_list_alone_leaves_the_other_value_as_it_is() -> None:
    options = TrainingOptions(data="d", learning_rate=0.25, sweep=SweepOptions(weight_decays=[0.5, 0.0]))
    tried = list(list_candidates(options))
    assert [(each.learning_rate, each.optim.weight_decay) for each in tried] == [(0.25, 0.5), (0.25, 0.0)]
    options = TrainingOptions(data="d", sweep=SweepOptions(learning_rates=[0.5]))
    assert [(each.learning_rate, each.optim.weight_decay) for each in list_candidates(options)] == [(0.5, 0.05)]


def test_a_configuration_file_may_hold_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "sweep.yaml"
    config.write_text("sweep:\n  learning_rates: [1e-2, 1.0e-3]\n  weight_decays: [0, 0.05]\n")
    assert main(["classification", "train", "--config", str(config), "--data", "nowhere", "--seeds", "0"]) == 2
    assert "--sweep excludes" in capsys.readouterr().err


@pytest.mark.parametrize("app", ["captioning", "classification", "detection", "localization", "segmentation", "vqa"])
def test_every_app_that_trains_has_it(app: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing, run = str(tmp_path / "missing"), tmp_path / "run"
    assert main([app, "train", "--data", missing, "--output", str(run), *TINY, *RATES]) == 2
    shown = capsys.readouterr()
    assert f"candidate 1 (1 of 2), learning rate 1e-06, weight decay 0.05: {run / 'sweep-1'}" in shown.out
    assert missing in shown.err
