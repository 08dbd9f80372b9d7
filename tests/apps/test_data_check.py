"""What a person sees of a check of data: the command's report, and the quick part that training begins with."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from onetrunk.apps.cli import main
from PIL import Image

TINY = "--backbone timm/test_resnet --weights none --image-size 32 --epochs 1 --batch-size 8 --workers 0 --device cpu"

Captured = pytest.CaptureFixture[str]


def check(data: Path, *words: str) -> int:
    return main(["data", "check", "--data", str(data), *words])


@pytest.fixture
def leaky(pictures: Path, tmp_path: Path) -> Path:
    """Pictures of which two of ``val`` are copies from ``train``, and one of ``train`` has two labels."""
    root = shutil.copytree(pictures, tmp_path / "leaky")
    for index in (0, 1):
        shutil.copy(root / "train" / "red" / f"0{index}.png", root / "val" / "red" / f"copy{index}.png")
    shutil.copy(root / "train" / "red" / "02.png", root / "train" / "blue" / "copy.png")
    return root


@pytest.fixture
def damaged(leaky: Path) -> Path:
    """The same with pictures that can't be read, one of them broken in the middle, and a class that train lacks."""
    (leaky / "train" / "red" / "empty.png").touch()
    (leaky / "val" / "blue" / "page.jpg").write_text("404: Not Found")
    file = leaky / "train" / "green" / "broken.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)).save(file)
    content = bytearray(file.read_bytes())
    content[2000:6000] = bytes(4000)
    file.write_bytes(content)
    (leaky / "val" / "gren").mkdir()
    shutil.copy(leaky / "val" / "green" / "00.png", leaky / "val" / "gren" / "00.png")
    return leaky


def test_a_clean_data_set_is_said_to_be_clean(pictures: Path, capsys: Captured) -> None:
    assert check(pictures) == 0
    printed = capsys.readouterr()
    assert "48 images, 3 classes (split: folders)" in printed.out
    assert "0 errors, 0 warnings" in printed.out
    assert [line.split()[1::2] for line in printed.out.splitlines() if "green" in line] == [["green", "11", "5"]]
    assert "48 images of mode RGB" in printed.out
    assert not printed.err


def test_every_error_is_printed_with_its_file_and_the_exit_code_is_2(damaged: Path, capsys: Captured) -> None:
    assert check(damaged, "--workers", "2") == 2
    printed = capsys.readouterr()
    for words in (
        "train/red/empty.png: the file is empty",
        "page.jpg: this is no picture, it looks like text",
        "broken.png: the picture can't be decoded",
        "The class 'gren' of 1 image in 'val' isn't one of the 3 in 'train': blue, green, red. Did you mean 'green'?",
        "2 of the 19 images in 'val' are in 'train' too, byte for byte",
        "train/red/00.png = val/red/copy0.png, train/red/01.png = val/red/copy1.png",
        "under different labels",
        "4 errors, ",
    ):
        assert words in printed.out
    assert printed.out.index("error") < printed.out.index("warning") < printed.out.index("info")
    assert printed.err == f"onetrunk: {damaged}: 4 errors, see the report.\n"


def test_the_json_holds_all_of_it(damaged: Path, tmp_path: Path, capsys: Captured) -> None:
    for index in range(30):
        (damaged / "train" / "red" / f"empty{index}.png").touch()
    report = tmp_path / "new" / "report.json"
    assert check(damaged, "--output", str(report)) == 2
    printed = capsys.readouterr().out
    assert "... and 23 more like these; all of them: --output report.json" in printed
    assert f"report: {report}" in printed
    plain = json.loads(report.read_text())
    assert plain["severities"]["error"] == 34
    unreadable = [finding for finding in plain["findings"] if finding["kind"] == "unreadable"]
    assert len(unreadable) == 33 and ["train/red/empty29.png"] in [finding["files"] for finding in unreadable]
    (across,) = [finding for finding in plain["findings"] if finding["kind"] == "duplicates_across_splits"]
    assert across["groups"][0] == ["train/red/00.png", "val/red/copy0.png"]
    assert plain["counts"]["splits"]["val"] == {"blue": 6, "green": 5, "gren": 1, "red": 7}


def test_a_report_is_not_written_over_unasked(pictures: Path, tmp_path: Path, capsys: Captured) -> None:
    report = tmp_path / "report.json"
    report.write_text("mine")
    assert check(pictures, "--output", str(report)) == 2
    assert "already exists. Write over it: --overwrite" in capsys.readouterr().err
    assert report.read_text() == "mine"
    assert check(pictures, "--output", str(report), "--overwrite") == 0
    assert json.loads(report.read_text())["severities"] == {"error": 0, "warning": 0, "info": 5}
    assert check(pictures, "--output", str(tmp_path)) == 2
    assert "is a folder. Name a file for the report" in capsys.readouterr().err


def test_warnings_alone_are_no_failure(leaky: Path, capsys: Captured) -> None:
    assert check(leaky) == 0
    assert "0 errors, 3 warnings" in capsys.readouterr().out


def test_a_mistyped_path_is_refused_with_the_nearest(pictures: Path, tmp_path: Path, capsys: Captured) -> None:
    wrong = pictures.with_name(pictures.name[:-1])
    assert check(wrong, "--output", str(tmp_path / "report.json")) == 2
    printed = capsys.readouterr()
    assert f"there is no such file or folder. Did you mean '{pictures.name}'?" in printed.err
    assert not printed.out and not (tmp_path / "report.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "-1"], "--workers takes 0 or more, not -1"),
        (["--val-fraction", "2"], "--val-fraction takes 0 to 1, not 2"),
        (["--split-seed", "-1"], "--split-seed takes 0 to 4294967295, not -1"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    pictures: Path, words: list[str], message: str, capsys: Captured
) -> None:
    assert check(pictures, *words) == 2
    assert message in capsys.readouterr().err


def test_many_classes_are_printed_from_both_ends(tmp_path: Path, capsys: Captured) -> None:
    for place in range(25):
        for index in range(2 + place):
            Image.effect_noise((20, 20), 90).save(_made(tmp_path / "many" / f"class{place:02}") / f"{index}.png")
    assert check(tmp_path / "many") == 0
    table = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert table[:2] == ["class24", "class23"] and table[-1] == "class00"
    assert len(table) == 21 and "..." in table[10]


def test_training_warns_of_leaks_and_of_labels_in_a_line_each(leaky: Path, tmp_path: Path, capsys: Captured) -> None:
    words = ["classification", "train", "--data", str(leaky), "--output", str(tmp_path / "run"), *TINY.split()]
    assert main(words) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning:")]
    assert len(lines) == 2
    assert "2 of the 17 images in 'val' are in 'train' too" in lines[0]
    assert "train/red/00.png = val/red/copy0.png" in lines[0]
    assert "1 image is there under different labels" in lines[1]
    assert all(line.endswith(f"All of them: onetrunk data check --data {leaky}") for line in lines)


def test_bad_images_that_training_skips_are_no_duplicates(pictures: Path, tmp_path: Path, capsys: Captured) -> None:
    root = shutil.copytree(pictures, tmp_path / "data")
    for split in ("train", "val"):
        (root / split / "red" / "page.jpg").write_text("404: Not Found")
    words = ["classification", "train", "--data", str(root), "--output", str(tmp_path / "run"), *TINY.split()]
    assert main([*words, "--bad-data", "skip"]) == 0
    assert "warning:" not in capsys.readouterr().out


def test_training_stops_with_the_list_of_faulty_rows(pictures: Path, tmp_path: Path, capsys: Captured) -> None:
    rows = [f"{pictures}/train/red/00.png,red", ",red", f"{pictures}/train/blue/00.png,"]
    (tmp_path / "labels.csv").write_text("path,label\n" + "\n".join(rows))
    words = ["classification", "train", "--data", str(tmp_path / "labels.csv"), "--output", str(tmp_path / "run")]
    assert main([*words, *TINY.split()]) == 2
    error = capsys.readouterr().err
    assert "2 faults:" in error and "row 3: the path is empty" in error and "row 4: the label of" in error
    assert not (tmp_path / "run").exists()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
