"""One pass over pictures writes for each task what the app's own command writes."""

import json
import shutil
from pathlib import Path

import pytest
from onetrunk.apps.cli import main
from onetrunk.apps.fast_trunk import FastTrunk
from onetrunk.apps.multitask import JoinOptions, PredictOptions, join, predict
from onetrunk.backbones import UserError
from torch import Tensor

from .conftest import APPS, Family, write_model

CPU = ["--workers", "0", "--device", "cpu", "--batch-size", "4"]
QUESTIONS = ["What colour is the disc?", "Is the disc red?"]
#: What tells the apps' own commands what the command for all is told.
OWN = {"detection": ["--threshold", "0.3"], "vqa": ["--question", *QUESTIONS]}


@pytest.fixture(scope="module")
def album(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures."""
    root = tmp_path_factory.mktemp("album")
    for colour in ("blue", "green", "red"):
        for index in (0, 1):
            shutil.copyfile(pictures / "val" / colour / f"{index:02}.png", root / f"{colour}-{index}.png")
    return root


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


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def use(model: Path, images: Path, *more: str) -> int:
    return main(["multitask", "predict", "--model", str(model), "--images", str(images), *CPU, *more])


def test_each_task_writes_what_its_own_command_writes(
    family: Family, album: Path, tmp_path: Path, passes: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert use(family.joined, album, "--output", str(out), "--threshold", "0.3", "--questions", *QUESTIONS) == 0
    assert passes == [4, 2]
    assert "6 images, seen once by the trunk for classification, segmentation" in capsys.readouterr().out
    for app, run in family.runs.items():
        words = ["--model", str(run), "--images", str(album), "--output", str(tmp_path / app), *OWN.get(app, []), *CPU]
        assert main([app, "predict", *words]) == 0
        assert files_of(out / app) == files_of(tmp_path / app), app
    joined = json.loads((out / "predictions.json").read_text())
    assert [row["image"] for row in joined] == sorted(str(path) for path in album.iterdir())
    assert all(list(row) == ["image", *APPS] for row in joined)
    for app in APPS:
        own = json.loads((out / app / "predictions.json").read_text())
        assert [{"image": row["image"], **row[app]} for row in joined] == own


def test_without_questions_nothing_is_answered(family: Family, album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert use(family.joined, album) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("vqa is left out: nothing is asked; with --questions")
    rows = [json.loads(line) for line in said[1:]]
    assert len(rows) == 6
    assert all(list(row) == ["image", *(app for app in APPS if app != "vqa")] for row in rows)
    assert all("mask" not in row["segmentation"] for row in rows)


def test_questions_need_a_head_that_answers(tmp_path: Path, album: Path) -> None:
    models = write_model(tmp_path / "labels"), write_model(tmp_path / "box", "localization")
    folder = join(JoinOptions(models=[str(model) for model in models], output=str(tmp_path / "joined")))
    with pytest.raises(
        UserError, match=r"can't answer --questions: it has heads of classification, localization, none"
    ):
        predict(PredictOptions(model=str(folder), images=[str(album)], questions=QUESTIONS))
    with pytest.raises(UserError, match="A question has no words"):
        PredictOptions(model=str(folder), images=[str(album)], questions=[" "])


def test_a_head_that_only_answers_needs_questions(family: Family, album: Path) -> None:
    with pytest.raises(UserError, match="The only head is one of vqa, and nothing is asked"):
        predict(PredictOptions(model=str(family.runs["vqa"]), images=[str(album)]))


def test_a_picture_that_cannot_be_read_is_named_once(
    family: Family, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(album, mixed)
    (mixed / "a-bad.png").write_bytes(b"no picture")
    assert use(family.joined, mixed, "--output", str(tmp_path / "out")) == 2
    assert "a-bad.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert use(family.joined, mixed, "--output", str(tmp_path / "out"), "--bad-data", "skip") == 0
    assert "6 images, seen once" in (said := capsys.readouterr().out)
    assert "1 more image can't be read" in said
    first, *others = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert set(first) == {"image", "error"}
    assert all("error" not in row for row in others)
    assert json.loads((tmp_path / "out" / "detection" / "predictions.json").read_text())[0] == first


def test_predictions_are_not_written_over_unasked(tmp_path: Path, album: Path) -> None:
    model = write_model(tmp_path / "labels")
    (tmp_path / "out" / "classification").mkdir(parents=True)
    with pytest.raises(UserError, match=r"out.classification: already there\. Write over it: --overwrite"):
        predict(PredictOptions(model=str(model), images=[str(album)], output=str(tmp_path / "out")))
    given = PredictOptions(
        model=str(model), images=[str(album)], output=str(tmp_path / "out"), overwrite=True, workers=0, device="cpu"
    )
    assert len(predict(given)) == 6
    assert set(files_of(tmp_path / "out")) == {
        "predictions.json",
        "classification/predictions.json",
        "classification/predictions.csv",
    }


@pytest.mark.parametrize("flag", ["--threshold", "--opacity"])
def test_shares_are_shares(flag: str, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert use(tmp_path, album, flag, "2") == 2
    assert f"{flag} takes 0 to 1, not 2.0" in capsys.readouterr().err
