import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from onetrunk.datasets import DataError, TargetEncoder, open_dataset, require_label_sets, require_labels, write_split


def _names(data):
    return {record.name for record in data.records}


@pytest.fixture
def write_table(tmp_path, draw):
    """Writes a table of pictures that are drawn beside it, ``0.png`` and so on, from rows without the path."""

    def write(columns: str, rows: list[str]) -> Path:
        for index in range(len(rows)):
            draw(tmp_path / f"{index}.png", height=8, width=8, seed=index)
        lines = [f"path,{columns}", *(f"{index}.png,{row}" for index, row in enumerate(rows))]
        (tmp_path / "table.csv").write_text("\n".join(lines))
        return tmp_path / "table.csv"

    return write


def test_selecting_a_split_equals_opening_it(pets):
    assert open_dataset(pets, "train").select("validation") == open_dataset(pets, "val")


def test_a_single_label_is_required_of_every_record(tmp_path, unsplit_pets, draw):
    require_labels(open_dataset(unsplit_pets, "train"))
    for index in range(4):
        draw(tmp_path / f"{index}.png")
    (tmp_path / "tags.csv").write_text("path,labels\n0.png,a\n1.png,a;b\n2.png,\n3.png,b\n")
    data = open_dataset(tmp_path / "tags.csv", "all")
    words = (
        r"0\.png: .*no single label; the table \S*tags\.csv gives several labels an image .*'labels'.* column 'label'"
    )
    with pytest.raises(DataError, match=words):
        require_labels(data)
    bare = [replace(record, targets={"label": "a"} if index == 0 else {}) for index, record in enumerate(data.records)]
    with pytest.raises(DataError, match=r"1\.png: the image has no single label"):
        require_labels(replace(data, split="train", splits={"train": tuple(bare)}))


def test_the_fingerprint_follows_names_targets_and_contents_but_not_the_place(tmp_path, pets):
    original = open_dataset(pets, "val").fingerprint()
    root = shutil.copytree(pets, tmp_path / "moved", copy_function=shutil.copy)
    assert open_dataset(root, "val").fingerprint() == original
    assert open_dataset(root, "train").fingerprint() != original

    picture = root / "val" / "cat" / "00.jpg"
    content = bytearray(picture.read_bytes())
    content[-5] ^= 1
    picture.write_bytes(content)
    changed = open_dataset(root, "val").fingerprint()
    picture.rename(picture.with_name("99.jpg"))
    renamed = open_dataset(root, "val").fingerprint()
    assert len({original, changed, renamed}) == 3


def test_the_fingerprint_counts_missing_files(tmp_path, pets):
    root = shutil.copytree(pets, tmp_path / "pets")
    data = open_dataset(root, "val")
    whole = data.fingerprint()
    data.records[0].path.unlink()
    assert data.fingerprint() != whole


def test_the_fingerprint_follows_subjects(write_table):
    rows = [f"{'ab'[index % 2]},p{index // 2}" for index in range(8)]
    before = open_dataset(write_table("label,subject", rows), "all").fingerprint()
    assert open_dataset(write_table("label,subject", rows), "all").fingerprint() == before
    rows[-1] = "b,p0"
    assert open_dataset(write_table("label,subject", rows), "all").fingerprint() != before


def test_only_what_a_seed_or_a_fold_cut_is_cut(tmp_path, unsplit_pets, pets):
    unsplit = open_dataset(unsplit_pets, "train")
    assert (unsplit.is_cut, unsplit.select("val").is_cut, unsplit.select("all").is_cut) == (True, True, False)
    own = open_dataset(pets, "train")
    assert (own.is_cut, own.select("val").is_cut) == (False, False)
    fold = own.with_fold(1, folds=3, seed=0)
    assert (fold.is_cut, fold.select("val").is_cut, fold.select("all").is_cut) == (True, True, False)
    write_split(tmp_path / "split.csv", unsplit.splits)
    assert not open_dataset(unsplit_pets, "train", split_file=tmp_path / "split.csv").is_cut


def test_a_test_set_is_not_cut_where_val_is_cut_from_train(tmp_path, unsplit_pets):
    shutil.copytree(unsplit_pets, tmp_path / "train")
    shutil.copytree(unsplit_pets, tmp_path / "test")
    data = open_dataset(tmp_path, "test")
    assert (data.is_cut, data.select("train").is_cut, data.select("val").is_cut) == (False, True, True)


def test_folds_of_an_unsplit_folder_validate_on_every_image_once(unsplit_pets):
    data = open_dataset(unsplit_pets, "train", split_seed=5)
    folds = [data.with_fold(fold, folds=4, seed=3) for fold in range(1, 5)]
    assert Counter(name for fold in folds for name in _names(fold.select("val"))) == Counter(_names(data.select("all")))
    for fold in folds:
        assert _names(fold) | _names(fold.select("val")) == _names(data.select("all"))
        assert not _names(fold) & _names(fold.select("val"))
    assert folds[1].splits_origin == "fold 2 of 4, seed 3 of everything"
    assert folds[1].split_origin == folds[1].select("val").split_origin == folds[1].splits_origin
    assert folds[1].select("all").split_origin == "all"


def test_folds_take_train_and_val_together_and_leave_test_alone(tmp_path, pets):
    root = shutil.copytree(pets, tmp_path / "pets")
    shutil.copytree(root / "val", root / "test")
    data = open_dataset(root, "val")
    folds = [data.with_fold(fold, folds=2, seed=0) for fold in (1, 2)]
    assert _names(folds[0]) | _names(folds[1]) == _names(data.select("train")) | _names(data)
    assert folds[0].splits_origin == "fold 1 of 2, seed 0 of train+val"
    assert all(fold.select("test").records == data.select("test").records for fold in folds)
    assert all(fold.split == "val" for fold in folds)


def test_a_fold_depends_on_no_cut_before_it(tmp_path, unsplit_pets):
    root = tmp_path / "data"
    shutil.copytree(unsplit_pets, root / "train")
    data = open_dataset(root, "train")
    fold = data.with_fold(2, folds=3, seed=0)
    assert fold == open_dataset(root, "train", split_seed=9).with_fold(2, folds=3, seed=0)
    assert fold == data.with_fold(1, folds=5, seed=1).with_fold(2, folds=3, seed=0)
    assert fold.splits_origin == "fold 2 of 3, seed 0 of train"
    assert fold.splits != data.with_fold(2, folds=3, seed=1).splits


def test_a_class_that_a_fold_leaves_nothing_of_to_train_on_is_noted(write_table):
    path = write_table("label", ["cat"] * 5 + ["dog"] * 5 + ["owl"])
    folds = [open_dataset(path, "val").with_fold(fold, folds=4, seed=0) for fold in range(1, 5)]
    untrained = [any("no image of 'owl' is in 'train', only in 'val'" in note for note in fold.notes) for fold in folds]
    assert untrained == [fold.class_counts()["owl"] == 1 for fold in folds]
    assert sum(untrained) == 1
    last = folds[untrained.index(True)]
    assert last.with_fold(untrained.index(False) + 1, folds=4, seed=0).notes == ()


def test_a_fold_is_kept_in_a_split_file(tmp_path, unsplit_pets):
    fold = open_dataset(unsplit_pets, "val").with_fold(3, folds=4, seed=0)
    write_split(tmp_path / "split.csv", fold.splits)
    again = open_dataset(unsplit_pets, "val", split_file=tmp_path / "split.csv")
    assert again.records == fold.records
    assert again.fingerprint() == fold.fingerprint()


@pytest.mark.parametrize(
    ("fold", "folds", "words"),
    [
        (0, 5, "unsplit: there is no fold 0 of 5; folds are counted from 1"),
        (6, 5, "unsplit: there is no fold 6 of 5"),
        (1, 1, "17 images can't be cut into 1 folds: .*take from 2 to 17"),
        (1, 18, "17 images can't be cut into 18 folds"),
    ],
)
def test_folds_that_can_not_be_are_refused(unsplit_pets, fold, folds, words):
    with pytest.raises(DataError, match=words):
        open_dataset(unsplit_pets, "train").with_fold(fold, folds=folds, seed=0)


def test_a_data_set_of_tests_only_has_no_folds(tmp_path, unsplit_pets):
    shutil.copytree(unsplit_pets, tmp_path / "test")
    with pytest.raises(DataError, match="its only split is 'test', which isn't cut into folds"):
        open_dataset(tmp_path, "test").with_fold(1, folds=2, seed=0)


def test_splits_that_divide_subjects_are_noted(write_table):
    splits = ["train", "train", "val", "test", "train", "val", "train", "train"]
    subjects = ["eve", "bob", "eve", "eve", "bob", "ann", "ann", "joe"]
    rows = [f"a,{subject},{split}" for subject, split in zip(subjects, splits, strict=True)]
    data = open_dataset(write_table("label,subject,split", rows), "train")
    (note,) = (note for note in data.notes if "subject" in note)
    assert "2 subjects have images in more than one split, e.g. 'ann' in train and val." in note
    (note,) = (note for note in data.with_fold(1, folds=2, seed=0).notes if "subject" in note)
    assert "1 subject has images in more than one split, e.g. 'eve' in" in note, "test keeps what it has"


def test_a_cut_divides_no_subject_and_says_nothing(write_table):
    rows = [f"{'ab'[index % 2]},p{index // 3}" for index in range(30)]
    path = write_table("label,subject", rows)
    data = open_dataset(path, "train")
    for cut in (data, data.with_fold(1, folds=4, seed=0)):
        train, val = ({record.targets["subject"] for record in cut.splits[split]} for split in ("train", "val"))
        assert len(train | val) == 10
        assert not train & val
        assert not any("more than one split" in note for note in cut.notes)


def test_a_split_file_that_divides_subjects_is_noted(tmp_path, write_table):
    path = write_table("label,subject", ["a,p", "a,p", "b,q"])
    (tmp_path / "split.csv").write_text("name,split\n0.png,train\n1.png,val\n2.png,train\n")
    data = open_dataset(path, "train", split_file=tmp_path / "split.csv")
    assert any("1 subject has images in more than one split, e.g. 'p' in train and val" in note for note in data.notes)


def test_single_labels_count_as_sets_of_one(pets):
    data = require_label_sets(open_dataset(pets, "train"))
    assert [record.targets for record in data.records[:2]] == [{"labels": ("cat",)}] * 2
    assert data.class_counts() == {"cat": 12, "dog": 11}
    assert data.select("val").class_counts() == {"cat": 3, "dog": 2}
    assert (data.is_cut, data.with_fold(1, folds=2, seed=0).records[0].targets) == (False, {"labels": ("cat",)})
    encoded = TargetEncoder(data.classes)(data.records[0])
    assert list(encoded) == ["labels"]
    assert torch.equal(encoded["labels"], torch.tensor([1.0, 0.0]))


def test_sets_of_labels_stay_as_they_are_with_their_subjects(write_table):
    data = open_dataset(write_table("labels,subject", ["a;b,p", ",q", "b,r", "a,s"]), "all")
    assert require_label_sets(data) == data
    assert data.records[1].targets == {"labels": (), "subject": "q"}
    single = require_label_sets(open_dataset(write_table("label,subject", ["a,p", "b,q", "b,r", "a,s"]), "all"))
    assert single.records[0].targets == {"labels": ("a",), "subject": "p"}


def test_images_without_labels_are_no_sets(pets):
    data = open_dataset(pets, "train")
    bare = replace(data.records[3], targets={})
    broken = replace(data, splits={**data.splits, "val": (bare,)})
    with pytest.raises(DataError, match=r"03\.jpg: the image has no labels; \S*pets gives it none.*column 'labels'"):
        require_label_sets(broken)
