"""The COCO superset: what each kind of data set becomes of it."""

import json

import numpy as np
import pytest
from onetrunk.datasets import KINDS, DataError, Question, check_dataset, find_bad_images, guess_kind, open_dataset

CATEGORIES = [{"id": 3, "name": "square"}, {"id": 1, "name": "circle"}]


def _image(number, split="train", **more):
    return {"id": number, "file_name": f"{split}/{number}.png", "height": 8, "width": 10, **more}


def _object(number, image, category=1, **more):
    region = [[1, 1, 7, 1, 7, 6, 1, 6]]
    box = [1, 1, 6, 5]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": box,
        "area": 30,
        "segmentation": region,
        "iscrowd": 0,
        **more,
    }


def _caption(number, image, text="a circle"):
    return {"id": number, "image_id": image, "caption": text}


def _question(number, image, text="how many?", answers=("two",)):
    return {"id": number, "image_id": image, "question": text, "answers": list(answers)}


def _label(image, name="circle", **more):
    return {"image_id": image, "label": name, **more}


def _plain(split="train", **changes):
    """Four pictures of which all is known; of the last there is nothing but a label."""
    first = {"train": 0, "val": 10, "test": 20}[split]
    images = [first + number for number in range(4)]
    plain = {
        "images": [_image(number, split) for number in images],
        "categories": CATEGORIES,
        "annotations": [
            _object(100 + first, images[0]),
            _object(101 + first, images[1], 3),
            _object(102 + first, images[1], bbox=[0, 0, 4, 4], segmentation=[[0, 0, 4, 0, 4, 4, 0, 4]]),
            _object(103 + first, images[2], iscrowd=1),
        ],
        "captions": [_caption(200 + first + k, images[k // 2], f"caption  {k}") for k in range(6)],
        "qa": [_question(300 + first + k, images[k // 2], f"question {k}?", ["a", "b"][: k % 3]) for k in range(6)],
        "labels": [_label(number, ("circle", "square")[number % 2], bbox=[1, 1, 6, 5]) for number in images],
    }
    return {**plain, **changes}


@pytest.fixture
def make(tmp_path, draw):
    """Writes superset files by split, and the pictures that they name."""

    def make(folder="shapes", **files):
        root = tmp_path / folder
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        for split, plain in files.items():
            name = f"superset_{split}.json" if split else "superset.json"
            (root / "annotations" / name).write_text(json.dumps(plain))
            for image in plain["images"]:
                draw(root / "images" / image["file_name"], height=8, width=10, seed=image["id"])
        return root

    return make


@pytest.fixture
def coco(tmp_path, draw):
    """Writes files in the layouts of COCO and VQA, with pictures under the same names as ``make``'s."""

    def coco(**files):
        root = tmp_path / "coco"
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        for name, plain in files.items():
            folder = root if name.startswith(("v2", "Open")) else root / "annotations"
            (folder / f"{name}.json").write_text(json.dumps(plain))
        for number in (0, 1, 2, 3, 10, 11, 12, 13):
            split = "train" if number < 10 else "val"
            draw(root / "images" / split / f"{number}.png", height=8, width=10, seed=number)
        return root

    return coco


def _instances(plain):
    return {key: plain[key] for key in ("images", "categories", "annotations")}


def _told(root, data):
    """Records without the paths that tell one folder from another."""
    return [(record.name, _without_source(record.targets)) for record in data.records]


def _without_source(targets):
    return {key: target.identity() if hasattr(target, "identity") else target for key, target in targets.items()}


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("kind", ["masks", "objects"])
def test_objects_and_masks_are_those_of_cocos_reader(make, coco, split, kind):
    files = {each: _plain(each) for each in ("train", "val")}
    ours = open_dataset(make(**files), split, kind=kind)
    theirs = open_dataset(
        coco(**{f"instances_{each}": _instances(plain) for each, plain in files.items()}), split, kind=kind
    )
    assert _told(ours.root, ours) == _told(theirs.root, theirs)
    assert (ours.classes, ours.numbers, len(ours)) == (theirs.classes, theirs.numbers, 4)
    assert (ours.format, ours.splits_origin, theirs.format) == ("superset", "files", "coco")
    assert ours.fingerprint() == theirs.fingerprint()


def test_captions_are_those_of_cocos_reader(make, coco):
    plain = _plain()
    ours = open_dataset(make(train=plain, val=_plain("val")), "train", kind="captions")
    theirs = {"images": plain["images"], "annotations": plain["captions"]}
    theirs = open_dataset(coco(captions_train=theirs, captions_val=theirs), "train", kind="captions")
    assert _told(ours.root, ours) == _told(theirs.root, theirs)
    assert ours.records[0].targets == {"captions": ("caption 0", "caption 1"), "image_id": 0}
    assert any("2 images without a caption were left out: images/train/3.png, ima" in note for note in ours.notes)


def test_questions_are_those_of_vqas_reader(make, coco):
    plain = _plain()
    ours = open_dataset(make(train=plain, val=_plain("val")), "train", kind="questions")
    asked = [{"question_id": each["id"], **each} for each in plain["qa"]]
    answers = [{**each, "answers": [{"answer": text} for text in each["answers"]]} for each in asked]
    root = coco(
        OpenEnded_mscoco_train2014_questions={"questions": asked},
        mscoco_train2014_annotations={"annotations": answers},
    )
    theirs = open_dataset(root, "all", kind="questions")
    assert _told(ours.root, ours) == _told(theirs.root, theirs)
    assert ours.records[0].targets["questions"][1] == Question("question 1?", ("a",), number=301)
    assert any("2 questions have no answer: question 300, question 303" in note for note in ours.notes)


def test_boxes_of_labels_are_those_of_cocos_objects(make, coco):
    plain = _plain()
    numbers = {each["name"]: each["id"] for each in CATEGORIES}
    objects = [{**each, "id": 1, "category_id": numbers[each["label"]]} for each in plain["labels"]]
    ours = open_dataset(make(train=plain, val=_plain("val")), "train", kind="boxes")
    theirs = {"images": plain["images"], "categories": CATEGORIES, "annotations": objects}
    theirs = open_dataset(coco(instances_train=theirs, instances_val=theirs), "train", kind="boxes")
    assert _told(ours.root, ours) == _told(theirs.root, theirs)
    assert ours.records[1].targets == {"label": "square", "boxes": ((1, 1, 7, 6),)}
    assert ours.classes == theirs.classes == ("circle", "square")


def test_one_label_each_is_a_class_and_else_there_are_any_number(make):
    single = open_dataset(make(train=_plain(), val=_plain("val")), "train")
    assert [record.targets for record in single.records[:2]] == [{"label": "circle"}, {"label": "square"}]
    assert (single.classes, len(single.select("val"))) == (("circle", "square"), 4)
    several = _plain("val", labels=[_label(10), _label(10, "square"), _label(10), _label(11)])
    several["images"][2]["known"] = []
    data = open_dataset(make(train=_plain(), val=several), "val")
    assert [(record.name, record.targets) for record in data.records] == [
        ("images/val/10.png", {"labels": ("circle", "square")}),
        ("images/val/11.png", {"labels": ("circle",)}),
        ("images/val/13.png", {"labels": ()}),
    ]
    assert data.select("train").records[0].targets == {"labels": ("circle",)}, "one rule for all splits"
    assert any("superset_val.json: 'labels' isn't known of 1 picture, left out for it" in note for note in data.notes)


def test_known_and_empty_is_a_negative_and_unknown_is_left_out(make):
    plain = _plain(annotations=[_object(1, 0)])
    plain["images"][1]["known"] = ["labels"]
    plain["images"][2]["known"] = ["annotations"]
    plain["labels"] = [each for each in plain["labels"] if each["image_id"] != 2]
    plain |= {"captions": plain["captions"][:2], "qa": plain["qa"][:2]}
    root = make(train=plain, val=_plain("val"))
    objects = open_dataset(root, "train", kind="objects")
    assert {record.name[-5:]: len(record.targets["objects"]) for record in objects.records} == {
        "0.png": 1,
        "2.png": 0,
        "3.png": 0,
    }
    masks = open_dataset(root, "train", kind="masks").records
    assert [sorted(record.targets["labels"]) for record in masks] == [
        ["background", "circle"],
        ["background"],
        ["background"],
    ]
    assert [len(open_dataset(root, "train", kind=kind)) for kind in ("labels", "captions", "questions")] == [3, 1, 1]


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("labels", "labels"),
        ("boxes", "labels"),
        ("masks", "annotations"),
        ("objects", "annotations"),
        ("captions", "captions"),
        ("questions", "qa"),
    ],
)
def test_a_key_that_no_file_has_is_unknown_of_every_picture(make, kind, key):
    plain = {split: _plain(split) for split in ("train", "val")}
    for each in plain.values():
        each[f"{key}s"] = each.pop(key)
    root = make(**plain)
    with pytest.raises(DataError, match=rf"shapes: of no picture '{key}' is known; the files have the keys .*{key}s.*"):
        open_dataset(root, "train", kind=kind)
    with pytest.raises(DataError, match=rf"Did you mean '{key}s'\? Known and empty is an empty list '{key}'\."):
        open_dataset(root, "train", kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_split_of_which_nothing_is_known_is_no_split_of_that_kind(make, kind):
    bare = {key: value for key, value in _plain("val").items() if key == "images"}
    data = open_dataset(make(train=_plain(), val=bare), "train", kind=kind)
    assert data.splits_origin == "seeded 0.2 of train, seed 0"
    assert all(record.name.startswith("images/train/") for record in data.everything)


def test_pictures_without_a_box_are_left_out_and_two_labels_have_no_one_place(make):
    plain = _plain(labels=[_label(0, bbox=[1, 1, 5, 5]), _label(1), _label(2), _label(3, bbox=[1, 1, 2, 2])])
    data = open_dataset(make(train=plain, val=_plain("val")), "train", kind="boxes")
    assert [record.name for record in data.records] == ["images/train/0.png", "images/train/3.png"]
    assert any("superset_train.json: 2 pictures without a box, left out for boxes" in note for note in data.notes)
    plain["labels"].append(_label(0, "square"))
    with pytest.raises(DataError, match=r"train/0.png: its objects are of 2 classes \(circle, square\)"):
        open_dataset(make(train=plain), "train", kind="boxes")
    for each in plain["labels"]:
        each.pop("bbox", None)
    with pytest.raises(DataError, match="no label has a 'bbox', so it isn't known where things are"):
        open_dataset(make("bare", train=plain), "train", kind="boxes")


def _reference(key):
    return {"annotations": _object(999, 99), "captions": _caption(999, 99), "labels": _label(99)}.get(
        key, _question(999, 99)
    )


@pytest.mark.parametrize(
    ("kind", "key"), [("labels", "labels"), ("objects", "annotations"), ("captions", "captions"), ("questions", "qa")]
)
def test_what_does_not_go_together_is_named(make, kind, key):
    plain = _plain()
    plain[key].append(_reference(key))
    with pytest.raises(
        DataError, match=rf"superset_train\.json: '{key}' has entries of images that aren't in .*: 99\."
    ):
        open_dataset(make(train=plain), "train", kind=kind)
    plain = _plain()
    plain["images"][0]["known"] = []
    message = (
        rf"superset_train\.json: '{key}' has entries of images whose 'known' doesn't list it: 0\. Add it there, or"
    )
    with pytest.raises(DataError, match=message):
        open_dataset(make(train=plain), "train", kind=kind)
    plain = _plain()
    del plain[key]
    plain["images"][2]["known"] = [key]
    message = rf"images say that '{key}' is known of them, but the file has no '{key}': 2\. Add it, an empty list if"
    with pytest.raises(DataError, match=message):
        open_dataset(make(train=plain), "train", kind=kind)


def test_pictures_that_are_there_twice_are_named(make):
    plain = _plain()
    plain["images"].append(_image(3))
    with pytest.raises(DataError, match=r"image 3, images/train/3\.png, is there twice"):
        open_dataset(make(train=plain), "train")
    plain = _plain("val")
    plain["images"][0]["file_name"] = "train/0.png"
    message = r"1 picture is in more than one split: 'images/train/0\.png' in train and val\. A picture is for training"
    with pytest.raises(DataError, match=message):
        open_dataset(make(train=_plain(), val=plain), "train", kind="captions")


def test_an_unknown_category_and_an_id_that_is_there_twice_are_named(make):
    with pytest.raises(DataError, match="annotation 5: its category 9 isn't in the list of categories"):
        open_dataset(make(train=_plain(annotations=[_object(5, 0, 9)])), "train", kind="objects")
    asked = [_question(1, 0), _question(1, 1)]
    with pytest.raises(DataError, match=r"superset_train\.json: the id of a question is there twice: 1\."):
        open_dataset(make(train=_plain(qa=asked)), "train", kind="questions")


def test_what_is_empty_counts_as_elsewhere(make):
    plain = _plain(captions=[_caption(1, 0, " "), _caption(2, 0)], qa=[_question(1, 0, "\n"), _question(2, 0)])
    root = make(train=plain, val=_plain("val"))
    notes = open_dataset(root, "train", kind="captions").notes
    assert any("1 empty caption was left out: superset_train.json, caption 1 (images/train/0.png)" in n for n in notes)
    data = open_dataset(root, "train", kind="questions")
    assert any("1 empty question was left out: question 1." in note for note in data.notes)
    assert [question.number for question in data.records[0].targets["questions"]] == [2]
    with pytest.raises(DataError, match="no image has a caption"):
        open_dataset(make("bare", train=_plain(captions=[])), "train", kind="captions")
    with pytest.raises(DataError, match="nothing is asked about any picture"):
        open_dataset(make("bare", train=_plain(qa=[])), "train", kind="questions")
    with pytest.raises(DataError, match=r"no image has a label, .*no classes to tell apart"):
        open_dataset(make("bare", train=_plain(labels=[])), "train")


@pytest.mark.parametrize("kind", ["captions", "questions"])
def test_a_folder_without_any_picture_is_refused(make, kind):
    root = make(train=_plain())
    for path in (root / "images" / "train").iterdir():
        path.unlink()
    with pytest.raises(
        DataError, match=r"none of its 3 images exists, e\.g\. .* Pictures are looked for by their file_n"
    ):
        open_dataset(root, "train", kind=kind)


def test_names_of_files_tell_the_splits(make):
    root = make(**{"": _plain()})
    assert open_dataset(root, "val").splits_origin == "seeded 0.2 of everything, seed 0"
    with pytest.raises(DataError, match=r"the name of 'superset\.json' tells no split, but those of other files do"):
        open_dataset(make(val=_plain("val")), "train")
    (root / "annotations" / "superset.json").rename(root / "annotations" / "superset_training.json")
    assert set(open_dataset(root, "train").splits) == {"train", "val"}
    with pytest.raises(
        DataError, match=r"'superset_train\.json' and 'superset_training\.json' are both for 'train'\. Ke"
    ):
        open_dataset(make(train=_plain()), "train")
    (root / "annotations" / "superset_train.json").rename(root / "annotations" / "superset_a.json")
    (root / "annotations" / "superset_training.json").rename(root / "annotations" / "superset_b.json")
    (root / "annotations" / "superset_val.json").unlink()
    with pytest.raises(DataError, match=r"'superset_a\.json' and 'superset_b\.json' both name no split"):
        open_dataset(root, "train")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_can_be_given_by_its_own_path(make, kind):
    root = make(train=_plain(), val=_plain("val"))
    data = open_dataset(root / "annotations" / "superset_train.json", "all", kind=kind)
    assert (data.format, data.records) == ("superset", open_dataset(root, "train", kind=kind).records)


def test_the_kind_is_guessed_by_what_is_in_the_files(make):
    plain, keys = _plain(), ("labels", "annotations", "captions", "qa")
    guesses = []
    for key in keys:
        guesses.append(guess_kind(make(train=plain)))
        del plain[key]
    assert guesses == ["labels", "masks", "captions", "questions"]
    flat = [{key: value for key, value in each.items() if key != "segmentation"} for each in _plain()["annotations"]]
    root = make(train={"images": _plain()["images"], "categories": CATEGORIES, "annotations": flat})
    assert guess_kind(root) == guess_kind(root / "annotations" / "superset_train.json") == "objects"


def test_files_of_coco_beside_it_are_passed_over_and_said_so(make):
    root = make(train=_plain())
    others = {"images": _plain()["images"], "annotations": _plain()["captions"]}
    (root / "annotations" / "captions_train.json").write_text(json.dumps(others))
    data = open_dataset(root, "train", kind="captions")
    assert any("read is 'superset', not read 'coco'" in note for note in data.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_data_set_has_no_errors(make, kind):
    report = check_dataset(make(train=_plain(), val=_plain("val")), kind=kind, workers=1)
    assert (report.errors, report.format, report.kind) == ((), "superset", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_names_the_picture_and_the_fault(make, kind):
    plain = _plain()
    plain["images"].append({**_image(50), "known": ["labels", "annotations", "captions", "qa"]})
    plain["labels"].append(_label(50, bbox=[0, 0, 3, 3]))
    plain["captions"].append(_caption(900, 50))
    plain["qa"].append(_question(900, 50))
    root = make(train=plain, val=_plain("val"))
    (root / "images" / "train" / "50.png").write_bytes(b"")
    report = check_dataset(root, kind=kind, workers=1)
    assert [(each.kind, each.files) for each in report.errors] == [("unreadable", ("images/train/50.png",))]
    (root / "annotations" / "superset_val.json").write_text(json.dumps(_plain("val", labels=3)))
    with pytest.raises(
        DataError, match=r"superset_val\.json: labels is 3; it has to be a list of labels of pictures\."
    ):
        check_dataset(root, kind=kind, workers=1)


def test_a_region_that_can_not_be_read_is_named_and_its_picture_set_aside(make):
    plain = _plain()
    plain["annotations"][0]["segmentation"] = [[0, 0, 1, 1]]
    data = open_dataset(make(train=plain, val=_plain("val")), "train", kind="masks")
    (bad,) = find_bad_images(data.records)
    assert bad.name == "images/train/0.png"
    assert "superset_train.json: annotation 100: its segmentation can't be read (a polygon has at least" in bad.reason
    mask = data.records[1].targets["mask"].read(data.classes, (8, 10)).numpy()
    assert np.unique(mask).tolist() == [0, 1, 2]
