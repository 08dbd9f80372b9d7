"""One card over several seeds or folds, as a person gets it from the command line."""

import csv
import json
import shutil
from pathlib import Path
from statistics import mean, stdev

import pytest
from onetrunk.apps.cli import main
from onetrunk.apps.evaluated_images import read_images

TINY = (
    "--backbone timm/test_resnet --weights none --image-size 32 --batch-size 8 --workers 0 --device cpu --epochs 1 "
    "--learning-rate 0.01 --optim.trunk-factor 1"
).split()


def train(data: Path, run: Path, *more: str) -> int:
    return main(["classification", "train", "--data", str(data), "--output", str(run), *TINY, *more])


def card_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def seeds(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("repeated") / "seeds"
    assert train(pictures, run, "--seeds", "0", "3") == 0
    return run


@pytest.fixture(scope="module")
def folds(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("repeated") / "folds"
    assert train(pictures, run, "--folds", "3") == 0
    return run


def values_of(folders: list[Path], metric: str) -> list[float]:
    return [card_of(folder)["metrics"][metric]["value"] for folder in folders]


def test_seeds_give_means_and_spread(seeds: Path) -> None:
    card = card_of(seeds)
    assert (card["repeats"]["over"], card["repeats"]["numbers"]) == ("seed", [0, 3])
    for metric in ("top1", "macro_f1"):
        each = values_of([seeds / "seed-0", seeds / "seed-3"], metric)
        figures = card["metrics"][metric]
        assert figures["value"] == pytest.approx(mean(each))
        assert card["repeats"]["metrics"][metric] == {"spread": pytest.approx(stdev(each)), "values": each}
        assert figures["low"] <= figures["value"] <= figures["high"]
    assert card["samples"]["used"] == 15
    assert "seed-3" in card["repeats"]["folders"]
    assert card_of(seeds / "seed-3")["repeats"] == {}
    assert card["cost"]["seconds"] == sum(card_of(seeds / name)["cost"]["seconds"] for name in ("seed-0", "seed-3"))


def test_an_interval_of_seeds_is_as_careful_as_a_single_ones(seeds: Path) -> None:
    """The bootstrap of few images, all of them right or of a mean that no image moves, would be a point."""
    for metric in ("top1", "balanced_accuracy"):
        own = [card_of(seeds / name)["metrics"][metric] for name in ("seed-0", "seed-3")]
        figures = card_of(seeds)["metrics"][metric]
        assert figures["low"] == pytest.approx(mean(row["low"] for row in own))
        assert figures["high"] == pytest.approx(mean(row["high"] for row in own))


def test_a_seed_of_several_is_the_run_of_that_seed_alone(seeds: Path, pictures: Path, tmp_path: Path) -> None:
    assert train(pictures, tmp_path / "run", "--seed", "3") == 0
    assert card_of(tmp_path / "run")["metrics"] == card_of(seeds / "seed-3")["metrics"]
    alone, among = (folder / "model" / "model.safetensors" for folder in (tmp_path / "run", seeds / "seed-3"))
    assert alone.read_bytes() == among.read_bytes()


def test_folds_judge_each_image_once(folds: Path, pictures: Path) -> None:
    card, (images, _) = card_of(folds), read_images(folds / "images.npz")
    assert card["samples"]["used"] == len(images) == len(set(images.names)) == 48
    parts = [read_images(folds / f"fold-{n}" / "images.npz")[0] for n in (1, 2, 3)]
    assert images.names == tuple(name for part in parts for name in part.names)
    right = sum(int((part.rows["label"] == part.rows["top"][:, 0]).sum()) for part in parts)
    assert card["metrics"]["top1"]["value"] == pytest.approx(right / 48)
    assert card["repeats"]["metrics"]["top1"]["values"] == values_of([folds / f"fold-{n}" for n in (1, 2, 3)], "top1")
    assert sum(row["images"] for row in card["per_class"]) == 48
    with (folds / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["fold"] for row in rows] == ["1"] * 16 + ["2"] * 16 + ["3"] * 16
    assert sum(row["correct"] == "True" for row in rows) == right


def test_the_table_shows_each_run(folds: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(pictures, folds, "--folds", "3", "--resume") == 0
    table = capsys.readouterr().out.rpartition("48 images")[2]
    assert all(word in table for word in ("spread", "fold 1", "fold 2", "fold 3"))


def test_many_runs_are_shown_by_their_extremes(capsys: pytest.CaptureFixture[str], seeds: Path) -> None:
    from dataclasses import replace

    from onetrunk.apps.card import Card, print_card

    values = [0.5, 0.625, 0.75, 0.75, 0.75, 0.875]
    repeats = {"over": "seed", "numbers": list(range(6)), "metrics": {"top1": {"spread": 0.125, "values": values}}}
    print_card(replace(Card.read(seeds / "results.json"), repeats=repeats))
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("lowest", "0.5000", "highest", "0.8750"))
    assert "seed 5" not in shown


def test_resume_trains_only_what_isnt_finished(seeds: Path, pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(seeds, run)
    before = card_of(run)
    kept = (run / "seed-0" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    (run / "seed-3" / "results.json").unlink()
    (run / "results.json").unlink()
    assert train(pictures, run, "--seeds", "0", "3", "--resume") == 0
    assert card_of(run)["metrics"] == before["metrics"]
    assert (run / "seed-0" / "checkpoints" / "last.ckpt").stat().st_mtime_ns == kept


def test_overwrite_replaces_all_runs_once_the_first_has_begun(seeds: Path, pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(seeds, run)
    assert train(tmp_path / "missing", run, "--folds", "2", "--overwrite") == 2
    assert card_of(run) == card_of(seeds)  # nothing was written over
    assert train(pictures, run, "--folds", "2", "--overwrite") == 0
    assert sorted(entry.name for entry in run.iterdir() if entry.is_dir()) == ["fold-1", "fold-2"]
    assert card_of(run)["samples"]["used"] == 48


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--seeds", "0", "3"], r"already holds runs of several seeds. Go on: --resume. Replace them: --overwrite"),
        (["--folds", "3", "--resume"], r"holds seed-0, seed-3; it can't go on with --folds"),
        (["--seeds", "0", "3", "--resume", "--overwrite"], r"--resume and --overwrite exclude each other"),
        (["--seeds", "0", "3", "--resume", "--epochs", "2"], r"--epochs was 1 and is now 2"),
        ([], r"isn't empty and holds no run"),
    ],
)
def test_runs_are_not_mixed_up(
    seeds: Path, pictures: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures, seeds, *more) == 2
    assert message in capsys.readouterr().err


def test_other_things_are_left_alone(
    trained_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    assert train(pictures, tmp_path, "--seeds", "0", "--overwrite") == 2
    assert "isn't empty and holds no runs of seeds" in capsys.readouterr().err
    assert train(pictures, trained_run, "--folds", "2", "--overwrite") == 2
    assert "holds a single run, not those of several folds" in capsys.readouterr().err


def test_seeds_of_changed_data_get_no_card(
    seeds: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(seeds, run)
    images, evaluator = read_images(run / "seed-3" / "images.npz")
    images.select(range(14)).save(run / "seed-3" / "images.npz", evaluator)
    assert train(pictures, run, "--seeds", "0", "3", "--resume") == 2
    assert "The seeds were validated on different images" in capsys.readouterr().err


def test_runs_that_are_judged_unlike_get_no_card(
    seeds: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(seeds, run)
    images, evaluator = read_images(run / "seed-3" / "images.npz")
    evaluator.classes = ("blue", "green", "violet")
    images.save(run / "seed-3" / "images.npz", evaluator)
    assert train(pictures, run, "--seeds", "0", "3", "--resume") == 2
    assert "seed 3 is judged in another way than seed 0" in capsys.readouterr().err


def test_seeds_that_were_trained_on_other_data_get_no_card(
    seeds: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(seeds, tmp_path / "run"))
    card = card_of(run / "seed-0")
    card["data"]["train"]["fingerprint"] = "of more images"
    (run / "seed-0" / "results.json").write_text(json.dumps(card))
    (run / "results.json").unlink()
    assert train(pictures, run, "--seeds", "0", "3", "--resume") == 2
    assert "seed 3 was trained on other data than seed 0" in capsys.readouterr().err
    assert not (run / "results.json").exists()
