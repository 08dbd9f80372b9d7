"""VQA's JSON files: both releases, abstract scenes, what is missing and what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from onetrunk.datasets import DataError, open_dataset
from onetrunk.datasets.contents import Contents, raise_faults
from onetrunk.datasets.questions import Question
from onetrunk.datasets.vqa import holds_vqa, read_vqa

TEN = ["two", "two", "2", "two", "2", "2", "2", "2", "2", "3"]


def _question(number: int, image: int, text: str = "How many cats are there?") -> dict:
    return {"question_id": number, "image_id": image, "question": text}


def _annotation(number: int, image: int, answers: list[str] = TEN, **more: object) -> dict:
    listed = [{"answer": answer, "answer_confidence": "yes", "answer_id": i + 1} for i, answer in enumerate(answers)]
    kinds = {"question_type": "how many", "answer_type": "number", "multiple_choice_answer": "2"}
    return {"question_id": number, "image_id": image, "answers": listed, **kinds, **more}


QUESTIONS = [_question(90, 9), _question(420, 42, "What  is this?"), _question(91, 9, "Is it raining?")]
ANNOTATIONS = [_annotation(91, 9, ["no"] * 10), _annotation(90, 9), _annotation(420, 42)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "vqa"


@pytest.fixture
def make(root: Path, draw: Callable[..., Path]) -> Callable[..., Path]:
    """Writes the files of a subset, None for one that isn't to be there, and its pictures."""

    def make(
        questions: object = QUESTIONS,
        annotations: object = ANNOTATIONS,
        subset: str = "mscoco_train2014",
        release: str = "v2_",
        pictures: tuple[str, ...] = ("train2014/COCO_train2014_{:012}.jpg",),
        folders: tuple[str, str] = ("", ""),
    ) -> Path:
        files = (
            (folders[0], f"{release}OpenEnded_{subset}_questions.json", "questions", questions),
            (folders[1], f"{release}{subset}_annotations.json", "annotations", annotations),
        )
        for folder, name, key, content in files:
            if content is not None:
                (root / folder).mkdir(parents=True, exist_ok=True)
                (root / folder / name).write_text(json.dumps({"info": {}, key: content}))
        for name in pictures:
            for number in sorted({each["image_id"] for each in QUESTIONS}):
                draw(root / name.format(number), height=8, width=10, seed=number)
        return root

    return make


def _read(root: Path) -> Contents:
    contents = read_vqa(root)
    raise_faults(root, contents.faults)
    return contents


@pytest.mark.parametrize("release", ["v2_", ""])
def test_a_record_has_all_questions_about_a_picture_in_the_order_of_the_file(make, release):
    contents = _read(make(release=release))
    one, other = contents.splits["train"]
    assert one.name == "train2014/COCO_train2014_000000000009.jpg"
    assert one.targets["image_id"] == 9
    assert one.targets["questions"] == (
        Question("How many cats are there?", tuple(TEN), "how many", "number", 90),
        Question("Is it raining?", ("no",) * 10, "how many", "number", 91),
    )
    assert [question.text for question in other.targets["questions"]] == ["What is this?"]
    assert contents.notes == []


@pytest.mark.parametrize(
    ("folders", "picture"),
    [
        (("", ""), "images/train2014/COCO_train2014_{:012}.jpg"),
        (("Questions", "Annotations"), "Images/mscoco/train2014/COCO_train2014_{:012}.jpg"),
        (("annotations", "annotations"), "train2017/{:012}.jpg"),
        (("v2_Questions_Train_mscoco", "v2_Annotations_Train_mscoco"), "pictures/{}.png"),
    ],
)
def test_files_and_pictures_may_lie_in_folders(make, folders, picture):
    root = make(folders=folders, pictures=(picture,))
    assert holds_vqa(root)
    assert [record.path for record in _read(root).splits["train"]] == sorted(
        root / picture.format(number) for number in (9, 42)
    )


def test_abstract_scenes_are_png_files_of_their_own_name(make):
    root = make(
        subset="abstract_v002_val2015",
        release="",
        pictures=("val2015/abstract_v002_val2015_{:012}.png", "val2014/COCO_val2014_{:012}.jpg"),
    )
    assert [record.name for record in _read(root).splits["val"]] == [
        "val2015/abstract_v002_val2015_000000000009.png",
        "val2015/abstract_v002_val2015_000000000042.png",
    ]


def test_a_missing_abstract_scene_is_expected_under_its_usual_name(make):
    root = make(subset="abstract_v002_val2015", pictures=("val2015/abstract_v002_val2015_{:012}.png",))
    missing = root / "val2015" / "abstract_v002_val2015_000000000042.png"
    missing.unlink()
    assert [record.path for record in _read(root).splits["val"]][1] == missing


def test_each_split_takes_the_picture_of_its_own_folder(make, draw):
    make(subset="mine_train", pictures=("train/{}.png",))
    root = make(subset="mine_val", pictures=("val/{}.png",))
    contents = _read(root)
    assert [record.name for record in contents.splits["train"]] == ["train/42.png", "train/9.png"]
    assert [record.name for record in contents.splits["val"]] == ["val/42.png", "val/9.png"]


def test_two_pictures_of_one_number_are_a_fault(make):
    root = make(pictures=("a/{}.png", "b/{}.png"))
    with pytest.raises(
        DataError, match=r"2 pictures have numbers in which more than one file's name ends, e.g. 9: .*a/9.png"
    ):
        _read(root)


def test_questions_without_answers_are_for_prediction(make):
    make()
    test = [{**_question(7, 7), "image_id": 7}]
    root = make(test, None, "mscoco_test2015", pictures=())
    (root / "test2015").mkdir()
    source = root / "train2014" / "COCO_train2014_000000000009.jpg"
    source.with_name("COCO_train2014_000000000042.jpg").rename(root / "test2015" / "COCO_test2015_000000000007.jpg")
    contents = _read(root)
    (record,) = contents.splits["test"]
    assert record.targets["questions"] == (Question("How many cats are there?", number=7),)
    (note,) = contents.notes
    assert "there is no v2_mscoco_test2015_annotations.json" in note
    assert "neither learned nor measured" in note


def test_test_dev_is_a_part_of_test_and_not_read_beside_it(make):
    make([_question(90, 9)], None, "mscoco_test-dev2015", pictures=())
    root = make(subset="mscoco_test2015", annotations=None, pictures=("test2015/COCO_test2015_{:012}.jpg",))
    contents = _read(root)
    assert sum(len(record.targets["questions"]) for record in contents.splits["test"]) == 3
    assert any("not read: v2_OpenEnded_mscoco_test-dev2015_questions.json" in note for note in contents.notes)


def test_test_dev_alone_has_the_pictures_of_test(make):
    root = make(subset="mscoco_test-dev2015", annotations=None, pictures=("test2015/COCO_test2015_{:012}.jpg",))
    assert [record.path.parent.name for record in _read(root).splits["test"]] == ["test2015", "test2015"]


def test_multiple_choice_files_are_passed_over(make):
    root = make(release="")
    (root / "MultipleChoice_mscoco_train2014_questions.json").write_text("{}")
    contents = _read(root)
    assert len(contents.splits["train"]) == 2
    (note,) = contents.notes
    assert "not read: MultipleChoice_mscoco_train2014_questions.json. One file of open-ended questions" in note


def test_only_multiple_choice_is_refused(root):
    root.mkdir()
    (root / "MultipleChoice_mscoco_train2014_questions.json").write_text("{}")
    assert holds_vqa(root)
    with pytest.raises(DataError, match="no open-ended questions, but those of a choice: MultipleChoice_mscoco_train"):
        read_vqa(root)


def test_both_releases_are_refused(make):
    make(release="")
    root = make(release="v2_", subset="mscoco_val2014")
    message = r"OpenEnded_mscoco_train2014_questions.json and v2_OpenEnded_mscoco_val2014_questions.json. .* move"
    with pytest.raises(DataError, match=message):
        read_vqa(root)


def test_two_files_for_a_split_are_refused(make):
    make()
    root = make(subset="abstract_v002_train2015")
    with pytest.raises(DataError, match=r"2 files of questions are for the split 'train': v2_OpenEnded_abstract.*Keep"):
        read_vqa(root)


def test_the_same_file_in_two_folders_is_refused(make):
    make()
    root = make(folders=("Questions", "Annotations"))
    with pytest.raises(DataError, match=r"split 'train': v2_OpenEnded_.*json, Questions/v2_OpenEnded_.*json. Keep one"):
        read_vqa(root)


def test_two_files_that_name_no_split_are_refused(make):
    make(subset="cats")
    root = make(subset="dogs")
    with pytest.raises(DataError, match=r"2 files of questions name no split: v2_OpenEnded_cats_questions.json, v2_Op"):
        read_vqa(root)


def test_a_file_that_names_no_split_is_cut(make):
    root = make(subset="cats", pictures=("{}.jpg",))
    assert {split: len(open_dataset(root, split, kind="questions")) for split in ("train", "val")} == {
        "train": 1,
        "val": 1,
    }


def test_one_file_is_read_with_the_answers_and_pictures_around_it(make):
    root = make(folders=("Questions", "Annotations"))
    contents = _read(root / "Questions" / "v2_OpenEnded_mscoco_train2014_questions.json")
    assert list(contents.splits) == [""]
    assert contents.splits[""][0].name == "train2014/COCO_train2014_000000000009.jpg"
    assert contents.splits[""][0].targets["questions"][0].answers == tuple(TEN)


def test_a_file_of_something_else_is_refused(make):
    path = make() / "v2_mscoco_train2014_annotations.json"
    with pytest.raises(DataError, match=r"isn't named like a file of VQA's open-ended questions.* Give that, or the f"):
        read_vqa(path)


def test_texts_are_cleaned_and_empty_ones_left_out(make):
    questions = [_question(90, 9, "  Is\tit \n red?"), _question(91, 9, " "), _question(420, 42, "")]
    annotations = [_annotation(90, 9, [" yes ", "", "ye\x00s"]), _annotation(91, 9), _annotation(420, 42)]
    contents = _read(make(questions, annotations))
    (record,) = contents.splits["train"]
    (question,) = record.targets["questions"]
    assert (question.text, question.answers) == ("Is it red?", ("yes", "ye s"))
    assert any("2 empty questions were left out: question_id 91, question_id 420" in note for note in contents.notes)


def test_the_most_common_answer_stands_for_a_list_that_is_missing(make):
    annotations = [_annotation(90, 9, []), _annotation(91, 9), _annotation(420, 42)]
    questions = _read(make(annotations=annotations)).splits["train"][0].targets["questions"]
    assert questions[0].answers == ("2",)


def test_a_question_without_annotation_is_kept_and_noted(make):
    contents = _read(make(annotations=ANNOTATIONS[:2]))
    assert contents.splits["train"][1].targets["questions"][0].answers == ()
    assert any("1 question has no answer: question_id 420" in note for note in contents.notes)


def test_a_picture_without_questions_is_left_out(make):
    root = make()
    (root / "train2014" / "COCO_train2014_000000000009.jpg").with_name("COCO_train2014_000000000001.jpg").touch()
    assert len(_read(root).splits["train"]) == 2


def test_annotations_of_other_questions_are_a_fault(make):
    root = make(annotations=[*ANNOTATIONS, _annotation(5, 9), _annotation(6, 9)])
    with pytest.raises(
        DataError,
        match=r"annotations.json: 2 annotations are of questions that aren't in v2_OpenEnded.*: question_id 5, 6",
    ):
        _read(root)


def test_an_annotation_of_another_picture_is_a_fault(make):
    root = make(annotations=[_annotation(90, 42), *ANNOTATIONS[2:], ANNOTATIONS[0]])
    with pytest.raises(DataError, match=r"annotations are of other pictures than .*questions.json: question_id 90"):
        _read(root)


def test_an_id_that_is_there_twice_is_a_fault(make):
    with pytest.raises(DataError, match=r"questions.json: the id of a question is there twice: question_id 90"):
        _read(make([*QUESTIONS, _question(90, 42)]))


def test_a_question_with_two_annotations_is_a_fault(make):
    with pytest.raises(DataError, match=r"annotations.json: a question has two annotations: question_id 91"):
        _read(make(annotations=[*ANNOTATIONS, _annotation(91, 9)]))


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        (
            {"question_id": 5, "question": "Why?"},
            "question_id 5: it needs a question_id, .* it has question_id, question",
        ),
        ({"image_id": 9, "question": "Why?"}, "question 4 of the list: it needs .*; it has image_id, question"),
        ({"question_id": [1], "image_id": 9, "question": "Why?"}, r"question_id \[1\]: it needs"),
        ({"question_id": 5, "image_id": "a cat", "question": "Why?"}, "an image_id, a number, and a question; it has"),
        ({"question_id": 5, "image_id": 9, "question": None}, "question_id 5: it needs"),
        ("Why?", "question 4 of the list: .*; it is no object"),
    ],
)
def test_a_question_that_is_none_is_a_fault(make, broken, match):
    root = make([*QUESTIONS, broken])
    with pytest.raises(DataError, match=rf"v2_OpenEnded_mscoco_train2014_questions.json: .*{match}"):
        _read(root)


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        ({"question_id": 420, "answers": [{"text": "cat"}]}, "question_id 420: it needs .* 'answers' of objects with"),
        ({"question_id": 420, "answers": {"a": "cat"}}, "question_id 420: it needs"),
        ({"answers": []}, "annotation 3 of the list"),
        (7, "annotation 3 of the list: .*it is no object"),
    ],
)
def test_an_annotation_that_is_none_is_a_fault(make, broken, match):
    root = make(annotations=[*ANNOTATIONS[:2], broken])
    with pytest.raises(DataError, match=rf"v2_mscoco_train2014_annotations.json: .*{match}"):
        _read(root)


def test_a_picture_of_two_splits_is_a_fault(make):
    make()
    root = make([_question(1, 42)], [_annotation(1, 42)], "mscoco_val2014")
    with pytest.raises(
        DataError,
        match=r"1 picture is asked about in more than one split, e.g. 'train2014/COCO_.*0042.jpg' in train and val",
    ):
        _read(root)


def test_a_file_that_is_cut_off_is_refused(make):
    root = make()
    path = root / "v2_mscoco_train2014_annotations.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError, match=r"annotations.json: this can't be read as JSON .* Is it cut off\?"):
        read_vqa(root)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("[]", "there is no list 'questions' in it, as VQA's files have; it holds no object"),
        ('{"images": []}', "no list 'questions' in it, .* it holds images"),
        ('{"questions": {}}', "no list 'questions' in it"),
        ('{"questions": []}', "the list of questions is empty"),
    ],
)
def test_a_file_without_questions_is_refused(make, content, match):
    root = make()
    (root / "v2_OpenEnded_mscoco_train2014_questions.json").write_text(content)
    with pytest.raises(DataError, match=match):
        read_vqa(root)


def test_a_missing_picture_is_bad_data_where_it_is_expected(make):
    root = make()
    missing = root / "train2014" / "COCO_train2014_000000000042.jpg"
    missing.unlink()
    assert _read(root).splits["train"][1].path == missing


def test_no_picture_at_all_is_refused(make):
    root = make(pictures=())
    with pytest.raises(
        DataError, match=r"none of the 2 pictures of 'train' is there, e.g. .*train2014/COCO_.*go beside"
    ):
        read_vqa(root)


def test_a_split_without_pictures_is_left_out(make):
    make()
    root = make([_question(1, 1)], [_annotation(1, 1)], "mscoco_val2014", pictures=())
    contents = _read(root)
    assert list(contents.splits) == ["train"]
    assert any("the only picture of 'val'" in note and "left out" in note for note in contents.notes)


def test_nothing_but_empty_questions_is_refused(make):
    with pytest.raises(DataError, match=r"no pictures with questions of VQA.*nothing is asked of 'train'"):
        read_vqa(make([_question(90, 9, "")], None))


def test_other_folders_hold_no_vqa(pets, make):
    assert not holds_vqa(pets)
    root = make()
    assert holds_vqa(root)
    assert not holds_vqa(root.parent)


def test_the_data_set_opens_by_itself(make):
    images = open_dataset(make(), "train", kind="questions", val_fraction=0.5)
    assert (images.format, len(images), len(images.select("val")), images.classes) == ("vqa", 1, 1, ())
    assert len(images.fingerprint()) == 64
