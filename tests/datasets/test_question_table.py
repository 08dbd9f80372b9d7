"""Tables of questions: their columns in each format, and what is wrong in their rows."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from onetrunk.datasets import DataError, open_dataset
from onetrunk.datasets.contents import Contents, raise_faults
from onetrunk.datasets.question_table import read_question_table
from onetrunk.datasets.questions import Question

ROWS = """path,question,answer,question_type,answer_type,question_id,split
a.png,What  colour is it?, red ,what colour,other,1,train
b.png,Is it a cat?,yes,is it,yes/no,x7,val
a.png,How many?,01,how many,number,007,train
"""


@pytest.fixture
def write(tmp_path: Path, draw: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a table beside the pictures a, b and c."""

    def write(content: str | list[dict], name: str = "questions.csv") -> Path:
        for seed, picture in enumerate("abc"):
            draw(tmp_path / f"{picture}.png", height=8, width=10, seed=seed)
        path = tmp_path / name
        if isinstance(content, str):
            path.write_text(content)
        elif name.endswith(".parquet"):
            pd.DataFrame(content).to_parquet(path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in content))
        return path

    return write


def _read(path: Path) -> Contents:
    contents = read_question_table(path)
    raise_faults(path, contents.faults)
    return contents


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_rows_about_a_picture_are_joined(write, delimiter):
    contents = _read(write(ROWS.replace(",", delimiter), "questions.tsv"))
    (record,) = contents.splits["train"]
    assert record.name == "a.png"
    assert record.targets == {
        "questions": (
            Question("What colour is it?", ("red",), "what colour", "other", 1),
            Question("How many?", ("01",), "how many", "number", "007"),
        )
    }
    assert contents.splits["val"][0].targets["questions"] == (
        Question("Is it a cat?", ("yes",), "is it", "yes/no", "x7"),
    )
    assert contents.notes == []


@pytest.mark.parametrize("name", ["questions.jsonl", "questions.parquet"])
def test_lists_of_answers(write, name):
    rows = [
        {"image": "a.png", "question": "How many?", "answers": ["2", "two", "", "2"], "question_id": 12},
        {"image": "b.png", "question": "Why?", "answers": ["because; yes"], "question_id": 13},
    ]
    contents = _read(write(rows, name))
    assert [record.targets["questions"] for record in contents.splits[""]] == [
        (Question("How many?", ("2", "two", "2"), number=12),),
        (Question("Why?", ("because; yes",), number=13),),
    ]


@pytest.mark.parametrize(
    ("cell", "answers"),
    [
        ("2;two; 2 ;", ("2", "two", "2")),
        ('"[""2"", ""two; or so""]"', ("2", "two; or so")),
        ("[2]", ("2",)),
        ("[sic", ("[sic",)),
        ("", ()),
    ],
)
def test_several_answers_in_a_cell(write, cell, answers):
    (record,) = _read(write(f"path,question,answers\na.png,How many?,{cell}\n")).splits[""]
    assert record.targets["questions"] == (Question("How many?", answers),)


def test_numbers_are_answers_as_they_are_written(write):
    rows = [{"path": "a.png", "question": "How many?", "answer": 2}, {"path": "a.png", "question": "?", "answer": 1.50}]
    (record,) = _read(write(rows, "questions.jsonl")).splits[""]
    assert [question.answers for question in record.targets["questions"]] == [("2",), ("1.5",)]


def test_a_question_without_answer_is_kept_and_noted(write):
    contents = _read(write("path,question,answer\na.png,Why?,\na.png,Is it?,no\n"))
    assert contents.splits[""][0].targets["questions"] == (Question("Why?"), Question("Is it?", ("no",)))
    assert any("1 of 2 questions has no answer" in note for note in contents.notes)


def test_a_table_without_answers_is_for_prediction(write):
    contents = _read(write("path,question\na.png,Why?\n"))
    assert contents.splits[""][0].targets["questions"] == (Question("Why?"),)
    (note,) = contents.notes
    assert "no column 'answer' or 'answers'" in note
    assert "neither learned nor measured" in note


def test_an_empty_question_is_left_out(write):
    contents = _read(write("path,question,answer\na.png, ,yes\nb.png,Is it?,no\n"))
    assert [record.name for record in contents.splits[""]] == ["b.png"]
    assert any("1 empty question was left out: row 2" in note for note in contents.notes)


def test_no_question_at_all_is_refused(write):
    with pytest.raises(DataError, match="every question is empty"):
        read_question_table(write("path,question,answer\na.png,,yes\n"))


def test_subjects_stay_together(write):
    rows = "path,question,answer,subject\na.png,Is it?,no,tom\nb.png,Is it?,no,tom\nc.png,Is it?,no,ann\n"
    images = open_dataset(write(rows), "train", kind="questions", val_fraction=0.5)
    assert {record.targets["subject"] for record in images.records} in ({"tom"}, {"ann"})
    assert images.format == "table"


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ("path,query,answer", "the column 'question' is missing; columns: path, query, answer. Is it 'query'"),
        ("picture,question,answer", "the column 'path' is missing"),
        ("path,question,anser", "there is no column 'answer'; columns: path, question, anser. Is it 'anser'"),
        ("path,question,answer,answers", "'answer' and 'answers' can't both be there; columns: path, question, answer"),
        ("path,question,question", "the column 'question' is there 2 times"),
    ],
)
def test_columns_are_checked(write, header, match):
    with pytest.raises(DataError, match=match):
        read_question_table(write(header + "\n" + ",".join(["a.png"] * len(header.split(","))) + "\n"))


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"question": ["Why?"]}, r'row 2: a question is text or a number, not \["Why\?"\]'),
        ({"answer": True}, "row 2: an answer is text or a number, not true"),
        ({"answer": [{"answer": "no"}]}, r'row 2: an answer is text or a number, not {"answer": "no"}'),
        ({"question_type": ["a"]}, "row 2: a question_type is text"),
        ({"answer_type": {"a": 1}}, "row 2: an answer_type is text"),
        ({"question_id": [1]}, "row 2: a question_id is text or a number"),
        ({"question_id": "1"}, "row 2: the question_id 1 is there already; no two questions have the same"),
    ],
)
def test_a_value_that_wont_do_is_a_fault(write, row, match):
    first = {"path": "a.png", "question": "Is it?", "answer": "no", "question_id": 1}
    path = write([first, {**first, "question_id": 2, **row}], "questions.jsonl")
    with pytest.raises(DataError, match=match):
        _read(path)


def test_a_picture_of_two_splits_is_a_fault(write):
    with pytest.raises(DataError, match=r"row 5: 'b.png' has another subject or split in row 3"):
        _read(write(ROWS + "b.png,Is it?,no,,,9,train\n"))


def test_no_picture_at_all_is_refused(write):
    with pytest.raises(DataError, match=r"none of its 1 images exists, e.g. .*x.png"):
        _read(write("path,question,answer\nx.png,Is it?,no\n"))
