"""What is wrong with boxes, from the sentence to the loader and the doctor."""

import pytest
import torch
from onetrunk.datasets import (
    DataError,
    Record,
    ResumableLoader,
    SampleDataset,
    TargetEncoder,
    check_dataset,
    eval_transform,
    find_bad_images,
    open_dataset,
)
from onetrunk.datasets.boxes import box_fault, boxes_fault, keep_sound, note_dropped, outside_fault
from PIL import Image

SIZE = (20, 30)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((5, 5, 5, 9), "a: the box 5, 5, 5, 9 has no area; xmax has to be above xmin, and ymax above ymin."),
        ((5, 5, 9, 4.5), "a: the box 5, 5, 9, 4.5 has no area"),
        ((5, 5, float("nan"), 9), "a: the box 5, 5, nan, 9 has a bound that isn't a finite number."),
        ((5, 5, float("inf"), 9), "has a bound that isn't a finite number."),
    ],
)
def test_a_box_that_is_none(box, words):
    assert words in box_fault(box, "a")
    assert words in boxes_fault([(0, 0, 1, 1), box], SIZE, "a")


@pytest.mark.parametrize("box", [(0, 0, 30, 20), (-1, -1, 31, 21), (29, 19, 31, 21), (-1, -1, 0.5, 0.5)])
def test_a_pixel_out_of_the_picture_is_how_some_count(box):
    assert box_fault(box, "a") is None and outside_fault(box, SIZE, "a") is None


@pytest.mark.parametrize(
    "box", [(-2, 0, 5, 5), (0, -2, 5, 5), (0, 0, 32, 5), (0, 0, 5, 22), (-1, 0, 0, 5), (30, 0, 31, 5)]
)
def test_more_than_a_pixel_or_nothing_inside_is_outside(box):
    fault = outside_fault(box, SIZE, "a")
    assert "reaches out of the picture of 30 x 20 pixels." in fault


def test_exif_is_named_where_a_turn_explains_a_box():
    hint = "It would fit the picture as it is stored, before its EXIF rotation."
    assert hint in outside_fault((2, 2, 18, 28), SIZE, "a")
    assert hint not in outside_fault((2, 2, 28, 28), SIZE, "a")
    assert hint not in outside_fault((2, 2, 28, 28), (20, 20), "a")
    assert hint not in outside_fault((-5, 2, 18, 28), SIZE, "a")


def test_boxes_with_an_area_are_kept_the_largest_first_else_all():
    assert keep_sound([(0, 0, 1, 1), (3, 3, 3, 9), (0, 0, 4, 4)]) == ((0, 0, 4, 4), (0, 0, 1, 1))
    assert keep_sound([(3, 3, 3, 9)]) == ((3, 3, 3, 9),)
    assert note_dropped("a.csv", 3, 3) == []
    assert note_dropped("a.csv", 3, 1) == ["a.csv: 2 boxes without an area were left out; their pictures have others."]


def test_boxes_are_cut_at_the_border_and_faulty_ones_refused(tmp_path):
    encode = TargetEncoder(["cat"])
    record = Record(tmp_path / "a.png", {"label": "cat", "boxes": ((-0.5, 3, 30.5, 21), (1, 2, 3, 4))}, "a.png")
    boxes = encode.spatial(record, SIZE)["boxes"]
    assert (boxes.dtype, boxes.tolist()) == (torch.float32, [[0, 3, 30, 20], [1, 2, 3, 4]])
    record = Record(tmp_path / "a.png", {"label": "cat", "boxes": ((0, 0, 40, 4),)}, "a.png")
    with pytest.raises(DataError, match=r"a\.png: the box 0, 0, 40, 4 reaches out of the picture of 30 x 20 pixels"):
        encode.spatial(record, SIZE)


@pytest.fixture
def table(tmp_path, draw):
    """A table of pictures of 20 x 30 pixels, with a box each that is named for what is wrong with it."""
    boxes = {
        "sound": "2,3,20,15",
        "flat": "2,3,2,15",
        "outside": "2,3,45,15",
        "turned": "2,2,18,28",
        "stored": "2,2,28,18",
        "tiny": "2,3,5,7",
        "whole": "0,0,30,20",
    }
    for seed, name in enumerate(boxes):
        draw(tmp_path / f"{name}.png", *SIZE, seed=seed)
    draw(tmp_path / "stored.png", 20, 30, seed=50)
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.open(tmp_path / "stored.png").save(tmp_path / "stored.png", exif=exif)
    rows = "".join(f"{name}.png,cat,{'val' if name == 'whole' else 'train'},{box}\n" for name, box in boxes.items())
    (tmp_path / "boxes.csv").write_text("path,label,split,xmin,ymin,xmax,ymax\n" + rows)
    return tmp_path / "boxes.csv"


FAULTS = {
    "flat.png": r"flat\.png: the box 2, 3, 2, 15 has no area",
    "outside.png": r"outside\.png: the box 2, 3, 45, 15 reaches out of the picture of 30 x 20 pixels\.$",
    "turned.png": r"turned\.png: the box 2, 2, 18, 28 reaches out .* before its EXIF rotation",
    "stored.png": r"stored\.png: the box 2, 2, 28, 18 reaches out of the picture of 20 x 30 .* before its EXIF",
}


def _assert_named(reasons):
    assert reasons.keys() == FAULTS.keys()
    for name, words in FAULTS.items():
        with pytest.raises(DataError, match=words):
            raise DataError(reasons[name])


def test_faulty_boxes_are_named_before_training_and_while_loading(table):
    data = open_dataset(table, "all", kind="boxes")
    _assert_named({bad.name: bad.reason for bad in find_bad_images(data.records)})
    dataset = SampleDataset(data.records, eval_transform((10, 15), mode="stretch"), classes=data.classes)
    (batch,) = ResumableLoader(dataset, batch_size=10)
    _assert_named({bad.name: bad.reason for bad in batch.skipped})
    assert batch.names == ["sound.png", "tiny.png", "whole.png"]
    assert [boxes.tolist() for boxes in batch.targets["boxes"]][::2] == [[[1, 1.5, 10, 7.5]], [[0, 0, 15, 10]]]
    assert batch.targets["full_boxes"][0].tolist() == [[2, 3, 20, 15]]


def test_the_doctor_names_faulty_odd_and_typical_boxes(table):
    report = check_dataset(table, kind="boxes")
    _assert_named({finding.files[0]: finding.message for finding in report.errors})
    assert {finding.kind for finding in report.errors} == {"box"}
    found = {finding.kind: finding for finding in report.findings}
    assert "1 image has a box of an area below 16 pixels, e.g. tiny.png" in found["box_tiny"].message
    assert "1 image has a box of more than 98% of the picture, e.g. whole.png" in found["box_whole"].message
    assert (found["box_tiny"].severity, found["box_whole"].files) == ("warning", ("whole.png",))
    assert "7 boxes, 1 an image; in the median 18 x 12 pixels, 36% of the picture." in found["box_sizes"].message


def test_the_doctor_tells_boxes_of_pictures_that_can_not_be_read_by_themselves(table):
    for name in ("flat", "outside"):
        (table.parent / f"{name}.png").write_text("404")
    errors = {(finding.kind, finding.files[0]) for finding in check_dataset(table, kind="boxes").errors}
    assert {("unreadable", "flat.png"), ("box", "flat.png"), ("unreadable", "outside.png")} <= errors
    assert ("box", "outside.png") not in errors
