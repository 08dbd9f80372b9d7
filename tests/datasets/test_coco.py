"""COCO's JSON files, for masks and for boxes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onetrunk.datasets import (
    DataError,
    SampleDataset,
    check_dataset,
    eval_transform,
    find_bad_images,
    guess_kind,
    open_dataset,
)
from onetrunk.datasets.coco import find_coco_files, guess_coco_kind
from onetrunk.datasets.run_lengths import decode_runs
from pycocotools import mask as coco_mask

SIZE = (8, 10)
CATEGORIES = [
    {"id": 90, "name": "toothbrush"},
    {"id": 1, "name": "person"},
    {"id": 7, "name": "grass", "isthing": 0},
]
CLASSES = ("background", "person", "grass", "toothbrush")


def _rows(first: int, last: int) -> list[list[float]]:
    """A polygon of whole rows of the picture."""
    return [[0, first, 10, first, 10, last, 0, last]]


def _runs(inside: np.ndarray) -> dict:
    """An uncompressed run-length code, column by column, which begins with the pixels outside."""
    flat = inside.flatten(order="F").astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(inside.shape), "counts": runs if not flat[0] else [0, *runs]}


def _code(inside: np.ndarray) -> dict:
    """A compressed run-length code."""
    code = coco_mask.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {"size": list(inside.shape), "counts": code["counts"].decode()}


def _inside(rows: slice, columns: slice) -> np.ndarray:
    inside = np.zeros(SIZE, dtype=bool)
    inside[rows, columns] = True
    return inside


def _annotation(image: int, category: int = 1, shape: object = None, **more: object) -> dict:
    shape = _rows(0, 4) if shape is None else shape
    return {"id": 100 + image, "image_id": image, "category_id": category, "segmentation": shape, **more}


@pytest.fixture
def make(tmp_path, draw) -> Callable[..., Path]:
    """Writes a file of annotations of the pictures 0 to 3 and returns the folder."""

    def make(annotations: list[dict], name: str = "instances.json", folder: str = "images", **changes: object) -> Path:
        images = []
        for number in range(4):
            draw(tmp_path / "coco" / folder / f"{number}.png", height=SIZE[0], width=SIZE[1], seed=number)
            images.append({"id": number, "file_name": f"{number}.png", "height": SIZE[0], "width": SIZE[1]})
        plain = {"images": images, "categories": CATEGORIES, "annotations": annotations, **changes}
        path = tmp_path / "coco" / "annotations" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(plain))
        return tmp_path / "coco"

    return make


def _mask(data, index=0):
    record = data.records[index]
    return record.targets["mask"].read(data.classes, SIZE).numpy()


def test_regions_of_every_form_are_drawn_the_smaller_over_the_larger_and_matter_below(make):
    annotations = [
        _annotation(0, 90, _code(_inside(slice(2, 4), slice(2, 4)))),
        _annotation(0, 7, _rows(0, 1)),
        _annotation(0, 1, _runs(_inside(slice(0, 6), slice(0, 6))), iscrowd=1),
    ]
    data = open_dataset(make(annotations), "all", kind="masks")
    expected = np.zeros(SIZE, dtype=int)
    expected[0] = 2
    expected[:6, :6] = 1
    expected[2:4, 2:4] = 3
    assert _mask(data).tolist() == expected.tolist()
    assert (data.classes, data.format) == (CLASSES, "coco"), "in the order of the ids, which have gaps"
    assert data.records[0].targets["labels"] == ("background", "grass", "person", "toothbrush")
    assert data.records[0].targets["mask"].pixels["background"] == 80 - 36 - 4
    assert (_mask(data, 1) == 0).all(), "an image without annotations is all background"
    assert data.records[1].targets["labels"] == ("background",)
    assert data.records[0].name == "images/0.png"


def test_a_polygon_of_two_parts_is_one_region(make):
    data = open_dataset(make([_annotation(0, 1, _rows(0, 1) + _rows(7, 8))]), "all", kind="masks")
    assert _mask(data)[:, 0].tolist() == [1, 0, 0, 0, 0, 0, 0, 1]


def test_a_code_is_checked_before_it_can_read_what_is_not_there(make):
    for seed in range(20):
        inside = np.random.default_rng(seed).random((40, 50)) < 0.5 ** (seed % 7)
        runs = _runs(inside)["counts"]
        assert decode_runs(_code(inside)["counts"]) == runs


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ([[0, 0, 1, 1]], r"annotation 100: its segmentation can't be read \(a polygon has at least three corners\)"),
        ([], "a polygon has at least three corners"),
        ([0, 0, 1, 0, 1, 1], "annotation 100: its segmentation can't be read"),
        ([["a"] * 6], r"its segmentation can't be read \(could not convert"),
        ("text", "annotation 100: its segmentation can't be read"),
        ({"size": list(SIZE)}, "annotation 100: it has no segmentation, with counts or corners"),
        (
            {"size": [10, 8], "counts": [0, 80]},
            r"it is one of \[10, 8\] pixels, height and width, the picture has \[8, ",
        ),
        ({"size": [8, 10], "counts": [3, 5]}, "its runs are not whole numbers that add up to 8 x 10 pixels"),
        ({"size": [8, 10], "counts": [-1, 81]}, "its runs are not whole numbers"),
        ({"size": [8, 10], "counts": [0.5, 79.5]}, "its runs are not whole numbers"),
        ({"size": [8, 10], "counts": "52203"}, "its runs are not whole numbers"),
        ({"size": [8, 10], "counts": 80}, "annotation 100: its segmentation can't be read"),
    ],
)
def test_a_region_that_can_not_be_read_is_named_and_its_picture_set_aside(make, shape, words):
    root = make([_annotation(0, 1, shape), _annotation(1)])
    data = open_dataset(root, "all", kind="masks")
    (bad,) = find_bad_images(data.records)
    assert bad.name == "images/0.png" and "instances.json" in bad.reason
    with pytest.raises(DataError, match=words):
        _mask(data)
    report = check_dataset(root)
    assert [(each.kind, each.message) for each in report.errors] == [("mask", bad.reason)]
    dataset = SampleDataset(data.records, eval_transform(SIZE), classes=data.classes)
    assert dataset[(0, 0)].reason == bad.reason
    assert dataset[(0, 1)].targets["mask"].max() == 1


def test_an_annotation_without_segmentation_is_named(make):
    annotation = _annotation(0)
    del annotation["segmentation"]
    data = open_dataset(make([annotation]), "all", kind="masks")
    assert "annotation 100: it has no segmentation" in data.records[0].targets["mask"].fault


def test_a_picture_of_another_size_and_a_missing_one_are_named(make, draw):
    root = make([_annotation(0), _annotation(1)])
    draw(root / "images" / "0.png", height=10, width=8)
    (root / "images" / "1.png").unlink()
    data = open_dataset(root, "all", kind="masks")
    bad = {each.name.rsplit("/", 1)[-1]: each.reason for each in find_bad_images(data.records)}
    assert bad.keys() == {"0.png", "1.png"}
    assert "image 0 is annotated as 10 x 8 pixels, but its file has 8 x 10 (upright)" in bad["0.png"]
    assert "1.png: there is no such file" in bad["1.png"]
    assert {finding.kind for finding in check_dataset(root).errors} == {"mask", "unreadable"}


@pytest.mark.parametrize(
    ("annotations", "changes", "words"),
    [
        ([_annotation(0, 5)], {}, r"annotation 100: its category 5 isn't in the list of categories"),
        ([_annotation(9)], {}, r"annotations are of image 9, which isn't in the list of images"),
        ([], {"images": []}, r"instances\.json: the list of images is empty"),
        (
            [],
            {"images": [{"id": 1, "file_name": "0.png"}]},
            r"can't be read as COCO annotations \(KeyError: 'height'\)",
        ),
        ([], {"categories": None}, r"can't be read as COCO annotations \(TypeError"),
        ([{"id": 1}], {}, r"can't be read as COCO annotations \(KeyError: 'category_id'\)"),
        (
            [],
            {"images": [{"id": number, "file_name": "0.png", "height": 8, "width": 10} for number in (1, 2)]},
            r"image 2, images/0\.png, is there twice",
        ),
        (
            [],
            {"images": [{"id": 1, "file_name": f"{number}.png", "height": 8, "width": 10} for number in (1, 2)]},
            r"image 1, images/2\.png, is there twice",
        ),
        (
            [],
            {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]},
            r"instances\.json: 2 categories are called 'a', with the ids 1, 2\. Keep one, and give their annotations",
        ),
        (
            [],
            {"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
            r"instances\.json: the categories 'a' and 'b' have the same id, 1, so .* Give each category an id of its",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["masks", "boxes"])
def test_faulty_files_are_refused_by_name(make, annotations, changes, words, kind):
    with pytest.raises(DataError, match=words):
        open_dataset(make(annotations, **changes), "all", kind=kind)


def test_a_file_that_is_no_json_is_refused(make):
    root = make([])
    (root / "annotations" / "instances.json").write_text("[1, 2")
    with pytest.raises(DataError, match=r"instances\.json: this can't be read as COCO annotations \(JSONDecodeError"):
        open_dataset(root, "all", kind="masks")
    assert guess_coco_kind(root) is None
    (root / "annotations" / "instances.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="this can't be read as COCO annotations"):
        open_dataset(root, "all", kind="boxes")


def test_more_categories_than_a_mask_can_have_are_refused(make):
    root = make([], categories=[{"id": number, "name": str(number)} for number in range(255)])
    with pytest.raises(DataError, match="255 categories; a segmentation has at most 255 classes, one of them 'backg"):
        open_dataset(root, "all", kind="masks")


def test_a_category_called_background_is_the_background(make):
    root = make([_annotation(0, 2)], categories=[{"id": 2, "name": "background"}, {"id": 1, "name": "person"}])
    data = open_dataset(root, "all", kind="masks")
    assert data.classes == ("background", "person")
    assert data.records[0].targets["mask"].pixels == {"background": 80}


def test_splits_stand_in_the_names_of_files_and_folders(make):
    root = make([_annotation(0)], "instances_train2017.json", "train2017")
    make([_annotation(1), _annotation(0)], "instances_val2017.json", "val2017")
    make([], "captions_val2017.json", "val2017")
    data = open_dataset(root, "all", kind="masks")
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 4, "val": 4}
    assert (data.splits_origin, data.splits["val"][0].name) == ("files", "val2017/0.png")
    assert set(find_coco_files(root)) == {"train", "val"}
    assert guess_kind(root) == "masks"


def test_categories_that_differ_between_splits_are_refused(make):
    make([_annotation(0)], "instances_train.json")
    root = make([], "instances_val.json", "val", categories=[{"id": 1, "name": "dog"}])
    with pytest.raises(DataError, match="category 1 is 'dog' here and 'person' in another split"):
        open_dataset(root, "all", kind="masks")


def test_a_file_can_be_given_by_its_own_path(make):
    path = make([_annotation(0)]) / "annotations" / "instances.json"
    assert open_dataset(path, "all", kind="masks").records[0].path.is_file()
    assert guess_kind(path) == "masks"


def test_the_fingerprint_follows_the_regions_and_their_order(make):
    prints = set()
    stuff = [{**each, "isthing": 0} for each in CATEGORIES]
    for annotations, changes in (
        ([_annotation(0)], {}),
        ([_annotation(0, 7)], {}),
        ([_annotation(0, 1, _rows(0, 5))], {}),
        ([_annotation(0)], {"categories": stuff}),
    ):
        prints.add(open_dataset(make(annotations, **changes), "all", kind="masks").fingerprint())
    assert len(prints) == 4


def _box(image: int, box: object, category: int = 1, **more: object) -> dict:
    return {"id": 100 + image, "image_id": image, "category_id": category, "bbox": box, **more}


def test_boxes_have_bounds_and_crowds_and_bare_pictures_are_passed_over(make):
    annotations = [
        _box(0, [1, 2, 3, 4]),
        _box(0, [0, 0, 8, 8]),
        _box(1, [0, 0, 5, 5], 90),
        _box(1, [0, 0, 9, 8], 1, iscrowd=1),
        _box(2, [0, 0, 9, 8], 1, iscrowd=1),
    ]
    root = make(annotations)
    data = open_dataset(root, "all", kind="boxes")
    assert data.classes == ("person", "toothbrush")
    assert [record.targets for record in data.records] == [
        {"label": "person", "boxes": ((0, 0, 8, 8), (1, 2, 4, 6))},
        {"label": "toothbrush", "boxes": ((0, 0, 5, 5),)},
    ]
    assert any("2 pictures without an object were left out" in note for note in data.notes)
    assert guess_kind(root) == "objects"


def test_objects_of_several_classes_and_boxes_of_no_numbers_are_named_all_at_once(make):
    annotations = [_box(0, [1, 2, 3, 4]), _box(0, [1, 2, 3, 4], 90), _box(1, [1, 2, 3]), _box(2, [1, 2, 3, "a"])]
    with pytest.raises(DataError) as caught:
        open_dataset(make([*annotations, _box(3, [0, 0, 5, 5])]), "all", kind="boxes")
    for words in (
        "3 faults",
        "0.png: its objects are of 2 classes (person, toothbrush); a picture for localization shows objects of one.",
        "annotation 101 of images/1.png: its bbox is not four numbers",
        "annotation 102 of images/2.png: its bbox is not four numbers",
    ):
        assert words in str(caught.value)


def test_boxes_without_area_are_left_out_where_there_are_others_and_said_so(make):
    root = make([_box(0, [1, 2, 0, 4]), _box(0, [1, 2, 5, 5]), _box(1, [1, 2, 0, 4]), _box(2, [5, 5, 30, 3])])
    data = open_dataset(root, "all", kind="boxes")
    assert [len(record.targets["boxes"]) for record in data.records] == [1, 1, 1]
    assert any("1 boxes without an area were left out; their pictures have others" in note for note in data.notes)
    bad = {each.name: each.reason for each in find_bad_images(data.records)}
    assert bad.keys() == {"images/1.png", "images/2.png"}
    assert "1.png: the box 1, 2, 1, 6 has no area" in bad["images/1.png"]
    assert "2.png: the box 5, 5, 35, 8 reaches out of the picture of 10 x 8 pixels" in bad["images/2.png"]


def test_a_list_is_no_annotation_file(tmp_path):
    (tmp_path / "predictions.json").write_text("[]")
    with pytest.raises(
        DataError, match=r"no pictures with masks; it holds 1 other file .* Understood are: ROOT/images"
    ):
        open_dataset(tmp_path, "train", kind="masks")
