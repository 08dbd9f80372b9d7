import hashlib
import os
from pathlib import Path

import pytest
from onetrunk.datasets import DataError, Record, fold_splits, read_split, stratified_split, write_split


def _records(**counts: int) -> list[Record]:
    return [
        Record(Path(f"{name}/{i}.jpg"), {"label": name}, f"{name}/{i}.jpg")
        for name, n in counts.items()
        for i in range(n)
    ]


def _of_subjects(**labels: str) -> list[Record]:
    """One record for each letter of each subject's ``labels``."""
    return [
        Record(Path(f"{subject}/{i}.jpg"), {"label": label, "subject": subject}, f"{subject}/{i}.jpg")
        for subject, letters in labels.items()
        for i, label in enumerate(letters)
    ]


def _subjects(records) -> set[str]:
    return {record.targets["subject"] for record in records}


def _names(records) -> set[str]:
    return {record.name for record in records}


def test_every_class_is_cut_by_the_fraction_and_keeps_one_for_training():
    splits = stratified_split(_records(a=100, b=10, c=3, d=2, e=1), fraction=0.2, seed=0)
    counts = {name: sum(record.targets["label"] == name for record in splits["val"]) for name in "abcde"}
    assert counts == {"a": 20, "b": 2, "c": 1, "d": 1, "e": 0}
    assert len(splits["train"]) + len(splits["val"]) == 116


def test_the_order_of_the_records_does_not_matter_and_the_seed_does():
    records = _records(a=30, b=20)
    val = _names(stratified_split(records, fraction=0.2, seed=0)["val"])
    assert _names(stratified_split(records[::-1], fraction=0.2, seed=0)["val"]) == val
    assert _names(stratified_split(records, fraction=0.2, seed=1)["val"]) != val


def test_known_answer():
    # written down once: a run of an earlier version has to find the same split
    val = stratified_split(_records(a=10), fraction=0.2, seed=0)["val"]
    assert sorted(_names(val)) == ["a/0.jpg", "a/7.jpg"]


@pytest.mark.parametrize(
    ("fraction", "seed", "of_one_label", "of_several"),
    [(0.2, 0, "9a5d1edc775b1918", "8dbc60cb16ac47a1"), (0.35, 7, "a865f72f7da85aa1", "faf6705bceeb3392")],
)
def test_known_answers_of_larger_cuts(fraction, seed, of_one_label, of_several):
    single = _records(a=100, b=10, c=3, d=2, e=1)
    multi = [Record(Path(f"{i}.jpg"), {"labels": ("a", "b")[i % 3 :]}, f"{i}.jpg") for i in range(60)]
    for records, known in ((single, of_one_label), (multi, of_several)):
        val = stratified_split(records, fraction=fraction, seed=seed)["val"]
        digest = hashlib.sha256("\n".join(record.name for record in val).encode()).hexdigest()
        assert digest[:16] == known


def test_an_added_file_moves_at_most_one_other():
    before = _names(stratified_split(_records(a=50), fraction=0.2, seed=0)["val"])
    after = _names(stratified_split(_records(a=51), fraction=0.2, seed=0)["val"])
    assert len(before - after) <= 1


def test_records_of_several_labels_are_cut_by_the_first():
    records = [Record(Path(f"{i}"), {"labels": ("a",) if i < 10 else ()}, f"{i}") for i in range(20)]
    val = stratified_split(records, fraction=0.2, seed=0)["val"]
    assert sorted(bool(record.targets["labels"]) for record in val) == [False, False, True, True]


def test_records_of_a_subject_stay_together_and_subjects_are_counted():
    people = {f"sick{i}": "s" * (1 + i % 4) for i in range(20)} | {f"well{i}": "w" * (1 + i % 3) for i in range(10)}
    splits = stratified_split(_of_subjects(**people), fraction=0.2, seed=0)
    val = _subjects(splits["val"])
    assert not val & _subjects(splits["train"])
    assert sorted(name[:4] for name in val) == ["sick"] * 4 + ["well"] * 2


def test_a_subject_belongs_to_its_most_frequent_class():
    people = {f"p{i}": "aab" for i in range(5)} | {f"q{i}": "abb" for i in range(5)} | {f"r{i}": "ba" for i in range(5)}
    val = _subjects(stratified_split(_of_subjects(**people), fraction=0.2, seed=0)["val"])
    counts = {first: sum(name.startswith(first) for name in val) for first in "pqr"}
    assert counts["p"] + counts["r"] == 2, "of equally many, the first by name: r is in a"
    assert counts["q"] == 1


def test_the_name_of_the_subject_decides_whatever_its_files_are_called():
    people = {f"p{i}": "ab"[i % 2] * 3 for i in range(20)}
    records = _of_subjects(**people)
    renamed = [Record(record.path, record.targets, f"new/{record.name}") for record in reversed(records)]
    for seed in (0, 1):
        val = _subjects(stratified_split(records, fraction=0.3, seed=seed)["val"])
        assert _subjects(stratified_split(renamed, fraction=0.3, seed=seed)["val"]) == val
    assert _subjects(stratified_split(records, fraction=0.3, seed=0)["val"]) != val


def test_a_subject_of_one_record_is_drawn_by_its_own_name():
    alone = [Record(one.path, {**one.targets, "subject": one.name}, f"other/{one.name}") for one in _records(a=30, b=9)]
    expected = _names(stratified_split(_records(a=30, b=9), fraction=0.2, seed=4)["val"])
    assert _subjects(stratified_split(alone, fraction=0.2, seed=4)["val"]) == expected


def test_folds_hold_every_record_once_and_differ_by_one():
    records = _records(a=23, b=11, c=3, d=1)
    folds = fold_splits(records, folds=5, seed=0)
    assert len(folds) == 5
    assert sorted(record.name for fold in folds for record in fold["val"]) == sorted(_names(records))
    for fold in folds:
        val = _names(fold["val"])
        assert fold == {
            "train": tuple(record for record in records if record.name not in val),
            "val": tuple(record for record in records if record.name in val),
        }
    assert sorted(len(fold["val"]) for fold in folds) == [7, 7, 8, 8, 8]
    per_class = {
        name: sorted(sum(record.targets["label"] == name for record in fold["val"]) for fold in folds)
        for name in "abcd"
    }
    assert per_class == {"a": [4, 4, 5, 5, 5], "b": [2, 2, 2, 2, 3], "c": [0, 0, 1, 1, 1], "d": [0, 0, 0, 0, 1]}


def test_folds_follow_the_seed_and_not_the_order():
    records = _records(a=30, b=20)
    parts = [_names(fold["val"]) for fold in fold_splits(records, folds=4, seed=0)]
    assert [_names(fold["val"]) for fold in fold_splits(records[::-1], folds=4, seed=0)] == parts
    assert [_names(fold["val"]) for fold in fold_splits(records, folds=4, seed=1)] != parts


def test_known_answer_of_folds():
    # written down once: a cross-validation of an earlier version has to find the same folds
    folds = fold_splits(_records(a=4, b=3), folds=3, seed=0)
    assert [sorted(_names(fold["val"])) for fold in folds] == [
        ["a/0.jpg", "a/3.jpg", "b/1.jpg"],
        ["a/2.jpg", "b/2.jpg"],
        ["a/1.jpg", "b/0.jpg"],
    ]


def test_folds_divide_no_subject():
    people = {f"p{i}": "ab"[i % 2] * (1 + i % 4) for i in range(22)}
    folds = fold_splits(_of_subjects(**people), folds=4, seed=0)
    assert sorted(len(_subjects(fold["val"])) for fold in folds) == [5, 5, 6, 6]
    assert all(not _subjects(fold["val"]) & _subjects(fold["train"]) for fold in folds)
    assert set().union(*(_subjects(fold["val"]) for fold in folds)) == set(people)


def test_as_many_folds_as_records_or_subjects_leave_one_out():
    assert [len(fold["val"]) for fold in fold_splits(_records(a=3, b=2), folds=5, seed=0)] == [1] * 5
    folds = fold_splits(_of_subjects(p="aa", q="b", r="abb"), folds=3, seed=0)
    assert [len(_subjects(fold["val"])) for fold in folds] == [1] * 3


@pytest.mark.parametrize("folds", [-1, 0, 1, 6])
def test_impossible_numbers_of_folds_are_refused(folds):
    words = f"5 images can't be cut into {folds} folds: each fold validates on .* take from 2 to 5"
    with pytest.raises(DataError, match=words):
        fold_splits(_records(a=3, b=2), folds=folds, seed=0)


def test_more_folds_than_subjects_are_refused():
    with pytest.raises(DataError, match="2 subjects can't be cut into 3 folds"):
        fold_splits(_of_subjects(p="aaaa", q="bbb"), folds=3, seed=0)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 20])
def test_impossible_fractions_are_refused(fraction):
    with pytest.raises(DataError, match="lies between 0 and 1"):
        stratified_split(_records(a=5), fraction=fraction, seed=0)


def test_a_split_is_read_back_as_written(tmp_path):
    records = [Record(Path(name), {}, name) for name in ('a "quoted", name.jpg', "ü/ø.png", "b\udcff.png")]
    write_split(tmp_path / "split.csv", {"train": records[:2], "test": records[2:]})
    assert read_split(tmp_path / "split.csv") == {
        records[0].name: "train",
        records[1].name: "train",
        records[2].name: "test",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["split.csv"]


def test_a_split_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    path = tmp_path / "split.csv"
    seen = []

    def fsync(descriptor):
        seen.append((path.exists(), os.fstat(descriptor).st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    write_split(path, {"train": _records(a=1)})
    assert seen == [(False, path.stat().st_size)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "its first line has to be 'name,split'"),
        ("name,part\na,train\n", "its first line has to be 'name,split'"),
        ("name,split\na,train\nb\n", "row 3: not a name and one of train, val and test: b"),
        ("name,split\na,trian\n", "row 2: not a name and one of"),
        ("name,split\na,train\na,val\n", "row 3: a second row for the same name: a,val"),
    ],
)
def test_a_damaged_split_is_refused_with_file_and_row(tmp_path, text, words):
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as raised:
        read_split(path)
    assert str(path) in str(raised.value)


def test_a_missing_split_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv: the split can't be read"):
        read_split(tmp_path / "gone.csv")
