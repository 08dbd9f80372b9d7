"""Several kinds of annotations of the same pictures."""

import json

import pytest
from onetrunk.datasets import DataError, open_annotated, open_dataset, write_split
from onetrunk.datasets.superset_schema import read_checked


def _image(name, number):
    return {"id": number, "file_name": name, "height": 8, "width": 10}


def _object(number, image, category=1):
    box = {"bbox": [1, 1, 6, 5], "segmentation": [[1, 1, 7, 1, 7, 6, 1, 6]]}
    return {"id": number, "image_id": image, "category_id": category, "iscrowd": 0, **box}


@pytest.fixture
def shapes(tmp_path, draw):
    """A superset: of training pictures 0 to 7 labels are known, of the even ones objects, of 0 to 3 captions."""
    root = tmp_path / "shapes"
    (root / "annotations").mkdir(parents=True)
    for split, numbers in {"train": range(8), "val": range(10, 13)}.items():
        known = {
            number: ["labels"] + ["annotations"] * (number % 2 == 0) + ["captions"] * (number < 4) for number in numbers
        }
        plain = {
            "images": [{**_image(f"{split}/{number}.png", number), "known": known[number]} for number in numbers],
            "categories": [{"id": 1, "name": "ball"}],
            "annotations": [_object(number, number) for number in numbers if number % 4 == 0],
            "captions": [{"image_id": number, "caption": f"picture {number}"} for number in numbers if number < 4],
            "labels": [{"image_id": number, "label": ("cat", "dog")[number % 2]} for number in numbers],
        }
        (root / "annotations" / f"superset_{split}.json").write_text(json.dumps(plain))
        for number in numbers:
            draw(root / "images" / split / f"{number}.png", height=8, width=10, seed=number)
    return root


def test_targets_stay_apart_by_kind_and_what_is_unknown_has_none(shapes):
    data = open_annotated(shapes, "train", kinds=("labels", "objects", "captions"))
    assert [(record.name[-5:], sorted(record.known)) for record in data.records] == [
        ("0.png", ["captions", "labels", "objects"]),
        ("1.png", ["captions", "labels"]),
        ("2.png", ["captions", "labels", "objects"]),
        ("3.png", ["captions", "labels"]),
        ("4.png", ["labels", "objects"]),
        ("5.png", ["labels"]),
        ("6.png", ["labels", "objects"]),
        ("7.png", ["labels"]),
    ]
    first, third = data.records[0], data.records[2]
    assert first.targets["labels"] == {"label": "cat"}
    assert first.targets["objects"]["labels"] == ("ball",)
    assert first.targets["captions"] == {"captions": ("picture 0",), "image_id": 0}
    assert third.targets["objects"]["labels"] == (), "known and empty"
    assert data.known_counts() == {"labels": 8, "objects": 4, "captions": 4}
    assert any("superset_train.json: 'captions' isn't known of 4 pictures, left out for it" in n for n in data.notes)
    assert any("superset_val.json: 'captions' isn't known of 3 pictures, left out for it" in n for n in data.notes)


@pytest.mark.parametrize("split", ["train", "val", "all"])
def test_each_kind_is_what_it_is_alone(shapes, split):
    data = open_annotated(shapes, split, kinds=("labels", "objects", "masks"))
    for kind in ("labels", "objects", "masks"):
        alone = open_dataset(shapes, split, kind=kind)
        assert data.of(kind).records == alone.records
        assert data.of(kind).classes == alone.classes
        assert data.of(kind).fingerprint() == alone.fingerprint()
        assert tuple(record.record(kind) for record in data.records if kind in record.known) == alone.records
    assert (data.pictures.format, data.pictures.splits_origin, len(data)) == (
        "superset",
        "files",
        {"train": 8, "val": 3, "all": 11}[split],
    )


def test_another_split_is_taken_without_reading_again(shapes):
    data = open_annotated(shapes, "train", kinds=("labels", "captions"))
    val = data.select("val")
    assert [record.name for record in val.records] == [f"images/val/{number}.png" for number in (10, 11, 12)]
    with pytest.raises(DataError, match=r"shapes: of no picture of 'val' the captions are known\."):
        val.of("captions")
    with pytest.raises(DataError, match=r"shapes: it was opened for its labels and captions, not for its masks\."):
        val.of("masks")
    with pytest.raises(DataError, match="there is no split 'test'; there are: train, val"):
        data.select("test")
    assert len(data.select("all").of("captions")) == 4


def test_the_fingerprint_follows_what_is_known_of_every_kind(shapes):
    def fingerprints(*kinds):
        return open_annotated(shapes, "train", kinds=kinds).fingerprint()

    both = fingerprints("labels", "objects")
    assert both == fingerprints("labels", "objects") != fingerprints("labels")
    path = shapes / "annotations" / "superset_train.json"
    plain = json.loads(path.read_text())
    plain["annotations"][0]["bbox"] = [0, 0, 2, 2]
    path.write_text(json.dumps(plain))
    assert fingerprints("labels", "objects") != both


def test_a_file_is_read_once_for_all_kinds(shapes, monkeypatch):
    read = []

    def count(path):
        read.append(path.name)
        return read_checked(path)

    monkeypatch.setattr("onetrunk.datasets.superset_files.read_checked", count)
    open_annotated(shapes, "train", kinds=("labels", "objects", "masks", "captions"))
    assert sorted(read) == ["superset_train.json", "superset_val.json"]
    open_annotated(shapes, "train", kinds=("labels",))
    assert len(read) == 4, "and anew each time, for it may have changed"


@pytest.fixture
def coco(tmp_path, draw):
    """COCO's files: objects of the pictures 0 to 11, captions of 6 to 17, in no splits."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for number in range(18):
        draw(root / "images" / f"{number:02}.png", height=8, width=10, seed=number)

    def write(split="", objects=range(12), captions=range(6, 18)):
        ending = f"_{split}.json" if split else ".json"
        plain = {
            "images": [_image(f"{number:02}.png", number) for number in objects],
            "categories": [{"id": 1, "name": "ball"}, {"id": 2, "name": "box"}],
            "annotations": [_object(number, number, 1 + number % 2) for number in objects],
        }
        (root / "annotations" / f"instances{ending}").write_text(json.dumps(plain))
        plain = {
            "images": [_image(f"{number:02}.png", number) for number in captions],
            "annotations": [{"id": number, "image_id": number, "caption": "a"} for number in captions],
        }
        (root / "annotations" / f"captions{ending}").write_text(json.dumps(plain))
        return root

    return write


def _names(records):
    return {record.name for record in records}


def test_files_of_coco_are_merged_by_picture_and_cut_once(coco):
    data = open_annotated(coco(), "train", kinds=("objects", "captions"), split_seed=3)
    every = data.select("all")
    assert [(record.name, sorted(record.known)) for record in every.records][5:7] == [
        ("images/05.png", ["objects"]),
        ("images/06.png", ["captions", "objects"]),
    ]
    val = data.select("val")
    assert len(every) == 18 and not _names(data.records) & _names(val.records)
    for kind in ("objects", "captions"):
        assert _names(data.of(kind).records) == {each.name for each in data.records if kind in each.known}
        assert _names(val.of(kind).records) == {each.name for each in val.records if kind in each.known}
        assert data.of(kind).splits_origin == "seeded 0.2 of everything, seed 3"
    known = {kind: len(data.of(kind)) for kind in ("objects", "captions")}
    for kind, number in known.items():
        words = f"the {kind} are known of {number} of the {len(data)} pictures in 'train'"
        assert number < len(data) and any(words in note for note in data.notes)
    objects, captions = (open_dataset(coco(), "val", kind=kind, split_seed=3) for kind in ("objects", "captions"))
    trained = open_dataset(coco(), "train", kind="captions", split_seed=3)
    assert _names(objects.records) & _names(trained.records), "cuts of each kind by itself would not agree"
    assert _names(captions.records) != _names(val.of("captions").records)


def test_a_file_of_splits_is_followed_by_every_kind(coco, tmp_path):
    root = coco()
    cut = open_annotated(root, "train", kinds=("objects", "captions"), split_seed=5)
    write_split(tmp_path / "split.csv", cut.pictures.splits)
    again = open_annotated(root, "val", kinds=("captions", "objects"), split_file=tmp_path / "split.csv")
    assert again.records == cut.select("val").records
    assert again.pictures.splits_origin == "file"
    rows = (tmp_path / "split.csv").read_text().splitlines()
    (tmp_path / "split.csv").write_text("\n".join(rows[:-2]))
    fewer = open_annotated(root, "all", kinds=("objects", "captions"), split_file=tmp_path / "split.csv")
    assert len(fewer) == 16
    assert any("2 images aren't listed in" in note for note in fewer.notes)


def test_a_picture_in_two_splits_is_refused(coco, tmp_path):
    coco("train", objects=range(8), captions=range(4))
    root = coco("val", objects=range(8, 12), captions=range(2, 10))
    for name in ("captions_val.json", "captions_train.json"):
        plain = json.loads((root / "annotations" / name).read_text())
        plain["images"] = [image for image in plain["images"] if name != "captions_train.json" or image["id"] < 2]
        plain["annotations"] = [
            each for each in plain["annotations"] if each["image_id"] in {i["id"] for i in plain["images"]}
        ]
        (root / "annotations" / name).write_text(json.dumps(plain))
    message = (
        r"coco: 6 pictures are in different splits for different kinds, e\.g\. 'images/02\.png' in 'train' for its "
        r"objects and in 'val' for its captions\. A picture is for training or for measuring, of every kind; keep it "
        r"in one, or give a file of splits\."
    )
    with pytest.raises(DataError, match=message):
        open_annotated(root, "train", kinds=("objects", "captions"))
    (tmp_path / "split.csv").write_text("name,split\n" + "".join(f"images/{n:02}.png,train\n" for n in range(10)))
    assert len(open_annotated(root, "train", kinds=("objects", "captions"), split_file=tmp_path / "split.csv")) == 10


def test_pictures_in_no_split_follow_another_kind_or_count_as_trained_on(coco):
    root = coco("train", objects=range(8), captions=range(2))
    coco("val", objects=range(8, 12), captions=range(2))
    for name in ("captions_train.json", "captions_val.json"):
        (root / "annotations" / name).unlink()
    plain = {"images": [_image(f"{number:02}.png", number) for number in (3, 9, 15)]}
    plain["annotations"] = [{"id": image["id"], "image_id": image["id"], "caption": "a"} for image in plain["images"]]
    (root / "annotations" / "captions.json").write_text(json.dumps(plain))
    data = open_annotated(root, "train", kinds=("objects", "captions"))
    assert [record.name for record in data.of("captions").records] == ["images/03.png", "images/15.png"]
    assert [record.name for record in data.select("val").of("captions").records] == ["images/09.png"]
    assert any("counted as 'train', being in no split: images/15.png." in note for note in data.notes)
    assert data.led == {"captions"}


def test_a_table_of_several_columns_keeps_its_order_and_its_subjects(tmp_path, draw):
    rows = ["path,label,caption,subject"]
    for number in (3, 1, 2, 0):
        draw(tmp_path / f"{number}.png", seed=number)
        rows.append(f"{number}.png,{'ab'[number % 2]},text {number},{'xy'[number // 2]}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    data = open_annotated(tmp_path / "table.csv", "all", kinds=("labels", "captions"))
    assert [record.name for record in data.records] == ["3.png", "1.png", "2.png", "0.png"]
    assert data.records[0].targets == {
        "labels": {"label": "b", "subject": "y"},
        "captions": {"captions": ("text 3",), "subject": "y"},
    }
    train, val = (_names(data.select(split).records) for split in ("train", "val"))
    assert {frozenset(train), frozenset(val)} == {frozenset({"3.png", "2.png"}), frozenset({"0.png", "1.png"})}


def test_kinds_without_splits_of_their_own_are_told_from_those_that_have_them(shapes, coco):
    kinds = ("objects", "captions")
    assert open_annotated(shapes, "train", kinds=kinds).led == set()
    assert open_annotated(coco(), "train", kinds=kinds).led == {*kinds}


def test_a_class_that_is_not_trained_on_is_refused(shapes):
    path = shapes / "annotations" / "superset_val.json"
    plain = json.loads(path.read_text())
    plain["labels"][0]["label"] = "eel"
    path.write_text(json.dumps(plain))
    data = open_annotated(shapes, "train", kinds=("objects", "labels"))
    for split in ("val", "all"):
        with pytest.raises(DataError, match="the class 'eel' isn't one of the 2 known here: cat, dog"):
            data.select(split)


def test_faults_of_all_kinds_are_named_at_once_and_each_once(shapes):
    path = shapes / "annotations" / "superset_train.json"
    plain = json.loads(path.read_text())
    plain["images"].append(plain["images"][0])
    plain["captions"].append({"image_id": 99, "caption": "a"})
    path.write_text(json.dumps(plain))
    with pytest.raises(DataError) as caught:
        open_annotated(shapes, "train", kinds=("labels", "captions"))
    message = str(caught.value)
    assert "2 faults" in message and message.count("is there twice") == message.count("aren't in the list") == 1


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (
            (),
            r"No kind was named to open a data set for\. There are: labels, masks, boxes, objects, captions, quest",
        ),
        (("labels", "caption"), r"Unknown kind 'caption'\. There are: labels, .*\. Did you mean 'captions'\?"),
        (("labels", "questions"), "of no picture 'qa' is known"),
    ],
)
def test_kinds_that_there_are_not_are_refused(shapes, kinds, message):
    with pytest.raises(DataError, match=message):
        open_annotated(shapes, "train", kinds=kinds)
