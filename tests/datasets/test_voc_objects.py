"""The VOC layout for detection."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from onetrunk.datasets import DataError, open_dataset

SIZE = "<size><width>16</width><height>12</height><depth>3</depth></size>"


def _object(name: str, box: str, difficult: int = 0) -> str:
    bounds = zip(("xmin", "ymin", "xmax", "ymax"), box.split(), strict=True)
    inner = "".join(f"<{bound}>{value}</{bound}>" for bound, value in bounds)
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{inner}</bndbox></object>"


CAT = _object("cat", "1 1 9 9")


@pytest.fixture
def make(tmp_path, draw) -> Callable[..., Path]:
    """Writes a folder of ``images`` and ``annotations``: pictures of 16x12 pixels with what is in their files."""

    def make(**pictures: str) -> Path:
        root = tmp_path / "set"
        for seed, (name, inner) in enumerate(pictures.items()):
            draw(root / "images" / f"{name}.jpg", height=12, width=16, seed=seed)
            (root / "annotations").mkdir(exist_ok=True)
            (root / "annotations" / f"{name}.xml").write_text(f"<annotation>{inner}</annotation>")
        return root

    return make


def _only(root):
    (record,) = open_dataset(root, "all", kind="objects").records
    return record.targets["objects"]


def _write_lists(folder: Path, **lists: str) -> None:
    folder.mkdir(parents=True)
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text(lines)


def test_objects_of_all_classes_stay_and_difficult_ones_are_ignored(make):
    root = make(a=SIZE + CAT + _object("dog", "3 4 5 6.5") + _object("eel", "1 1 2 2", 1), b=SIZE)
    data = open_dataset(root, "all", kind="objects")
    objects, bare = (record.targets["objects"] for record in data.records)
    assert objects.boxes == ((0, 0, 9, 9), (2, 3, 5, 6.5), (0, 0, 2, 2))
    assert (objects.names, objects.ignored) == (("cat", "dog", "eel"), (False, False, True))
    assert (objects.size, objects.image_id, objects.areas, objects.regions) == ((12, 16), None, (), ())
    assert objects.where(2) == f"{root / 'annotations' / 'a.xml'}: object 3 ('eel')"
    assert (len(bare), bare.size, bare.source) == (0, (12, 16), str(root / "annotations" / "b.xml"))
    assert [record.targets["labels"] for record in data.records] == [("cat", "dog"), ()]
    assert (data.format, data.classes, data.numbers) == ("voc", ("cat", "dog"), {})
    assert f"{root}: 1 image without an object stays, as nothing to be found is something to learn." in data.notes


@pytest.mark.parametrize(
    "size",
    [
        "",
        "<size/>",
        "<size><width>0</width><height>0</height></size>",
        "<size><width>16</width></size>",
        "<size><width>w</width><height>12</height></size>",
        "<size><width>inf</width><height>12</height></size>",
    ],
)
def test_a_size_that_no_program_wrote_is_not_known(make, size):
    assert _only(make(a=size + CAT)).size is None


@pytest.mark.parametrize("box", ["5 5 5 5", "5 2 5 9", "2 9 9 8"])
def test_a_box_whose_bounds_meet_has_no_area_and_is_said(make, box):
    root = make(a=CAT + _object("dog", box), b=_object("dog", "3 3 4 4"))
    data = open_dataset(root, "all", kind="objects")
    objects = data.records[0].targets["objects"]
    assert objects.boxes[1] == tuple(map(float, box.split())), "as it stands, not an area of a pixel"
    assert (objects.sound, data.records[0].targets["labels"]) == ((0,), ("cat",))
    path = root / "annotations" / "a.xml"
    assert data.notes == (f"{root}: 1 box without an area was left out: {path}: object 2 ('dog').",)


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        (
            "<object><name>cat</name></object>",
            r"b\.xml: object 1 \('cat'\): it has no box; the element 'bndbox' is miss",
        ),
        (_object("cat", "1 1 9 x", 1), r"b\.xml: object 1 \('cat'\): its bndbox is not four numbers, but 1, 1, 9, x"),
        (CAT + "<object><name>cat</name><bndbox/></object>", r"b\.xml: object 2 \('cat'\): its bndbox is not four"),
        ("<object/>", r"b\.xml: object 1 has no name"),
    ],
)
def test_what_is_no_box_is_refused_by_file_and_object(make, inner, words):
    root = make(a=CAT, b=inner, c="<object/>")
    with pytest.raises(DataError, match=words) as caught:
        open_dataset(root, "all", kind="objects")
    assert "c.xml: object 1 has no name" in str(caught.value), "all at once"


def test_the_lists_of_the_layout_split_it(make):
    root = make(a=CAT, b=CAT, c="")
    _write_lists(root / "splits", train="a\n", val="c\nb\n", cat_val="a\n")
    data = open_dataset(root, "val", kind="objects")
    assert (data.splits_origin, [record.name for record in data.records]) == ("lists", ["images/b.jpg", "images/c.jpg"])
    assert not any("taken by a word" in note for note in data.notes)


@pytest.mark.parametrize("kind", ["objects", "boxes", "labels"])
def test_lists_are_taken_by_a_word_where_none_has_a_plain_name(make, kind):
    root = make(a=CAT, b=CAT)
    _write_lists(root / "splits", dev_train="a\n", dev_val="b\n")
    data = open_dataset(root, "train", kind=kind)
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 1, "val": 1}
    note = "splits: the lists are taken by a word of their names: dev_train.txt for 'train', dev_val.txt for 'val'."
    assert any(note in each for each in data.notes)


def test_two_lists_of_one_word_are_refused_and_those_of_no_split_are_said(make):
    root = make(a=CAT, b=CAT)
    _write_lists(root / "splits", folds="a\n")
    data = open_dataset(root, "all", kind="objects")
    assert any("splits: no train.txt, val.txt, test.txt or trainval.txt; the pictures aren't" in n for n in data.notes)
    _write_lists(root / "splits" / "more")
    (root / "splits" / "fold1_train.txt").write_text("a\n")
    (root / "splits" / "fold2_train.txt").write_text("b\n")
    with pytest.raises(
        DataError, match=r"'fold1_train\.txt' and 'fold2_train\.txt' both list the split 'train'. Keep one"
    ):
        open_dataset(root, "all", kind="objects")


def test_coco_files_beside_the_layout_are_said_not_to_be_read(make):
    root = make(a=CAT)
    plain = {"images": [{"id": 1, "file_name": "a.jpg"}], "categories": [{"id": 1, "name": "face"}], "annotations": []}
    (root / "faces_dev_val.json").write_text(json.dumps(plain))
    data = open_dataset(root, "all", kind="objects")
    assert (data.format, data.classes) == ("voc", ("cat",))
    path = root / "faces_dev_val.json"
    assert (
        f"{root}: the VOC layout is read; not read: faces_dev_val.json. A COCO file can be given by its own path, such "
        f"as {path}."
    ) in data.notes
    assert open_dataset(path, "all", kind="objects").records[0].path == root / "images" / "a.jpg"


def test_negatives_are_cut_like_a_class(make):
    root = make(**dict.fromkeys("abcde", CAT), **dict.fromkeys("vwxyz", ""))
    data = open_dataset(root, "train", kind="objects")
    counts = {split: [len(each.targets["labels"]) for each in records] for split, records in data.splits.items()}
    assert {split: sorted(found) for split, found in counts.items()} == {"train": [0] * 4 + [1] * 4, "val": [0, 1]}


def test_a_folder_of_nothing_known_says_what_is_understood(pets):
    with pytest.raises(
        DataError,
        match=r"no objects found; it holds 2 folders .* Understood are: the VOC layout .*, WIDER FACE .*, YOLO's text "
        r"files .*, COCO JSON files, and a table with the columns path, label, xmin, ymin, xmax, ymax",
    ):
        open_dataset(pets, "all", kind="objects")
