"""What the doctor says of masks."""

import numpy as np
import pytest
from onetrunk.datasets import check_dataset
from PIL import Image

VALUES = np.tile(np.arange(10) % 3, (8, 1))


def _only(report, kind):
    (finding,) = [finding for finding in report.findings if finding.kind == kind]
    return finding


@pytest.fixture
def root(make_pairs):
    """Pictures ``a``, ``b`` and ``c`` to train with, ``v`` and ``w`` to validate."""
    make_pairs("train/images/{}.png", "train/masks/{}.png")
    root = make_pairs("val/images/{}.png", "val/masks/{}.png", ("v", "w"))
    (root / "classes.txt").write_text("sky\nroad\ncar\n")
    return root


def test_sound_masks_have_neither_errors_nor_warnings(root):
    report = check_dataset(root)
    assert (report.kind, report.format, report.counts["classes"]) == ("masks", "mask_folder", 3)
    warnings = [finding for finding in report.warnings if not finding.kind.startswith(("duplicates", "small"))]
    assert not report.errors and not warnings
    assert report.counts["splits"]["val"] == {"car": 2, "road": 2, "sky": 2}
    assert report.counts["pixels"]["val"] == {"sky": 8 * 7, "road": 8 * 7, "car": 8 * 6, "": 0}
    messages = [finding.message for finding in report.findings if finding.kind == "mask_pixels"]
    assert messages[1] == "Pixels of 'val': sky 35.0%, road 35.0%, car 30.0%; nothing is ignored."
    assert report.to_dict()["kind"] == "masks"


def test_ignored_pixels_are_counted_and_masks_of_nothing_else_named(root, write_mask):
    write_mask(root / "train" / "masks" / "a.png", np.full((8, 10), 255))
    write_mask(root / "train" / "masks" / "b.png", np.where(VALUES == 0, 255, VALUES))
    report = check_dataset(root)
    void = _only(report, "mask_all_ignored")
    assert (void.severity, void.files) == ("warning", ("train/images/a.png",))
    assert "1 mask ignores every pixel, e.g. of train/images/a.png" in void.message
    pixels = [finding.message for finding in report.findings if finding.kind == "mask_pixels"]
    assert pixels[0].endswith("46.7% of all are ignored, in 2 of 3 masks.")
    assert not [finding for finding in report.findings if finding.kind == "mostly_ignored"]
    write_mask(root / "train" / "masks" / "c.png", np.full((8, 10), 255))
    assert "80.0% of the pixels in 'train' are ignored" in _only(check_dataset(root), "mostly_ignored").message


def test_rare_listed_and_unlearned_classes_are_named(root, write_mask, draw):
    (root / "classes.txt").write_text("sky\nroad\ncar\nbus\ntram\n")
    rare = np.zeros((120, 130), dtype=np.uint8)
    rare[0, 0] = 1
    for name in "abc":
        draw(root / "train" / "images" / f"{name}.png", *rare.shape, seed=ord(name))
        write_mask(root / "train" / "masks" / f"{name}.png", rare)
    write_mask(root / "val" / "masks" / "v.png", VALUES + 1)
    report = check_dataset(root)
    assert "1 class has less than 0.01% of the pixels in 'train': road (0.0064%). Hardly" in (
        _only(report, "rare_in_pixels").message
    )
    imbalance = _only(report, "imbalance").message
    assert "'sky' has 15,599 times as many pixels in 'train' as 'road' (100.0% and 0.0064%)" in imbalance
    assert "--loss.class-weights balanced" in imbalance and "sampling" not in imbalance
    assert "1 class is listed, but in no image: tram." in _only(report, "class_without_image").message
    absent = [finding.message for finding in report.warnings if finding.kind == "class_not_in_split"]
    assert absent == ["1 class has no image in 'train' and so can't be learned: car."]
    assert _only(report, "single_image_class").files == ("val/images/v.png",)
    assert any(
        "no image of 'bus', 'car' is in 'train', only in 'val'" in finding.message for finding in report.warnings
    )


def test_how_masks_were_read_is_said(root, write_mask):
    (root / "classes.txt").unlink()
    for path in root.rglob("masks/*.png"):
        write_mask(path, (VALUES > 1) * 255)
    report = check_dataset(root)
    assert "the values 0 and 255, read as 'background' and 'foreground'" in _only(report, "mask_binary").message
    for path in root.rglob("masks/*.png"):
        write_mask(path, VALUES // 2, "P" if path.stem == "a" else None)
    report = check_dataset(root)
    palette = _only(report, "mask_palette")
    assert (palette.files, palette.severity) == (("train/images/a.png",), "info")
    assert "1 mask has a palette: its indices are the values" in palette.message


@pytest.mark.parametrize("depth", [20, 4])
def test_soft_edges_are_suspected(make_pairs, write_mask, draw, depth):
    root = make_pairs("images/{}.png", "masks/{}.png")
    ramp = np.clip(np.arange(-400, 600).reshape(1, -1) * (255 / depth), 0, 255).repeat(8, 0)
    for name in "abc":
        draw(root / "images" / f"{name}.png", 8, 1000, seed=ord(name))
        write_mask(root / "masks" / f"{name}.png", ramp)
    found = [finding.message for finding in check_dataset(root).warnings if finding.kind == "soft_edges"]
    assert len(found) == (depth == 20)
    if found:
        assert "The masks have 20 values besides 255, and 98.1% of their pixels are 0 or 255" in found[0]
        assert "Set all values below 128 to 0 and the others to 255" in found[0]


def test_pixels_of_several_classes_are_shares_of_the_picture(make_pairs):
    root = make_pairs("images/{}.png", "masks/road/{}.png", values=2)
    make_pairs("images/{}.png", "masks/car/{}.png", values=1)
    make_pairs("images/{}.png", "masks/sign/{}.png", ("a",), values=2)
    report = check_dataset(root)
    messages = [finding.message for finding in report.findings if finding.kind == "mask_pixels"]
    assert any("road 50.0%" in message and "sign" in message for message in messages)
    assert "1 class is listed, but in no image: car." in _only(report, "class_without_image").message


def test_faulty_masks_of_unreadable_pictures_are_told_too(root):
    (root / "train" / "images" / "a.png").write_text("404")
    (root / "train" / "masks" / "a.png").write_text("404")
    (root / "val" / "images" / "v.png").write_text("404")
    report = check_dataset(root)
    pixels = [finding.message for finding in report.findings if finding.kind == "mask_pixels"]
    assert "sky 30.0%, road 40.0%, car 30.0%" in pixels[1] or "road 40.0%, sky 30.0%, car 30.0%" in pixels[1]
    kinds = [(finding.kind, finding.files) for finding in report.errors if finding.files[0] != "val/images/v.png"]
    assert sorted(kinds) == [("mask", ("train/images/a.png",)), ("unreadable", ("train/images/a.png",))]


def test_masks_of_turned_pictures_that_fit_both_ways_are_pointed_at(root, draw, write_mask):
    orientations = {"a": 3, "b": 6, "c": 6}
    draw(root / "train" / "images" / "b.png", 10, 8, seed=7)
    draw(root / "train" / "images" / "c.png", 10, 10, seed=8)
    write_mask(root / "train" / "masks" / "c.png", np.tile(np.arange(10) % 3, (10, 1)))
    for name, orientation in orientations.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.open(root / "train" / "images" / f"{name}.png").save(root / "train" / "images" / f"{name}.png", exif=exif)
    report = check_dataset(root)
    found = _only(report, "mask_orientation")
    assert found.files == ("train/images/a.png", "train/images/c.png"), "the size of b tells that it is upright"
    assert "2 pictures are turned upright by their EXIF orientation" in found.message
    assert not report.errors


def test_classes_of_masks_that_are_not_used_are_counted_as_such(root, write_mask):
    write_mask(root / "train" / "masks" / "a.png", VALUES + 5)
    counts = [finding for finding in check_dataset(root).findings if finding.kind == "class_counts"]
    assert "1 image whose mask shows none of them" in counts[0].message and counts[0].files == ("train/images/a.png",)
