"""What the doctor says of objects."""

import json

import pytest
from onetrunk.datasets import Report, check_dataset, open_dataset
from PIL import Image

SIZE = (40, 56)
CATEGORIES = [{"id": 0, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 9, "name": "eel"}]

#: Boxes as left, top, width, height, with a category and whether it is a crowd.
PICTURES = {
    "sound": [((2, 3, 35, 35), 7, 0), ((2, 3, 20, 20), 0, 0), ((2, 3, 9, 9), 7, 1)],
    "flat": [((2, 3, 0, 15), 7, 0), ((2, 3, 20, 20), 7, 0), ((2, 3, -1, 20), 0, 0)],
    "twice": [((2, 3, 10, 10), 7, 0), ((2, 3, 10, 10), 7, 0), ((2, 3, 10, 10), 0, 0), ((2, 3, 10, 10), 7, 0)],
    "edge": [((50, 3, 10, 10), 7, 0), ((50, 3, 6.5, 10), 7, 0), ((-3, 3, 10, 10), 7, 0)],
    "outside": [((50, 3, 20, 10), 7, 0)],
    "turned": [((2, 3, 10, 10), 7, 0)],
    "bare": [],
    "crowd": [((2, 3, 10, 10), 7, 1)],
    "tiny": [((2, 3, 3, 4), 7, 0)],
    "whole": [((0, 0, 56, 40), 7, 0)],
}


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Report:
    """The report on a COCO file of pictures that are named for what is wrong with them."""
    root = tmp_path_factory.mktemp("doctor")
    images, annotations = [], []
    for number, (name, boxes) in enumerate(PICTURES.items()):
        picture = Image.new("RGB", SIZE[::-1], (number * 20, 0, 0))
        exif = Image.Exif()
        if name == "turned":
            exif[0x0112] = 6
        picture.save(root / f"{name}.jpg", exif=exif)
        images.append({"id": number, "file_name": f"{name}.jpg", "height": SIZE[0], "width": SIZE[1]})
        annotations += [
            {"id": len(annotations) + place, "image_id": number, "category_id": kind, "bbox": box, "iscrowd": crowd}
            for place, (box, kind, crowd) in enumerate(boxes)
        ]
    plain = {"images": images, "categories": CATEGORIES, "annotations": annotations}
    (root / "instances_train.json").write_text(json.dumps(plain))
    (root / "instances_val.json").write_text(
        json.dumps({**plain, "images": images[:1], "annotations": annotations[:3]})
    )
    return check_dataset(root)


def _of(report, kind):
    return [finding for finding in report.findings if finding.kind == kind]


def _only(report, kind):
    (finding,) = _of(report, kind)
    return finding


def test_files_of_boxes_are_looked_at_for_objects(report):
    assert (report.kind, report.format) == ("objects", "coco")


def test_objects_that_do_not_fit_their_picture_are_errors(report):
    found = {finding.files: finding.message for finding in report.errors}
    assert found.keys() == {("outside.jpg",), ("turned.jpg",)}
    assert "the box 50, 3, 70, 13 is more than half outside of the picture" in found["outside.jpg",]
    assert "It is that of the picture as it is stored, before its EXIF rotation." in found["turned.jpg",]


def test_each_box_without_an_area_is_named_once(report):
    found = _of(report, "box_no_area")
    assert [finding.files for finding in found] == [("flat.jpg",)] * 2
    assert {finding.severity for finding in found} == {"warning"}
    assert "instances_train.json: annotation 3 ('dog'): the box 2, 3, 2, 18 has no area;" in found[0].message
    assert found[0].message.endswith("It is left out.")
    assert not any("without an area were left out" in finding.message for finding in report.findings)


def test_boxes_over_the_edge_and_repeated_ones_are_counted(report):
    edge = _only(report, "box_over_edge")
    assert (edge.severity, edge.files) == ("warning", ("edge.jpg",))
    assert edge.message.startswith(
        "2 boxes reach out of the picture by more than a pixel and are cut off at its edge, in 1 image, e.g. "
    )
    assert "annotation 10 ('dog'): the box 50, 3, 60, 13 reaches out of the picture of 56 x 40 pixels." in edge.message
    twice = _only(report, "box_repeated")
    assert (twice.severity, twice.files) == ("warning", ("twice.jpg",))
    assert "2 objects are there twice, with the same box and class, in 1 image, e.g. " in twice.message
    assert "annotation 7 ('dog')" in twice.message


def test_tiny_and_whole_boxes_are_told_as_for_localization(report):
    assert _only(report, "box_tiny").files == ("tiny.jpg",)
    assert _only(report, "box_whole").files == ("whole.jpg",)


def test_sizes_are_coco_s(report):
    message = _only(report, "box_sizes").message
    assert "16 boxes, 0 to 4 an image; in the median" in message
    assert message.endswith("By COCO's sizes: 13 small (below 32 x 32 pixels), 3 medium, 0 large (from 96 x 96 on).")


def test_objects_of_each_class_and_ignored_ones_are_counted(report):
    assert [finding.message for finding in _of(report, "object_counts")] == [
        "'train' has 14 objects: 12 dog, 2 cat, 0 eel; 2 objects ignored (crowds, difficult, invalid).",
        "'val' has 2 objects: 1 cat, 1 dog, 0 eel; 1 object ignored (crowds, difficult, invalid).",
    ]
    assert report.counts["objects"]["train"] == {"cat": 2, "dog": 12, "eel": 0, "": 2}


def test_negatives_are_legal(report):
    finding = _only(report, "negatives")
    assert (finding.severity, finding.files) == ("info", ("bare.jpg", "crowd.jpg"))
    assert finding.message == (
        "2 images without objects, 1 of them with some that are ignored or have no area; they are legal negatives."
    )
    assert not any("without an object stay" in each.message for each in report.findings)


def test_gaps_and_zero_in_the_numbers_of_categories_are_said(report):
    assert _only(report, "category_ids").message == "category ids 0 to 9 with 7 gaps: kept as they are."
    assert _only(report, "category_zero").message == (
        "category 0 ('cat') is a class like any other here; torchvision's detectors would take it for background."
    )


def test_nothing_is_said_of_sound_objects(tmp_path, draw):
    rows = ""
    for number in range(4):
        draw(tmp_path / f"{number}.png", *SIZE, seed=number)
        rows += f"{number}.png,{'cat' if number % 2 else 'dog'},2,3,30,30,{'val' if number < 2 else 'train'}\n"
    (tmp_path / "t.csv").write_text("path,label,xmin,ymin,xmax,ymax,split\n" + rows)
    report = check_dataset(tmp_path / "t.csv")
    assert (report.kind, report.errors) == ("objects", ())
    assert {finding.kind for finding in report.warnings} == {"single_image_class"} or not report.warnings
    kinds = {finding.kind for finding in report.of("info")}
    assert {"box_sizes", "object_counts"} <= kinds and not kinds & {"negatives", "category_ids", "category_zero"}


def test_pictures_that_can_not_be_read_have_their_boxes_counted_all_the_same(tmp_path, draw):
    draw(tmp_path / "a.png", *SIZE)
    (tmp_path / "b.png").write_text("404")
    rows = "a.png,cat,2,3,30,30\nb.png,cat,2,3,30,30\nb.png,cat,3,3,3,3\n"
    (tmp_path / "t.csv").write_text("path,label,xmin,ymin,xmax,ymax\n" + rows)
    report = check_dataset(tmp_path / "t.csv", kind="objects")
    assert {(finding.kind, finding.files) for finding in report.errors} == {("unreadable", ("b.png",))}
    assert _only(report, "box_no_area").files == ("b.png",)


def test_imbalance_of_objects_is_told_without_options_that_detection_lacks(tmp_path, draw):
    rows = "9.png,eel,2,3,30,30\n10.png,dog,2,3,30,30\n"
    for number in range(12):
        draw(tmp_path / f"{number}.png", 8, 8, seed=number)
        rows += f"{number}.png,cat,0,0,4,4\n"
    (tmp_path / "t.csv").write_text("path,label,xmin,ymin,xmax,ymax\n" + rows)
    message = _of(check_dataset(tmp_path / "t.csv", val_fraction=0.1), "imbalance")[0].message
    assert message.endswith("Judge by the figures of each class, of which the mean says little.")
    assert open_dataset(tmp_path / "t.csv", "all", kind="objects").classes == ("cat", "dog", "eel")


def test_a_box_that_does_not_fit_its_picture_is_not_judged_by_its_size_too(tmp_path, draw):
    draw(tmp_path / "a.png", height=40, width=60)
    content = "path,label,xmin,ymin,xmax,ymax\na.png,cat,0,0,9999,9999\na.png,cat,5,5,20,20\n"
    (tmp_path / "table.csv").write_text(content)
    report = check_dataset(tmp_path / "table.csv", kind="objects")
    assert [finding.kind for finding in report.errors] == ["objects_misfit"]
    assert not [finding for finding in report.findings if finding.kind == "box_whole"]
