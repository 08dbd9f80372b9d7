from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from onetrunk.datasets import (
    DataError,
    ResumableLoader,
    SampleDataset,
    eval_transform,
    guess_kind,
    open_dataset,
    require_label_sets,
    require_labels,
    write_split,
)


def _xml(name: str, *objects: str, filename: str | None = None) -> str:
    """An annotation; an object is its class, with ``?`` behind it if it is difficult."""
    parts = [
        f"<object><name>{one.rstrip('?')}</name><difficult>{int(one.endswith('?'))}</difficult>"
        "<part><name>head</name></part><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
        for one in objects
    ]
    return f"<annotation><filename>{filename or name + '.jpg'}</filename>{''.join(parts)}</annotation>"


@pytest.fixture
def make_voc(tmp_path, draw) -> Callable[..., Path]:
    """Writes a VOC folder: pictures with their objects, lists with their lines."""

    def make(pictures: dict[str, tuple[str, ...]], **lists: str) -> Path:
        root = tmp_path / "VOC2007"
        (root / "Annotations").mkdir(parents=True)
        for seed, (name, objects) in enumerate(pictures.items()):
            draw(root / "JPEGImages" / f"{name}.jpg", height=16, width=16, seed=seed)
            (root / "Annotations" / f"{name}.xml").write_text(_xml(name, *objects))
        for name, lines in lists.items():
            (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
            (root / "ImageSets" / "Main" / f"{name}.txt").write_text(lines)
        return root

    return make


PICTURES = {
    "000001": ("dog", "cat", "dog"),
    "000002": ("dog",),
    "000003": (),
    "000004": ("cat", "bird"),
    "000005": ("bird", "dog"),
    "000006": ("cat",),
}


def _labels(data):
    return {record.path.stem: record.targets["labels"] for record in data.records}


def test_labels_are_the_kinds_of_objects_in_a_picture(make_voc):
    root = make_voc(PICTURES, train="000001\n000003\n000002\n000004\n", val="000005\n", test=" 000006 \n\n")
    data = open_dataset(root, "train")
    assert (data.format, data.split_origin, tuple(data.splits)) == ("voc", "lists", ("train", "val", "test"))
    assert data.classes == ("bird", "cat", "dog")
    assert _labels(data) == {"000001": ("cat", "dog"), "000002": ("dog",), "000003": (), "000004": ("bird", "cat")}
    assert data.records[0].name == "JPEGImages/000001.jpg"
    assert data.records[0].path == root / "JPEGImages" / "000001.jpg"
    assert data.class_counts() == {"bird": 1, "cat": 2, "dog": 2}
    assert _labels(data.select("test")) == {"000006": ("cat",)}
    assert data.notes == ()
    assert not data.is_cut
    assert len(data.select("all")) == 6
    assert data.fingerprint() != data.select("val").fingerprint()


def test_the_lists_of_single_classes_and_trainval_beside_train_are_no_splits(make_voc):
    names = "".join(f"{name}\n" for name in PICTURES)
    of_class = "".join(f"{name}  1\n" for name in PICTURES)
    root = make_voc(
        PICTURES, train="000001\n000004\n", val="000002\n", trainval=names, cat_train=of_class, cat_val=of_class
    )
    data = open_dataset(root, "train")
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 2, "val": 1}
    (note,) = data.notes
    assert "3 annotated pictures are in none of the lists of ImageSets/Main and were left out" in note


def test_trainval_alone_is_cut_by_a_seed_and_test_stays_whole(make_voc):
    root = make_voc(PICTURES, trainval="000001\n000002\n000003\n000004\n000005\n", test="000006\n")
    data = open_dataset(root, "train", val_fraction=0.5)
    assert data.split_origin == "seeded 0.5 of train, seed 0"
    assert set(_labels(data)) | set(_labels(data.select("val"))) == set(PICTURES) - {"000006"}
    assert data.with_fold(1, folds=2, seed=0).split_origin == "fold 1 of 2, seed 0 of train"


def test_without_lists_everything_is_one_set(make_voc):
    root = make_voc(PICTURES)
    assert _labels(open_dataset(root, "all")).keys() == PICTURES.keys()
    data = open_dataset(root, "train", val_fraction=0.5)
    assert (data.split_origin, data.notes) == ("seeded 0.5 of everything, seed 0", ())
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    assert (
        "no train.txt, val.txt, test.txt or trainval.txt; the pictures aren't split"
        in (open_dataset(root, "train").notes[0])
    )


def test_difficult_objects_do_not_count(make_voc):
    root = make_voc({"1": ("dog", "dog?", "cat?"), "2": ("cat", "dog"), "3": ("bird?",)})
    data = open_dataset(root, "all")
    assert _labels(data) == {"1": ("dog",), "2": ("cat", "dog"), "3": ()}
    assert data.classes == ("cat", "dog")
    assert any("2 times all objects of a class in a picture are marked as difficult" in note for note in data.notes)


def test_a_multi_label_task_gets_batches_of_sets_and_a_single_label_task_is_told(make_voc):
    data = open_dataset(make_voc(PICTURES), "all")
    assert require_label_sets(data) == data
    dataset = SampleDataset(data.records, eval_transform((32, 32)), classes=data.classes)
    (batch,) = ResumableLoader(dataset, batch_size=6)
    expected = [[name in objects for name in data.classes] for objects in PICTURES.values()]
    assert torch.equal(batch.targets["labels"], torch.tensor(expected, dtype=torch.float32))
    with pytest.raises(DataError, match=r"000001\.jpg: the image has no single label; \S*VOC2007 gives any number"):
        require_labels(data)


def test_a_class_that_training_lacks_is_named(make_voc):
    root = make_voc(PICTURES, train="000002\n000006\n", val="000004\n")
    with pytest.raises(DataError, match=r"000004\.jpg: the class 'bird' isn't one of the 2 known here: cat, dog"):
        open_dataset(root, "val")


def test_a_list_may_have_another_name_for_its_split(make_voc):
    data = open_dataset(make_voc(PICTURES, train="000001\n", valid="000002\n"), "val")
    assert set(_labels(data)) == {"000002"}


def test_file_names_without_ending_and_several_pictures_of_a_name(make_voc, draw):
    root = make_voc(PICTURES)
    annotations = root / "Annotations"
    (annotations / "000001.xml").write_text(_xml("000001", "dog", filename="000001"))
    (annotations / "000002.xml").write_text("<annotation><object><name> dog </name></object></annotation>")
    draw(root / "JPEGImages" / "000004.png")
    (annotations / "000004.xml").write_text(_xml("000004", "cat", filename="000004.png"))
    (annotations / "._000001.xml").write_bytes(b"\x00")
    draw(root / "JPEGImages" / "bare.jpg")
    data = open_dataset(root, "all")
    assert [record.path.name for record in data.records] == [
        *(f"00000{number}.jpg" for number in (1, 2, 3)),
        "000004.png",
        *("000005.jpg", "000006.jpg"),
    ]
    assert _labels(data)["000002"] == ("dog",)
    assert any("1 pictures have no annotation and were left out, e.g. bare.jpg" in note for note in data.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotation><object>", r"000002\.xml: the annotation can't be read as XML \(.*line 1"),
        ("", r"000002\.xml: the annotation can't be read as XML"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', r"000002\.xml: the annotation can't be read as XML"),
        ("<html/>", r"000002\.xml: the outermost element is 'html', not 'annotation'"),
        (_xml("000002", "dog", ""), r"000002\.xml: object 2 has no name; the element 'name' is missing or empty"),
        (
            "<annotation><object><difficult>0</difficult></object></annotation>",
            r"000002\.xml: object 1 has no name",
        ),
        (
            "<annotation><object><name>dog</name><difficult>maybe</difficult></object></annotation>",
            r"000002\.xml: the element 'difficult' of object 1 is 'maybe', neither 0 nor 1",
        ),
        (
            _xml("000002", "dog", filename="000003.jpg"),
            r"000002\.xml: the element 'filename' says '000003\.jpg', but this is the annotation of '000002'",
        ),
    ],
)
def test_a_damaged_annotation_is_named_with_its_element(make_voc, text, words):
    root = make_voc(PICTURES)
    (root / "Annotations" / "000002.xml").write_text(text)
    with pytest.raises(DataError, match=words):
        open_dataset(root, "train")


def test_a_missing_picture_is_named(make_voc):
    root = make_voc(PICTURES)
    (root / "JPEGImages" / "000002.jpg").unlink()
    with pytest.raises(DataError, match=r"000002\.xml: its picture is missing; \S*JPEGImages holds no '000002\.jpg'"):
        open_dataset(root, "train")


def test_two_pictures_of_one_name_need_a_file_name(make_voc, draw):
    root = make_voc(PICTURES)
    draw(root / "JPEGImages" / "000002.png")
    (root / "Annotations" / "000002.xml").write_text("<annotation/>")
    with pytest.raises(DataError, match=r"holds 000002\.jpg and 000002\.png, and the element 'filename' doesn't say"):
        open_dataset(root, "train")


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        (
            {"train": "000001\n\n000009\n"},
            r"train\.txt, line 3: '000009' has no annotation; .*/000009\.xml",
        ),
        ({"train": "000001  1\n"}, r"train\.txt, line 1: '000001  1' has no annotation"),
        ({"train": "000001\n000001\n"}, r"train\.txt, line 2: '000001' is listed already in train\.txt, line 1"),
        (
            {"train": "000001\n", "val": "000002\n000001\n"},
            r"val\.txt, line 2: '000001' is listed already in train\.txt",
        ),
        ({"train": "000001\n", "test": "\n"}, r"test\.txt: the list is empty. Fill or remove it"),
        ({"val": "000001\n", "valid": "000002\n"}, r"'val\.txt' and 'valid\.txt' both list the split 'val'. Keep one"),
    ],
)
def test_a_damaged_list_is_named_with_its_line(make_voc, lists, words):
    with pytest.raises(DataError, match=words):
        open_dataset(make_voc(PICTURES, **lists), "train")


def test_a_list_that_is_no_text_is_named(make_voc):
    root = make_voc(PICTURES, train="")
    (root / "ImageSets" / "Main" / "train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"train\.txt: the list can't be read"):
        open_dataset(root, "train")


def test_the_layout_a_level_below_is_pointed_at(make_voc, tmp_path):
    root = make_voc(PICTURES)
    with pytest.raises(DataError, match=rf"begins below it\. Did you mean '{root}'\?"):
        open_dataset(tmp_path, "train")
    (tmp_path / "VOC2012" / "JPEGImages").mkdir(parents=True)
    (tmp_path / "VOC2012" / "Annotations").mkdir()
    with pytest.raises(DataError, match=r"Did you mean '\S*VOC2007' or '\S*VOC2012'\?"):
        open_dataset(tmp_path, "train")


def test_a_folder_without_annotations_is_refused(tmp_path):
    for name in ("JPEGImages", "Annotations"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"Annotations: no annotations; they end in \.xml"):
        open_dataset(tmp_path, "train")


def test_all_faults_of_lists_and_annotations_are_named_at_once(make_voc):
    root = make_voc(PICTURES, train="000001\n000002\n000009\n000001\n", val="000005\n000002\n")
    (root / "Annotations" / "000005.xml").write_text("<annotation>")
    (root / "JPEGImages" / "000002.jpg").unlink()
    with pytest.raises(DataError, match=r"VOC2007: 5 faults:\n") as raised:
        open_dataset(root, "train")
    found = ("train.txt, line 3: '000009'", "train.txt, line 4: '000001' is listed already in train.txt, line 1")
    found += (
        "val.txt, line 2: '000002' is listed already",
        "000002.xml: its picture is missing",
        "000005.xml: the anno",
    )
    assert all(words in line for words, line in zip(found, str(raised.value).splitlines()[1:], strict=True))


def test_a_fold_over_two_lists_is_read_back_from_its_file_in_the_same_order(make_voc, tmp_path):
    names = sorted(PICTURES)
    root = make_voc(PICTURES, train="".join(f"{n}\n" for n in names[::2]), val="".join(f"{n}\n" for n in names[1::2]))
    fold = open_dataset(root, "train").with_fold(1, folds=2, seed=0)
    write_split(tmp_path / "split.csv", fold.splits)
    again = open_dataset(root, "train", split_file=tmp_path / "split.csv")
    for split in ("train", "val"):
        assert again.select(split).records == fold.select(split).records
        assert again.select(split).fingerprint() == fold.select(split).fingerprint()


def _object(name: str, box: str, difficult: int = 0) -> str:
    bounds = zip(("xmin", "ymin", "xmax", "ymax"), box.split(), strict=True)
    inner = "".join(f"<{bound}>{value}</{bound}>" for bound, value in bounds)
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{inner}</bndbox></object>"


@pytest.fixture
def make_boxes(tmp_path, draw) -> Callable[..., Path]:
    """Writes a folder of ``images`` and ``annotations``: pictures of 16x16 pixels with their objects."""

    def make(**pictures: list[str]) -> Path:
        root = tmp_path / "raccoon"
        for seed, (name, objects) in enumerate(pictures.items()):
            draw(root / "images" / f"{name}.jpg", height=16, width=16, seed=seed)
            (root / "annotations").mkdir(exist_ok=True)
            (root / "annotations" / f"{name}.xml").write_text(f"<annotation>{''.join(objects)}</annotation>")
        return root

    return make


def test_bounds_count_from_one_and_include_the_last_pixel(make_boxes):
    root = make_boxes(
        a=[_object("cat", "1 1 16 16"), _object("cat", "3 4 5 6.5"), _object("dog", "1 1 2 2", difficult=1)],
        b=[_object("cat", "2 2 3 3"), _object("cat", "2 2 0 3")],
        c=[],
    )
    (root / "splits").mkdir()
    (root / "splits" / "train.txt").write_text("a\n")
    (root / "splits" / "val.txt").write_text("b\nc\n")
    data = open_dataset(root, "train", kind="boxes")
    assert data.records[0].targets == {"label": "cat", "boxes": ((0, 0, 16, 16), (2, 3, 5, 6.5))}
    assert data.select("val").records[0].targets["boxes"] == ((1, 1, 3, 3),)
    assert (data.format, data.splits_origin, data.classes) == ("voc", "lists", ("cat",))
    assert any("1 pictures without an object were left out" in note for note in data.notes)
    assert any("1 boxes without an area were left out" in note for note in data.notes)


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        (
            [_object("cat", "1 1 9 9"), _object("dog", "1 1 9 9")],
            r"b\.jpg: its objects are of 2 classes \(cat, dog\); a",
        ),
        ([_object("cat", "1 1 9 x")], r"b\.xml: object 1 \('cat'\): its bndbox is not four numbers, but 1, 1, 9, x"),
        (["<object><name>cat</name></object>"], r"b\.xml: object 1 \('cat'\): it has no box; the element 'bndbox' is"),
    ],
)
def test_what_is_no_box_of_one_class_is_refused(make_boxes, objects, words):
    root = make_boxes(a=[_object("cat", "1 1 16 16")], b=objects)
    with pytest.raises(DataError, match=words):
        open_dataset(root, "all", kind="boxes")


def test_a_folder_without_boxes_says_what_is_understood(pets):
    with pytest.raises(DataError, match=r"no boxes found; it holds 2 folders .* Understood are: the VOC layout"):
        open_dataset(pets, "all", kind="boxes")


@pytest.fixture
def masked_voc(make_voc, write_mask) -> Path:
    """The pictures with palette masks of 16x16 pixels, of which the first has a band to ignore."""
    root = make_voc(PICTURES)
    for number, name in enumerate(sorted(PICTURES)[:4]):
        mask = torch.zeros(16, 16, dtype=torch.uint8)
        mask[4:12] = 255 if number == 0 else 8
        mask[6:10] = 12
        write_mask(root / "SegmentationClass" / f"{name}.png", mask.numpy(), "P")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("000003\n000001\n")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("000002\n")
    return root


def test_masks_are_palette_pictures_whose_255_is_ignored(masked_voc):
    data = open_dataset(masked_voc, "train", kind="masks")
    assert (data.format, data.splits_origin, len(data.classes)) == ("voc", "lists", 21)
    assert [record.path.stem for record in data.records] == ["000001", "000003"], "sorted, whatever the list's order"
    first, third = data.records
    assert first.targets["labels"] == ("background", "dog")
    assert third.targets["labels"] == ("background", "cat", "dog")
    assert first.targets["mask"].pixels == {"background": 128, "dog": 64, "": 64}
    mask = first.targets["mask"].read(data.classes, (16, 16))
    assert mask[:, 0].tolist() == [0] * 4 + [255] * 2 + [12] * 4 + [255] * 2 + [0] * 4
    assert any("1 masks are in none of the lists" in note for note in data.notes)
    assert any("the values are taken for VOC's 21" in note for note in data.notes)
    assert open_dataset(masked_voc, "train").classes == ("bird", "cat", "dog"), "its labels are as they were"
    assert guess_kind(masked_voc) == "labels"


def test_masks_without_lists_pictures_or_files_are_named(masked_voc, write_mask):
    (masked_voc / "ImageSets" / "Segmentation" / "val.txt").write_text("000006\n000001\n")
    (masked_voc / "JPEGImages" / "000003.jpg").unlink()
    with pytest.raises(DataError, match="3 faults") as raised:
        open_dataset(masked_voc, "all", kind="masks")
    for words in (
        "val.txt, line 1: '000006' has no mask; there is no SegmentationClass/000006.png",
        "val.txt, line 2: '000001' is listed already in train.txt, line 2",
        "000003.png: its picture is missing in",
    ):
        assert words in str(raised.value)
    for path in (masked_voc / "SegmentationClass").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"SegmentationClass: no masks; they end in \.png"):
        open_dataset(masked_voc, "all", kind="masks")
