"""What a person sees of a check of masks and boxes."""

import json
from pathlib import Path

import numpy as np
import pytest
from onetrunk.apps.cli import main
from PIL import Image

Captured = pytest.CaptureFixture[str]


def check(data: Path, *words: str) -> int:
    return main(["data", "check", "--data", str(data), *words])


@pytest.fixture
def roads(tmp_path: Path) -> Path:
    """Eight pictures with masks of three values, of which one has another size, and a mask that is missing."""
    for number in range(8):
        for folder in ("images", "masks"):
            (tmp_path / "roads" / folder).mkdir(parents=True, exist_ok=True)
        Image.effect_noise((20, 24), 90).save(tmp_path / "roads" / "images" / f"{number}.png")
        mask = np.tile(np.arange(20, dtype=np.uint8) // 8, (24 if number else 23, 1))
        Image.fromarray(mask).save(tmp_path / "roads" / "masks" / f"{number}.png")
    (tmp_path / "roads" / "masks" / "1.png").unlink()
    return tmp_path / "roads"


def test_masks_are_found_and_what_is_wrong_with_them_printed(roads: Path, tmp_path: Path, capsys: Captured) -> None:
    assert check(roads, "--output", str(tmp_path / "report.json")) == 2
    printed = capsys.readouterr()
    for words in (
        "8 images, 3 classes (split: seeded 0.2 of everything, seed 0), read for its masks",
        "masks/0.png: the mask has 20 x 23 pixels, its picture 20 x 24",
        "masks/1.png: the mask is missing",
        "Pixels of 'train': ",
        "no list of classes",
        "2 errors, ",
    ):
        assert words in printed.out
    plain = json.loads((tmp_path / "report.json").read_text())
    assert plain["kind"] == "masks" and set(plain["counts"]["pixels"]["val"]) == {"0", "1", "2", ""}


def test_a_kind_can_be_asked_for(box_table: Path, capsys: Captured) -> None:
    assert check(box_table) == 0
    assert "read for its objects" in capsys.readouterr().out
    assert check(box_table, "--kind", "masks") == 2
    assert "the column 'mask' is missing" in capsys.readouterr().err
    assert check(box_table, "--kind", "boxs") == 2
    assert "boxes" in capsys.readouterr().err


def test_boxes_are_described(box_table: Path, capsys: Captured) -> None:
    assert check(box_table, "--kind", "boxes") == 0
    printed = capsys.readouterr().out
    assert "36 images, 3 classes (split: column), read for its boxes" in printed
    assert "42 boxes, 1 to 2 an image; in the median" in printed
