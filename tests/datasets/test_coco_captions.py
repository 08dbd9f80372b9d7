import json

import pytest
from onetrunk.datasets import DataError, guess_kind, open_dataset
from onetrunk.datasets.coco_captions import read_coco_captions


@pytest.fixture
def make(tmp_path, draw):
    """Writes JSON files into ``annotations``, and the pictures that their images name into a folder of the split."""

    def make(files, pictures="{}2017"):
        root = tmp_path / "coco"
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        for name, plain in files.items():
            (root / "annotations" / name).write_text(json.dumps(plain))
            split = "train" if "train" in name else "val"
            for image in plain["images"] if isinstance(plain, dict) else ():
                draw(root / pictures.format(split) / image["file_name"], height=8, width=8, seed=image["id"])
        return root

    return make


def _plain(*images, of=None):
    """Images as (id, captions); annotations are numbered from 100."""
    every = [(key, text) for key, texts in images for text in texts] + (of or [])
    return {
        "images": [{"id": key, "file_name": f"{key:012}.jpg"} for key, _ in images],
        "annotations": [
            {"id": number, "image_id": key, "caption": text} for number, (key, text) in enumerate(every, start=100)
        ],
    }


def test_captions_by_split_with_the_ids_of_images(make):
    root = make(
        {
            "captions_train2017.json": _plain((9, ["A cat.", " Two  cats\n"]), (2, ["b"])),
            "captions_val2017.json": _plain((5, ["c"])),
        }
    )
    train = open_dataset(root, "train", kind="captions")
    assert [(record.name, record.targets) for record in train.records] == [
        ("train2017/000000000002.jpg", {"captions": ("b",), "image_id": 2}),
        ("train2017/000000000009.jpg", {"captions": ("A cat.", "Two cats"), "image_id": 9}),
    ]
    assert len(train.select("val")) == 1
    assert (train.format, train.split_origin, train.notes) == ("coco", "files", ())
    assert guess_kind(root) == "captions"


def test_files_of_objects_may_lie_beside_them(make):
    objects = {"images": [], "categories": [{"id": 1, "name": "cat"}], "annotations": []}
    root = make({"captions_train2017.json": _plain((1, ["a"]), (2, ["b"])), "instances_train2017.json": objects})
    data = open_dataset(root, "all", kind="captions")
    assert (len(data), data.notes) == (2, ())
    assert guess_kind(root) == "objects"


def test_one_file_without_a_split_is_cut(make):
    root = make({"mine.json": _plain(*((key, ["a"]) for key in range(1, 11)))}, pictures="images")
    data = open_dataset(root, "val", kind="captions")
    assert (len(data), data.split_origin) == (2, "seeded 0.2 of everything, seed 0")
    by_file = open_dataset(root / "annotations" / "mine.json", "val", kind="captions")
    assert by_file.records == data.records
    assert guess_kind(root / "annotations" / "mine.json") == "captions"


def test_what_is_empty_is_left_out_and_named(make):
    root = make({"captions_train.json": _plain((1, ["a", " "]), (2, []), (3, [""]))}, pictures="train")
    contents = read_coco_captions(root)
    assert [record.targets["image_id"] for record in contents.splits["train"]] == [1]
    assert contents.notes == [
        f"{root}: 2 empty captions were left out: captions_train.json, annotation 101 (train/000000000001.jpg), "
        "captions_train.json, annotation 102 (train/000000000003.jpg).",
        f"{root}: 2 images without a caption were left out: train/000000000002.jpg, train/000000000003.jpg.",
    ]


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"images": [], "annotations": []}, "the list of images is empty"),
        (_plain((1, ["a"]), of=[(7, "b")]), "captions are of image 7, which isn't in the list of images"),
        (_plain((1, ["a"]), (1, [])), "image 1, train/000000000001.jpg, is there twice"),
        (
            _plain((1, [3])),
            "can't be read as COCO captions .TypeError: a caption is text, not 3.. They are an object with",
        ),
        ({"images": []}, "can't be read as COCO captions .KeyError: 'annotations'"),
        (_plain((1, [])), "no image has a caption.*1 image without a caption was left out"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(make, plain, message):
    root = make({"captions_train.json": plain}, pictures="train")
    with pytest.raises(DataError, match=message):
        open_dataset(root, "train", kind="captions")


def test_a_folder_without_any_picture_is_refused(make):
    root = make({"captions_train.json": _plain((1, ["a"]))}, pictures="elsewhere/{}")
    with pytest.raises(
        DataError, match=r"none of its 1 images exists, e.g. .*\. Pictures are looked for by their file_"
    ):
        open_dataset(root, "train", kind="captions")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("captions_train2014.json", "captions_train2017.json"),
            "'captions_train2014.json' and 'captions_train2017.json' are both captions of 'train'. Keep one, or give",
        ),
        (("captions_a.json", "captions_b.json"), "are both captions of no split"),
        (("captions.json", "captions_val.json"), "the name of 'captions.json' tells no split, but those of other"),
    ],
)
def test_files_that_do_not_go_together_are_refused(make, names, message):
    root = make({name: _plain((1, ["a"])) for name in names})
    with pytest.raises(DataError, match=message):
        open_dataset(root, "train", kind="captions")


def test_json_that_is_none_is_refused(make):
    root = make({})
    (root / "annotations" / "captions_train.json").write_text("{")
    with pytest.raises(DataError, match=r"captions_train\.json: this can't be read as COCO captions .JSONDecodeError"):
        open_dataset(root, "train", kind="captions")
