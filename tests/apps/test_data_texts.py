"""What a person sees of a check of captions and questions."""

import json
from pathlib import Path

import pytest
from onetrunk.apps.cli import main

Captured = pytest.CaptureFixture[str]


def check(data: Path, *words: str) -> int:
    return main(["data", "check", "--data", str(data), *words])


def _row(printed: str, name: str) -> list[str]:
    (line,) = [line for line in printed.splitlines() if line.strip("│ ").startswith(f"{name}  ")]
    return line.split("│")[2:-1]


def test_captions_are_found_and_counted(caption_table: Path, tmp_path: Path, capsys: Captured) -> None:
    assert check(caption_table, "--output", str(tmp_path / "report.json")) == 0
    printed = capsys.readouterr().out
    assert "48 images, 96 captions (split: column), read for its captions" in printed
    assert [value.strip() for value in _row(printed, "captions")] == ["66", "30"]
    assert "have the caption 'A blue disc on grey noise.', e.g. " in printed
    assert "class" not in printed.replace(str(caption_table), "")
    plain = json.loads((tmp_path / "report.json").read_text())
    assert (plain["kind"], plain["counts"]["texts"]["val"]["images"]) == ("captions", 15)


def test_questions_are_found_and_counted(question_table: Path, capsys: Captured) -> None:
    assert check(question_table) == 0
    printed = capsys.readouterr().out
    assert "48 images, 144 questions (split: column), read for its questions" in printed
    assert [value.strip() for value in _row(printed, "distinct answers")] == ["6", "6"]
    assert "is the most frequent answer in 'train'; whoever always gives it is right on 33%" in printed


def test_a_kind_can_be_asked_for(caption_table: Path, capsys: Captured) -> None:
    assert check(caption_table, "--kind", "captions") == 0
    capsys.readouterr()
    assert check(caption_table, "--kind", "questions") == 2
    assert "the column 'question' is missing; columns: path, caption, split." in capsys.readouterr().err
    assert check(caption_table, "--kind", "labels") == 2
    assert "the column 'label' is missing" in capsys.readouterr().err


def test_a_folder_of_pictures_alone_has_no_captions(pictures: Path, capsys: Captured) -> None:
    assert check(pictures, "--kind", "captions") == 2
    assert "no captions found; it holds 2 folders (train, val). Understood are: Flickr8k's" in capsys.readouterr().err


def test_a_mistyped_column_is_taken_for_labels_and_it_says_so(tmp_path: Path, capsys) -> None:
    (tmp_path / "t.csv").write_text("path,captoin\na.png,a dog\n")
    assert main(["data", "check", "--data", str(tmp_path / "t.csv")]) == 2
    assert "It was taken for labels of pictures; for others say --kind: masks, boxes" in capsys.readouterr().err
