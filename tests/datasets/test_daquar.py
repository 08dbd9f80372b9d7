"""DAQUAR: lines of questions and answers, lists of pictures, and the tables made of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from onetrunk.datasets import DataError, open_dataset
from onetrunk.datasets.contents import Contents, raise_faults
from onetrunk.datasets.daquar import holds_daquar, read_daquar
from onetrunk.datasets.questions import Question

TRAIN = """what is on the right side of the black telephone in the image3 ?
desk
what is on the table in the image7 ?
knife, fork
how many garbage_bins are there in the image3 ?
2
"""
TEST = "what colour is the wall in the image12 ?\nwhite\n"
CSV = "question,answer,image_id\nwhat is on the desk,lamp,image3\n"


@pytest.fixture
def make(tmp_path: Path, draw: Callable[..., Path]) -> Callable[..., Path]:
    """Writes files by name, and pictures of some numbers."""

    def make(
        files: dict[str, str], pictures: str = "nyu_depth_images/image{}.png", numbers: tuple[int, ...] = (3, 7, 12)
    ) -> Path:
        root = tmp_path / "daquar"
        root.mkdir(exist_ok=True)
        for name, text in files.items():
            (root / name).write_text(text)
        for number in numbers:
            draw(root / pictures.format(number), height=8, width=10, seed=number)
        return root

    return make


@pytest.fixture
def rooms(make: Callable[..., Path]) -> Path:
    """The questions of 37 objects, cut as they are published."""
    return make({"qa.37.raw.train.txt": TRAIN, "qa.37.raw.test.txt": TEST})


def _read(root: Path) -> Contents:
    contents = read_daquar(root)
    raise_faults(root, contents.faults)
    return contents


def _texts(contents: Contents, split: str) -> dict[str, list[str]]:
    return {record.path.stem: [one.text for one in record.targets["questions"]] for record in contents.splits[split]}


def test_questions_stand_with_their_picture_and_without_its_name(rooms):
    contents = _read(rooms)
    one, other = contents.splits["train"]
    assert one.name == "nyu_depth_images/image3.png"
    assert one.targets == {
        "questions": (
            Question("what is on the right side of the black telephone ?", ("desk",)),
            Question("how many garbage_bins are there ?", ("2",)),
        )
    }
    assert other.targets["questions"] == (Question("what is on the table ?", ("knife, fork",)),)
    assert _texts(contents, "test") == {"image12": ["what colour is the wall ?"]}
    assert contents.notes == []


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("what is close to the wall in image3 ?", "what is close to the wall ?"),
        ("in the image3 what is red ?", "what is red ?"),
        ("what is the colour of this image3 ?", "what is the colour ?"),
        ("What is On the desk in The Image3?", "What is On the desk ?"),
        ("what is on the imaginary desk in the image 3 ?", "what is on the imaginary desk ?"),
    ],
)
def test_the_words_that_name_a_picture_are_taken_out(make, asked, text):
    root = make({"qa.37.raw.train.txt": f"{asked}\ndesk\n"})
    assert _texts(_read(root), "train") == {"image3": [text]}


@pytest.mark.parametrize("pictures", ["images/image{}.png", "image{}.jpg", "nyu/all/image{}.png", "images/{}.png"])
def test_pictures_may_lie_in_any_folder(make, pictures):
    root = make({"qa.894.raw.train.txt": TRAIN}, pictures)
    assert [record.name for record in _read(root).splits["train"]] == sorted(pictures.format(n) for n in (3, 7))


def test_a_picture_by_its_usual_name_comes_before_others_of_its_number(make, draw):
    root = make({"qa.894.raw.train.txt": TRAIN})
    draw(root / "depth" / "depth3.png", height=8, width=10, seed=1)
    assert _read(root).splits["train"][0].name == "nyu_depth_images/image3.png"


def test_two_pictures_of_one_name_are_a_fault(make, draw):
    root = make({"qa.894.raw.train.txt": TRAIN})
    draw(root / "nyu_depth_images" / "small" / "image3.png", height=8, width=10, seed=1)
    with pytest.raises(
        DataError, match=r"1 picture has a number .* e.g. 3: .*image3.png and .*small/image3.png. Keep one"
    ):
        _read(root)


@pytest.mark.parametrize("lists", [("train.txt", "test.txt"), ("train_images_list.txt", "test_images_list.txt")])
@pytest.mark.parametrize("whole", ["qa.37.raw.txt", "qa.894.raw.txt", "all_qa_pairs.txt"])
def test_lists_cut_what_stands_in_one_file(make, lists, whole):
    contents = _read(make({whole: TRAIN + TEST, lists[0]: "image3\n7\n", lists[1]: "image12.png\n\n"}))
    assert {split: list(_texts(contents, split)) for split in contents.splits} == {
        "train": ["image3", "image7"],
        "test": ["image12"],
    }


def test_one_file_without_lists_has_no_splits(make):
    assert list(_read(make({"qa.37.raw.txt": TRAIN + TEST})).splits) == [""]


def test_pictures_in_no_list_are_left_out(make):
    contents = _read(make({"qa.37.raw.txt": TRAIN + TEST, "train.txt": "image3\n"}))
    assert [record.path.stem for record in contents.splits["train"]] == ["image3"]
    assert any("left out are pictures that are in no list, 2: image7, image12." in note for note in contents.notes)


def test_a_picture_in_both_lists_is_refused(make):
    root = make({"qa.37.raw.txt": TRAIN, "train.txt": "image3\n", "test.txt": "image7\nimage3\n"})
    with pytest.raises(DataError, match=r"test.txt, line 2: image3 is in the list of 'train' too"):
        read_daquar(root)


def test_a_list_of_something_else_is_refused(make):
    root = make({"qa.37.raw.txt": TRAIN, "train.txt": "image3\nkitchen\n"})
    with pytest.raises(
        DataError, match=r"train.txt, line 2: the name of a picture was expected, as image3, not 'kitchen'"
    ):
        read_daquar(root)


def test_tables_of_different_pictures_are_train_and_val(make):
    evaluated = 'question,answer,image_id\n"what is red, or blue",chair,12\n'
    contents = _read(make({"data_train.csv": CSV, "data_eval.csv": evaluated}))
    assert _texts(contents, "train") == {"image3": ["what is on the desk"]}
    assert _texts(contents, "val") == {"image12": ["what is red, or blue"]}


def test_tables_that_divide_the_questions_about_a_picture_are_put_together(make):
    contents = _read(make({"data_train.csv": CSV, "data_eval.csv": CSV.replace("desk", "chair")}))
    assert _texts(contents, "") == {"image3": ["what is on the desk", "what is on the chair"]}
    assert any("measured on pictures it was trained on" in note for note in contents.notes)


def test_lists_cut_tables_too(make):
    rows = CSV + "what is red,chair,image12\n"
    lists = {"train_images_list.txt": "image3\n", "test_images_list.txt": "image12\n"}
    contents = _read(make({"data_train.csv": rows, "data_eval.csv": CSV, "all_qa_pairs.txt": TRAIN, **lists}))
    assert _texts(contents, "train") == {"image3": ["what is on the desk"] * 2}
    assert _texts(contents, "test") == {"image12": ["what is red"]}


def test_a_row_that_lacks_a_value_is_a_fault(make):
    with pytest.raises(DataError, match=r"data_train.csv, line 3: a row has a question, answer, image_id"):
        _read(make({"data_train.csv": CSV + "what is red,chair\n"}))


def test_both_sets_of_questions_are_refused(make):
    root = make({"qa.37.raw.train.txt": TRAIN, "qa.894.raw.train.txt": TRAIN, "qa.894.raw.test.txt": TEST})
    message = (
        r"questions of 37 objects, qa.37.raw.train.txt, and of 894, qa.894.raw.train.txt, qa.894.raw.test.txt. .* k"
    )
    with pytest.raises(DataError, match=message):
        read_daquar(root)


def test_a_missing_answer_is_a_fault_and_doesnt_shift_the_rest(make):
    text = TRAIN.replace("desk\n", "", 1)
    contents = read_daquar(make({"qa.37.raw.train.txt": text}))
    assert _texts(contents, "train") == {
        "image7": ["what is on the table ?"],
        "image3": ["how many garbage_bins are there ?"],
    }
    with pytest.raises(DataError, match=r"qa.37.raw.train.txt, line 1: the answer is missing; it stands in the next"):
        raise_faults(Path(), contents.faults)


def test_a_file_that_is_cut_off_after_a_question_is_a_fault(make):
    with pytest.raises(DataError, match=r"line 5: the answer is missing"):
        _read(make({"qa.37.raw.train.txt": TRAIN[:-2]}))


def test_a_question_about_no_picture_is_a_fault(make):
    with pytest.raises(
        DataError, match=r"line 3: a question was expected, with the name of its picture.*not 'is it red"
    ):
        _read(make({"qa.37.raw.train.txt": "what is red in the image3 ?\nwall\nis it red ?\n" + TRAIN}))


def test_a_table_row_about_no_picture_is_a_fault(make):
    with pytest.raises(DataError, match=r"data_train.csv, line 3: which picture is asked about isn't said: 'kitchen'"):
        _read(make({"data_train.csv": CSV + "what is red,chair,kitchen\n"}))


def test_empty_questions_and_answers_are_noted(make):
    text = "in the image3 ?\ndesk\n\nwhat is red in the image3 ?\n \nwhat is blue in the image3 ?\nbed\n"
    contents = _read(make({"qa.37.raw.train.txt": text}))
    (record,) = contents.splits["train"]
    assert record.targets["questions"] == (Question("what is red ?"), Question("what is blue ?", ("bed",)))
    assert any("1 empty question was left out: line 1" in note for note in contents.notes)
    assert any("1 question has no answer: line 4" in note for note in contents.notes)


def test_a_picture_in_both_files_is_a_fault(make):
    root = make({"qa.37.raw.train.txt": TRAIN, "qa.37.raw.test.txt": TRAIN[: TRAIN.index("what is on the table")]})
    with pytest.raises(
        DataError, match=r"1 picture is asked about in more than one split, e.g. '.*image3.png' in train a"
    ):
        _read(root)


def test_a_file_without_questions_is_refused(make):
    with pytest.raises(DataError, match=r"qa.37.raw.train.txt: there are no questions in it"):
        read_daquar(make({"qa.37.raw.train.txt": "\n"}))


def test_a_file_that_is_no_text_is_refused(rooms):
    (rooms / "qa.37.raw.test.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"qa.37.raw.test.txt: the questions can't be read"):
        read_daquar(rooms)


def test_a_missing_picture_is_bad_data_where_it_is_expected(rooms):
    missing = rooms / "nyu_depth_images" / "image7.png"
    missing.unlink()
    assert [record.path for record in _read(rooms).splits["train"]][1] == missing


def test_no_picture_at_all_is_refused(make):
    root = make({"qa.37.raw.train.txt": TRAIN}, numbers=())
    with pytest.raises(
        DataError, match=r"no pictures .* DAQUAR. .*e.g. .*nyu_depth_images/image3.png.* belong into a folder nyu"
    ):
        read_daquar(root)


def test_a_val_is_cut_from_train_and_test_stays(rooms):
    images = open_dataset(rooms, "test", kind="questions", val_fraction=0.5)
    assert (images.format, len(images), len(images.select("train")), len(images.select("val"))) == ("daquar", 1, 1, 1)


def test_other_folders_hold_no_daquar(pets, make):
    assert not holds_daquar(pets)
    assert not holds_daquar(make({"data_train.csv": "path,label\n1.jpg,cat\n"}))
    assert holds_daquar(make({"data_train.csv": CSV}))
