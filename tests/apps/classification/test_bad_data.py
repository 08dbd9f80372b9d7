"""Images that can't be read are named, counted, and never replaced by others."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from onetrunk.apps.cli import main
from PIL import Image

TINY = "--backbone timm/test_resnet --weights none --image-size 32 --epochs 1 --batch-size 4 --device cpu".split()


@pytest.fixture
def odd_pictures(pictures: Path, tmp_path: Path) -> Path:
    """A data set with two damaged files and four unusual but sound ones among its training images."""
    root = tmp_path / "odd"
    shutil.copytree(pictures, root)
    folder = root / "train" / "red"
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(buffer, "JPEG")
    (folder / "truncated.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (folder / "text.jpg").write_text("not a picture at all\n")
    Image.fromarray(np.arange(0, 4096, dtype=np.uint16).reshape(64, 64) * 16).save(folder / "sixteen.png")
    Image.new("CMYK", (40, 30), (0, 200, 200, 0)).save(folder / "cmyk.jpg")
    palette = Image.new("RGBA", (30, 40), (200, 30, 30, 128)).quantize(8)
    palette.save(folder / "palette.png", transparency=0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 30), (200, 30, 30)).save(folder / "rotated.jpg", exif=exif)
    return root


@pytest.mark.parametrize("workers", ["0", "2"])
def test_error_names_both_and_stops(
    odd_pictures: Path, tmp_path: Path, workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (odd_pictures / "val" / "red" / "empty.png").touch()
    words = ["classification", "train", "--data", str(odd_pictures), "--output", str(tmp_path / "run"), *TINY]
    assert main([*words, "--workers", workers]) == 2
    error = capsys.readouterr().err
    assert "3 images can't be read" in error
    assert "empty.png" in error
    assert "truncated.jpg" in error
    assert "text.jpg" in error
    assert "--bad-data skip" in error
    for sound in ("sixteen.png", "cmyk.jpg", "palette.png", "rotated.jpg"):
        assert sound not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_skip_counts_them_in_the_card(odd_pictures: Path, tmp_path: Path, workers: str) -> None:
    words = ["classification", "train", "--data", str(odd_pictures), "--output", str(tmp_path / "run"), *TINY]
    assert main([*words, "--workers", workers, "--bad-data", "skip"]) == 0
    train = json.loads((tmp_path / "run" / "results.json").read_text())["data"]["train"]
    assert (train["used"], train["skipped"]) == (37, 2)
    assert [entry["file"] for entry in train["skipped_files"]] == ["train/red/text.jpg", "train/red/truncated.jpg"]


def test_bad_images_that_sampling_never_drew_are_skipped_too(odd_pictures: Path, tmp_path: Path) -> None:
    for index in range(12):
        (odd_pictures / "train" / "red" / f"text{index}.jpg").write_text("not a picture either\n")
    balanced = "--bad-data skip --sampling balanced --batch-size 16 --freeze all"
    words = ["classification", "train", "--data", str(odd_pictures), "--output", str(tmp_path / "run"), *TINY]
    assert main([*words, "--workers", "0", *balanced.split()]) == 0
    train = json.loads((tmp_path / "run" / "results.json").read_text())["data"]["train"]
    assert (train["used"], train["skipped"], len(train["skipped_files"])) == (37, 14, 14)


def test_prediction_keeps_the_row_of_a_bad_image(odd_pictures: Path, trained_run: Path, tmp_path: Path) -> None:
    words = ["classification", "predict", "--model", str(trained_run), "--images", str(odd_pictures / "train" / "red")]
    assert main([*words, "--workers", "0", "--output", str(tmp_path / "out"), "--bad-data", "skip"]) == 0
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(rows) == 17
    errors = {Path(row["image"]).name for row in rows if "error" in row}
    assert errors == {"truncated.jpg", "text.jpg"}


def test_damage_that_only_decoding_finds_is_named_too(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sound ends, a broken middle: the cheap check lets it pass, the loader names it."""
    root = tmp_path / "odd"
    shutil.copytree(pictures, root)
    file = root / "train" / "red" / "broken.png"
    Image.effect_noise((200, 200), 90).save(file)
    content = bytearray(file.read_bytes())
    content[2000:6000] = bytes(4000)
    file.write_bytes(content)
    words = ["classification", "train", "--data", str(root), "--output", str(tmp_path / "run"), *TINY]
    assert main([*words, "--workers", "2"]) == 2
    assert "broken.png" in capsys.readouterr().err
