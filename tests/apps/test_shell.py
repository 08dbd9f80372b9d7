"""Printed commands can be pasted, whatever a folder is called."""

import shlex
from pathlib import Path

import pytest
from onetrunk.apps.cli import main
from onetrunk.apps.shell import quoted


@pytest.mark.parametrize("name", ["runs/a", "my runs/a", "it's", "a;b", "ü b", "$HOME", ""])
def test_a_shell_reads_a_path_as_one_word(name: str) -> None:
    assert shlex.split(f"--model {quoted(name)} --output x") == ["--model", name, "--output", "x"]
    assert quoted(Path("runs/a")) == "runs/a"


def test_hints_quote_what_they_name(tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my reports"
    folder.mkdir()
    assert main(["data", "check", "--data", str(pictures), "--output", str(folder)]) == 2
    assert f"Name a file for the report: --output '{folder / 'report.json'}'" in capsys.readouterr().err


def test_a_folder_with_a_run_is_named_as_weights_to_paste(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "my run"
    words = "--backbone timm/test_resnet --weights none --freeze all --epochs 1 --image-size 32 --workers 0"
    command = ["classification", "train", *words.split(), "--data", str(pictures), "--output", str(run)]
    assert main(command) == 0
    assert main(command) == 2
    assert f"Train on from its trunk: --weights '{run}' --output DIR. Replace it" in capsys.readouterr().err
