import os

import pytest
from onetrunk.datasets import DataError, open_dataset


def test_names_labels_and_classes(pets):
    train = open_dataset(pets, "train")
    assert train.classes == ("cat", "dog")
    assert len(train) == 23
    assert train.records[0].name == "train/cat/00.jpg"
    assert train.records[0].path == pets / "train" / "cat" / "00.jpg"
    assert train.records[0].targets == {"label": "cat"}
    assert [record.name for record in train.records] == sorted(record.name for record in train.records)
    assert (train.format, train.split_origin, tuple(train.splits)) == ("image_folder", "folders", ("train", "val"))
    assert train.class_counts() == {"cat": 12, "dog": 11}
    assert train.notes == ()


@pytest.mark.parametrize(
    ("folder", "asked"),
    [
        ("training", "train"),
        ("training_set", "train"),
        ("Train-Set", "train"),
        ("VALID", "val"),
        ("validation", "Val"),
        ("validation-set", "val"),
        ("val_set", "val"),
        ("Testing", "test"),
        ("test_set", "test"),
        ("testing-set", "test"),
    ],
)
def test_synonyms_of_splits(tmp_path, draw, folder, asked):
    for name in ("cat", "dog"):
        draw(tmp_path / folder / name / "a.png")
        draw(tmp_path / "train" / name / "b.png") if asked != "train" else None
    assert [record.name for record in open_dataset(tmp_path, asked).records if folder in record.name]


def test_nested_files_count_and_hidden_ones_do_not(tmp_path, draw):
    for name in ("cat", "dog"):
        draw(tmp_path / name / "2024" / "may" / "a.JPG")
        draw(tmp_path / name / "b.png")
        draw(tmp_path / name / "._b.png")
        draw(tmp_path / name / ".thumbs" / "c.png")
        (tmp_path / name / "notes.txt").write_text("x")
    draw(tmp_path / ".cache" / "a.png")
    draw(tmp_path / "__MACOSX" / "a.png")
    data = open_dataset(tmp_path, "train")
    names = {record.name for records in data.splits.values() for record in records}
    assert names == {f"{name}/{file}" for name in ("cat", "dog") for file in ("2024/may/a.JPG", "b.png")}
    assert data.classes == ("cat", "dog")


def test_links_are_followed_and_circles_end(tmp_path, draw):
    draw(tmp_path / "elsewhere" / "a.png")
    draw(tmp_path / "data" / "dog" / "b.png")
    draw(tmp_path / "data" / "dog" / "c.png")
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "cat")
    os.symlink(tmp_path / "data", tmp_path / "data" / "dog" / "again")
    data = open_dataset(tmp_path / "data", "train")
    names = [record.name for records in data.splits.values() for record in records]
    assert {"cat/a.png", "dog/b.png", "dog/c.png"} <= set(names)
    assert len(names) < 10


def test_leftovers_are_noted(tmp_path, draw):
    for name in ("cat", "dog"):
        draw(tmp_path / "train" / name / "a.png")
        draw(tmp_path / "train" / name / "b.png")
    draw(tmp_path / "train" / "stray.png")
    draw(tmp_path / "test" / "1.png")
    draw(tmp_path / "sketches" / "1.png")
    data = open_dataset(tmp_path, "train")
    assert tuple(data.splits) == ("train", "val")
    assert any("in no class folder: 1 picture (stray.png)" in note for note in data.notes)
    assert any("test holds no class folders and isn't used; it holds 1 picture" in note for note in data.notes)
    assert any("not used beside the split folders: 1 folder (sketches)" in note for note in data.notes)


def test_an_empty_class_folder_of_val_is_noted(tmp_path, draw):
    for name in ("cat", "dog"):
        draw(tmp_path / "train" / name / "a.png")
        (tmp_path / "val" / name).mkdir(parents=True)
    draw(tmp_path / "val" / "cat" / "a.png")
    data = open_dataset(tmp_path, "val")
    assert data.class_counts() == {"cat": 1, "dog": 0}
    assert any("dog: the class folder has no pictures" in note for note in data.notes)


def test_one_class_is_noted(tmp_path, draw):
    draw(tmp_path / "cat" / "a.png")
    assert any("one class only, 'cat'" in note for note in open_dataset(tmp_path, "train").notes)


def test_without_train_the_classes_are_those_there_are(tmp_path, draw):
    draw(tmp_path / "val" / "n02" / "a.png")
    draw(tmp_path / "val" / "n01" / "a.png")
    data = open_dataset(tmp_path, "val")
    assert (data.classes, tuple(data.splits), data.split_origin) == (("n01", "n02"), ("val",), "folders")


@pytest.mark.parametrize(
    "files",
    [
        ("cat/in/a.png", "cat/out/a.png", "cat/a.png", "dog/in/a.png", "dog/out/a.png"),
        ("cat/in/a.png", "cat/out/a.png", "dog/in/a.png", "dog/up/a.png"),
        ("cat/in/a.png", "dog/in/a.png"),
        ("cat/in/a.png", "cat/out/a.png", "dog/a.png"),
    ],
    ids=["own pictures", "other names", "one folder each", "one flat"],
)
def test_classes_may_have_folders_of_their_own(tmp_path, draw, files):
    for file in files:
        draw(tmp_path / file)
    data = open_dataset(tmp_path, "all")
    assert data.classes == ("cat", "dog")
    assert len(data) == len(files)


def _plain_pictures(root, draw):
    draw(root / "a.png")
    draw(root / "b.jpg")
    (root / "list.csv").write_text("x")


def _empty_class(root, draw):
    draw(root / "train" / "cat" / "a.png")
    (root / "train" / "dog").mkdir()
    (root / "train" / "dog" / "a.heic").write_text("x")


def _class_of_val_that_train_lacks(root, draw):
    draw(root / "train" / "cat" / "a.png")
    draw(root / "val" / "cats" / "a.png")


def _two_folders_for_one_split(root, draw):
    draw(root / "val" / "cat" / "a.png")
    draw(root / "valid" / "cat" / "a.png")


def _one_level_too_high(root, draw):
    draw(root / "pets" / "train" / "cat" / "a.png")


def _unknown_split_names(root, draw):
    for name in ("cat", "dog"):
        draw(root / "train_data" / name / "a.png")
        draw(root / "test_data" / name / "b.png")


def _one_folder_around_the_classes(root, draw):
    for name in ("cat", "dog"):
        draw(root / "images" / name / "a.png")


def _unknown_split_names_below_a_split(root, draw):
    for name in ("cat", "dog"):
        draw(root / "train" / "fold1" / name / "a.png")
        draw(root / "train" / "fold2" / name / "b.png")


def _splits_without_classes(root, draw):
    draw(root / "train" / "a.png")


def test_all_empty_class_folders_of_train_are_named(tmp_path, draw):
    draw(tmp_path / "train" / "cat" / "a.png")
    for name in ("dog", "eel"):
        (tmp_path / "train" / name).mkdir()
    with pytest.raises(DataError, match=r"2 faults:\n  .*train/dog: the class folder .*\n  .*train/eel: the class"):
        open_dataset(tmp_path, "train")


def _no_pictures(root, draw):
    (root / "cat").mkdir(parents=True)
    (root / "cat" / "a.txt").write_text("x")


@pytest.mark.parametrize(
    ("make", "split", "words"),
    [
        (lambda root, draw: None, "train", "no class folders, but nothing"),
        (_plain_pictures, "train", r"no class folders, but 2 pictures and 1 other file \(list.csv\)\. Understood are"),
        (_empty_class, "train", r"train/dog: the class folder has no pictures, it holds 1 other file \(a.heic\)"),
        (_class_of_val_that_train_lacks, "val", "'cats' isn't one of the 1 known here: cat. Did you mean 'cat'"),
        (_two_folders_for_one_split, "val", "'val' and 'valid' both name the split 'val'"),
        (_one_level_too_high, "train", "'pets' isn't a class, it has split folders. Did you mean '.*pets'"),
        (
            _unknown_split_names,
            "train",
            r"2 folders \(test_data, train_data\) .* no pictures of their own, but each the same 2 folders \(cat, dog\)"
            r".* train \(.*training_set.*\), val \(.*validation_set.*\), test \(.*testing_set\).* table",
        ),
        (_one_folder_around_the_classes, "all", r"'images' isn't a class, .*\(cat, dog\).* Did you mean '.*images'"),
        (_unknown_split_names_below_a_split, "train", r"train: its 2 folders \(fold1, fold2\)"),
        (_splits_without_classes, "train", "no class folders. .*train holds no class folders"),
        (_no_pictures, "train", r"no pictures in its folders; it holds 1 folder \(cat\)\. Understood are"),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("_<>"),
)
def test_what_is_no_image_folder_is_refused_with_the_reason(tmp_path, draw, make, split, words):
    make(tmp_path, draw)
    with pytest.raises(DataError, match=words) as raised:
        open_dataset(tmp_path, split)
    assert str(tmp_path) in str(raised.value)
