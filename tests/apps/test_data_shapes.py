"""``onetrunk data shapes`` as a person sees it, and the rules of replacing that it shares with ``data digits``."""

import json
from pathlib import Path

import pytest
from onetrunk import datasets
from onetrunk.apps.cli import main

Captured = pytest.CaptureFixture[str]
SMALL = ["--images", "10", "--size", "64"]


def _command(folder: Path, *more: str, what: str = "shapes") -> list[str]:
    return ["data", what, "--output", str(folder), *more]


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_shapes_are_written_once(tmp_path: Path, capsys: Captured) -> None:
    folder = tmp_path / "new" / "shapes"
    assert main(_command(folder, *SMALL)) == 0
    assert capsys.readouterr().out == f"{folder}: 7 train, 2 val, 1 test images\n"
    content = json.loads((folder / "annotations" / "superset_train.json").read_text())
    assert set(content) == {"images", "categories", "annotations", "captions", "qa", "labels"}
    assert [path.name for path in folder.parent.iterdir()] == ["shapes"]
    before = _files(folder)
    assert main(_command(folder, *SMALL, "--seed", "1")) == 2
    assert f"'{folder}' already exists. Replace it: --overwrite." in capsys.readouterr().err
    assert _files(folder) == before
    assert main(_command(folder, *SMALL, "--seed", "1", "--overwrite")) == 0
    after = _files(folder)
    assert before.keys() == after.keys()
    assert before != after


@pytest.mark.parametrize("what", ["shapes", "digits"])
def test_overwriting_spares_other_folders(tmp_path: Path, capsys: Captured, what: str) -> None:
    mine = tmp_path / "images" / "a.png"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert main(_command(tmp_path, "--overwrite", what=what)) == 2
    assert "already exists. It doesn't hold what this command wrote, so it stays." in capsys.readouterr().err
    assert _files(tmp_path) == {"images/a.png": b"mine"}


def test_digits_are_no_shapes_that_may_be_overwritten(tmp_path: Path, capsys: Captured) -> None:
    assert main(_command(tmp_path / "data", "--size", "8", what="digits")) == 0
    assert main(_command(tmp_path / "data", *SMALL, "--overwrite")) == 2
    assert "It doesn't hold what this command wrote, so it stays" in capsys.readouterr().err


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "shapes").mkdir()
    assert main(_command(tmp_path / "shapes", *SMALL)) == 0
    assert (tmp_path / "shapes" / "images" / "train" / "000001.jpg").is_file()


@pytest.mark.parametrize("given", [".", "../here"])
def test_the_current_folder_is_filled_and_stays_itself(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    itself = here.stat().st_ino
    assert main(_command(Path(given), *SMALL)) == 0
    assert capsys.readouterr().out == f"{given}: 7 train, 2 val, 1 test images\n"
    before = _files(here)
    assert before.keys() >= {".onetrunk-shapes", "images/train/000001.jpg"}
    assert main(_command(Path(given), *SMALL, "--seed", "1")) == 2
    assert _files(here) == before
    assert main(_command(Path(given), *SMALL, "--seed", "1", "--overwrite")) == 0
    after = _files(Path.cwd())
    assert after.keys() == before.keys()
    assert after != before
    assert here.stat().st_ino == itself
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_mounted_folder_is_answered_with_what_to_do(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my disk").mkdir()

    def rename(path: Path, target: Path) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "rename", rename)
    assert main(_command(tmp_path / "my disk", *SMALL)) == 2
    said = "Device or resource busy. If a disk is mounted there, choose a new folder in it: --output "
    assert f"{said}'{tmp_path / 'my disk' / 'shapes'}'." in capsys.readouterr().err
    assert not list((tmp_path / "my disk").iterdir())


@pytest.mark.parametrize("size", [0, -3, 1025])
def test_digits_of_no_size_are_one_line_and_leave_nothing(tmp_path: Path, capsys: Captured, size: int) -> None:
    assert main(_command(tmp_path / "digits", "--size", str(size), what="digits")) == 2
    said = f"onetrunk: Digits of {size} x {size} pixels can't be written: choose a size from 1 to 1,024.\n"
    assert capsys.readouterr().err == said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "0"], "write 10 or more"),
        (["--images", "-4"], "write 10 or more"),
        (["--size", "0"], "choose a size from 64 to 1,024"),
        (["--size", "-64"], "choose a size from 64 to 1,024"),
        (["--images", "9"], "write 10 or more"),
        (["--size", "32"], "choose a size from 64 to 1,024"),
        (["--seed", "-1"], "choose a whole number, 0 or more"),
    ],
)
def test_bad_numbers_are_one_line_and_leave_nothing(
    tmp_path: Path, capsys: Captured, words: list[str], message: str
) -> None:
    assert main(_command(tmp_path / "new" / "shapes", *words)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_no_room_leaves_the_former_scenes(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(_command(tmp_path / "shapes", *SMALL)) == 0
    before = _files(tmp_path)

    def fail(folder: Path, **numbers: int) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets, "write_shapes", fail)
    assert main(_command(tmp_path / "shapes", *SMALL, "--overwrite")) == 2
    assert "can't be written: No space left on device. Make room, or choose another" in capsys.readouterr().err
    assert _files(tmp_path) == before
    assert main(_command(tmp_path / "new" / "other" / "shapes", *SMALL)) == 2
    assert _files(tmp_path) == before
    assert not (tmp_path / "new").exists()


def test_a_folder_below_a_file_is_refused(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "file").touch()
    assert main(_command(tmp_path / "file" / "shapes", *SMALL)) == 2
    assert "can't be written: " in capsys.readouterr().err
