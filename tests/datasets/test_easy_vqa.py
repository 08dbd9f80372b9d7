"""easy-VQA: its folders, and what is wrong in its lists."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from onetrunk.datasets import DataError, open_dataset
from onetrunk.datasets.contents import Contents, raise_faults
from onetrunk.datasets.easy_vqa import holds_easy_vqa, read_easy_vqa
from onetrunk.datasets.questions import Question

ROWS = [
    ["what color is the shape?", "blue", 0],
    ["is there a circle?", "no", 2],
    ["is there not a  circle?", "yes", 0],
    ["what shape is it?", "circle", 10],
]


@pytest.fixture
def make(tmp_path: Path, draw: Callable[..., Path]) -> Callable[..., Path]:
    """Writes the questions of splits and the pictures 0, 2 and 10 of each."""

    def make(splits: dict[str, object]) -> Path:
        root = tmp_path / "easy"
        for split, rows in splits.items():
            for number in (0, 2, 10):
                draw(root / split / "images" / f"{number}.png", height=8, width=8, seed=number)
            (root / split / "questions.json").write_text(rows if isinstance(rows, str) else json.dumps(rows))
        (root / "answers.txt").write_text("blue\nyes\nno\ncircle\n")
        return root

    return make


def _read(root: Path) -> Contents:
    contents = read_easy_vqa(root)
    raise_faults(root, contents.faults)
    return contents


def test_a_record_has_the_questions_about_a_picture(make):
    contents = _read(make({"train": ROWS, "test": ROWS[:1]}))
    assert [record.name for record in contents.splits["train"]] == [
        "train/images/0.png",
        "train/images/10.png",
        "train/images/2.png",
    ]
    assert contents.splits["train"][0].targets == {
        "questions": (
            Question("what color is the shape?", ("blue",)),
            Question("is there not a circle?", ("yes",)),
        )
    }
    assert [record.name for record in contents.splits["test"]] == ["test/images/0.png"]
    assert contents.notes == []


def test_a_val_is_cut_from_train_by_pictures(make):
    images = open_dataset(make({"train": ROWS, "test": ROWS}), "all", kind="questions")
    assert images.format == "easy_vqa"
    assert {split: len(records) for split, records in images.splits.items()} == {"train": 2, "val": 1, "test": 3}


def test_a_val_that_is_there_is_kept(make):
    assert {split: len(records) for split, records in _read(make({"train": ROWS, "val": ROWS[:2]})).splits.items()} == {
        "train": 3,
        "val": 2,
    }


def test_empty_questions_are_left_out_and_empty_answers_noted(make):
    contents = _read(make({"train": [*ROWS, [" ", "yes", 2], ["is it red?", "", 2]]}))
    assert contents.splits["train"][2].targets["questions"] == (
        Question("is there a circle?", ("no",)),
        Question("is it red?"),
    )
    assert any("1 empty question was left out: question 5" in note for note in contents.notes)
    assert any("1 question has no answer: question 6" in note for note in contents.notes)


@pytest.mark.parametrize(
    "broken", [["is it red?", "yes"], ["is it red?", "yes", "0"], ["is it red?", 1, 0], "is it red?", [1, 2, -3], None]
)
def test_a_row_that_is_no_question_is_a_fault(make, broken):
    root = make({"train": [*ROWS, broken]})
    with pytest.raises(DataError, match=r"questions.json, question 5: a list of a question, its answer and the number"):
        _read(root)


def test_a_file_that_is_cut_off_is_refused(make):
    with pytest.raises(DataError, match=r"test/questions.json: this can't be read as JSON .* Is it cut off\?"):
        read_easy_vqa(make({"train": ROWS, "test": json.dumps(ROWS)[:-9]}))


def test_a_file_that_holds_no_list_is_refused(make):
    with pytest.raises(DataError, match="easy-VQA's questions are a list of lists; this file doesn't hold a list"):
        read_easy_vqa(make({"train": {"questions": ROWS}}))


def test_a_list_without_questions_is_refused(make):
    with pytest.raises(DataError, match=r"train/questions.json: the list of questions is empty"):
        read_easy_vqa(make({"train": []}))


def test_a_missing_picture_is_bad_data(make):
    root = make({"train": [*ROWS, ["is it red?", "no", 77]]})
    assert root / "train" / "images" / "77.png" in [record.path for record in _read(root).splits["train"]]


def test_no_picture_at_all_is_refused(make):
    root = make({"train": [["is it red?", "no", 77]]})
    with pytest.raises(
        DataError, match=r"easy-VQA. .*the only picture of 'train', .*77.png, isn't there; .* They belong into"
    ):
        read_easy_vqa(root)


def test_other_folders_hold_no_easy_vqa(pets):
    assert not holds_easy_vqa(pets)
