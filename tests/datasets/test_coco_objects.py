"""COCO's JSON files for detection."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from onetrunk.datasets import DataError, guess_kind, open_dataset

SIZE = (8, 10)
CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 0, "name": "person"}, {"id": 7, "name": "cat"}]
REGION = [[0, 0, 4, 0, 4, 4]]


def _annotation(number: int, image: int, box: object = (1, 2, 3, 4), category: int = 7, **more: object) -> dict:
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, **more}


@pytest.fixture
def make(tmp_path, draw) -> Callable[..., Path]:
    """Writes a file of annotations of the pictures 0 to 3 and returns the folder."""

    def make(annotations: list[dict], name: str = "instances.json", size: object = SIZE, **changes: object) -> Path:
        images = []
        for number in range(4):
            draw(tmp_path / "coco" / "images" / f"{number}.png", *SIZE, seed=number)
            images.append({"id": number, "file_name": f"{number}.png"})
            images[-1] |= {"height": size[0], "width": size[1]} if size else {}
        plain = {"images": images, "categories": CATEGORIES, "annotations": annotations, **changes}
        (tmp_path / "coco" / name).write_text(json.dumps(plain))
        return tmp_path / "coco"

    return make


def _objects(data):
    return [record.targets["objects"] for record in data.records]


def test_everything_that_an_annotation_says_stays(make):
    root = make(
        [
            _annotation(17, 1, [1, 2, 3, 4.5], area=9.5, segmentation=REGION),
            _annotation(18, 1, [0, 0, 10, 8], 0, area=70, iscrowd=1, segmentation={"size": [8, 10], "counts": [0, 80]}),
            _annotation(19, 2, segmentation=[]),
            _annotation(20, 3, area=5, segmentation=REGION),
            _annotation(21, 3, area=None),
        ]
    )
    data = open_dataset(root, "all", kind="objects")
    bare, full, plain, half = _objects(data)
    assert full.boxes == ((1, 2, 4, 6.5), (0, 0, 10, 8))
    assert (full.names, full.ignored) == (("cat", "person"), (False, True))
    assert (full.areas, full.regions) == ((9.5, 70), (REGION, {"size": [8, 10], "counts": [0, 80]}))
    assert (full.size, full.image_id) == (SIZE, 1)
    assert full.where(1) == f"{root / 'instances.json'}: annotation 18 ('person')"
    assert (plain.areas, plain.regions) == ((), ())
    assert (half.areas, half.regions) == ((5, None), (REGION, None))
    assert (len(bare), bare.size, bare.image_id, bare.source) == (0, SIZE, 0, full.source)
    assert [record.targets["labels"] for record in data.records] == [(), ("cat",), ("cat",), ("cat",)]
    assert f"{root}: 1 image without an object stays, as nothing to be found is something to learn." in data.notes


def test_classes_are_all_categories_in_the_order_of_their_numbers_which_stay_known(make):
    data = open_dataset(make([_annotation(1, 0), _annotation(2, 1, category=0)]), "train", kind="objects")
    assert data.classes == ("person", "cat", "toothbrush")
    assert data.numbers == {"person": 0, "cat": 7, "toothbrush": 90}
    assert data.select("val").numbers == data.with_fold(1, folds=2, seed=0).numbers == data.numbers


@pytest.mark.parametrize("size", [None, (0, 0), (None, 10)])
def test_the_size_of_a_picture_need_not_be_stated(make, size):
    data = open_dataset(make([_annotation(1, 0)], size=size), "all", kind="objects")
    assert [objects.size for objects in _objects(data)] == [None] * 4


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, 3, "a"], None, 5])
def test_a_box_that_is_not_four_numbers_is_named_by_its_annotation(make, box):
    root = make([_annotation(17, 1, box), _annotation(18, 1), _annotation(19, 1, "wide")])
    with pytest.raises(DataError) as caught:
        open_dataset(root, "all", kind="objects")
    for number in (17, 19):
        words = rf"instances\.json: annotation {number} of images/1\.png: its bbox is not four numbers\."
        with pytest.raises(DataError, match=words):
            raise DataError(str(caught.value))
    with pytest.raises(DataError, match=r"annotation 1 of images/0\.png: its bbox is not four numbers"):
        open_dataset(make([{"id": 1, "image_id": 0, "category_id": 7}]), "all", kind="objects")


@pytest.mark.parametrize(
    ("annotations", "changes", "words"),
    [
        ([_annotation(1, 0, category=5)], {}, r"annotation 1: its category 5 isn't in the list of categories"),
        ([_annotation(1, 9)], {}, r"annotations are of image 9, which isn't in the list of images"),
        ([], {"images": []}, r"instances\.json: the list of images is empty"),
        ([], {"images": ["a"]}, r"can't be read as COCO annotations"),
        ([], {"categories": []}, r"no image has a label, in 'train' if there is one"),
    ],
)
def test_faulty_files_are_refused_by_name(make, annotations, changes, words):
    with pytest.raises(DataError, match=words):
        open_dataset(make(annotations, **changes), "all", kind="objects")


def test_boxes_without_an_area_stay_with_the_others_and_are_said_once(make):
    annotations = [_annotation(number, number % 3, [1, 2, 0, 4]) for number in range(5)]
    root = make([*annotations, _annotation(9, 0), _annotation(10, 3, [1, 1, 3, -1])])
    data = open_dataset(root, "all", kind="objects")
    assert [(len(objects), len(objects.sound)) for objects in _objects(data)] == [(3, 1), (2, 0), (1, 0), (1, 0)]
    source = root / "instances.json"
    assert data.notes == (
        f"{root}: 3 images without an object stay, as nothing to be found is something to learn.",
        f"{root}: 6 boxes without an area were left out: {source}: annotation 0 ('cat'), "
        f"{source}: annotation 3 ('cat'), {source}: annotation 1 ('cat') and 3 more.",
    )


def test_a_class_has_one_number_in_all_splits(make):
    make([_annotation(1, 0)], "instances_train.json")
    root = make([], "instances_val.json", categories=[{"id": 8, "name": "cat"}])
    with pytest.raises(DataError, match=r"instances_val\.json: 'cat' is category 7 in one split and 8 in another"):
        open_dataset(root, "all", kind="objects")


def test_a_file_is_opened_by_its_own_path_with_the_pictures_beside_it(make):
    root = make([_annotation(1, 0)], "faces_dev_val.json")
    data = open_dataset(root / "faces_dev_val.json", "all", kind="objects")
    assert (data.format, len(data), data.records[0].name) == ("coco", 4, "images/0.png")
    assert all(record.path.is_file() for record in data.records)
    assert guess_kind(root / "faces_dev_val.json") == guess_kind(root) == "objects"
    assert list(open_dataset(root, "all", kind="objects").splits) == ["val"], "in a folder the name tells the split"


def test_val_is_cut_with_negatives_on_both_sides(make, tmp_path):
    root = make([_annotation(1, 0), _annotation(2, 1)])
    data = open_dataset(root, "train", kind="objects", val_fraction=0.5)
    for split in ("train", "val"):
        assert sorted(record.targets["labels"] for record in data.select(split).records) == [(), ("cat",)]
    assert data.class_counts() == {"person": 0, "cat": 1, "toothbrush": 0}
    copy = shutil.copytree(root, tmp_path / "copy")
    assert open_dataset(copy, "train", kind="objects", val_fraction=0.5).fingerprint() == data.fingerprint()


def test_the_fingerprint_follows_boxes_areas_and_crowds(make):
    changes = [{}, {"area": 5}, {"iscrowd": 1}, {"bbox": [1, 2, 3, 5]}, {"category_id": 90}, {"segmentation": REGION}]
    prints = {
        open_dataset(make([_annotation(1, 0) | change]), "all", kind="objects").fingerprint() for change in changes
    }
    assert len(prints) == len(changes)


def test_files_in_the_folders_of_their_pictures_as_roboflow_writes_them(make, tmp_path):
    plain = json.loads((make([_annotation(1, 1)]) / "instances.json").read_text())
    root = tmp_path / "exported"
    for folder in ("train", "valid"):
        shutil.copytree(tmp_path / "coco" / "images", root / folder)
        (root / folder / "_annotations.coco.json").write_text(json.dumps(plain))
    assert guess_kind(root) == "objects"
    data = open_dataset(root, "val", kind="objects")
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 4, "val": 4}
    assert [record.name for record in data.records] == [f"valid/{number}.png" for number in range(4)]
    assert all(record.path.is_file() for record in data.records)
