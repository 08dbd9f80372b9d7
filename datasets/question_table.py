"""Tables of questions: CSV (also with ``;`` or tabs between columns), Parquet, and JSON lines.

=================  ==================================================================================================
column             meaning
=================  ==================================================================================================
``path``           the image, absolute or relative to the table's folder; ``image`` means the same
``question``       what is asked about it; several questions about an image stand in several rows
``answer``         the answer, taken as text: ``01`` stays ``01``; empty where it isn't known
``answers``        instead of ``answer``: what several people answered, ten of them in VQA, in a list in Parquet and
                   JSON lines, in CSV with ``;`` between them or as a list in JSON: ``["2", "two"]``
``question_type``  optional: what figures are told apart by, such as ``how many``
``answer_type``    optional: the same, such as ``number``
``question_id``    optional: what the question is called, no two the same
``subject``        optional: as in every table (``table.py``)
``split``          optional: train, val or test, or a synonym
=================  ==================================================================================================

A table without answers will do for predictions. Texts are put in order as ``texts.py`` says; an empty question is left
out, and so are empty answers.
"""

import json
from pathlib import Path
from typing import Any

from .contents import Contents
from .questions import Question
from .sample import DataError
from .table_files import Row, name_near, require
from .table_rows import as_text
from .text_table import TextColumns, read_text_table
from .texts import clean_text

_COLUMNS = ("question", "answer", "answers", "question_type", "answer_type", "question_id")


def read_question_table(path: Path) -> Contents:
    """Read a table of images with questions; no picture is opened.

    Raises:
        DataError: As ``read_text_table``. A fault is also an id that is there twice, or something that is no text.
    """
    reader = _Reader()
    contents = read_text_table(path, TextColumns("question", _COLUMNS, reader.check_columns, reader.read))
    asked = [
        question for records in contents.splits.values() for one in records for question in one.targets["questions"]
    ]
    bare = sum(not question.answers for question in asked)
    if not reader.has_answers:
        contents.notes.append(
            f"{path}: there is no column 'answer' or 'answers', so the answers aren't known; they can be predicted, "
            "but neither learned nor measured."
        )
    elif bare:
        contents.notes.append(
            f"{path}: {bare:,} of {len(asked):,} questions {'has' if bare == 1 else 'have'} no answer."
        )
    return contents


class _Reader:
    """Reads the questions of a table's rows, each with its own id."""

    def __init__(self) -> None:
        self.has_answers = False
        self._seen: set[int | str] = set()

    def check_columns(self, columns: list[str], path: Path) -> None:
        """Raise a ``DataError`` where a column is missing, or two say the same."""
        require(["path", "question"], columns, path)
        present = ", ".join(columns)
        if "answer" in columns and "answers" in columns:
            raise DataError(f"{path}: 'answer' and 'answers' can't both be there; columns: {present}.")
        self.has_answers = "answer" in columns or "answers" in columns
        if not self.has_answers and (near := name_near("answer", [name for name in columns if name not in _COLUMNS])):
            # without a word, nothing would be left to learn
            raise DataError(f"{path}: there is no column 'answer'; columns: {present}.{near}")

    def read(self, row: Row) -> list[Question | None]:
        """Return the question of a row, None if it is empty.

        Raises:
            DataError: An id was there before, or something is no text; without a place.
        """
        text = clean_text(_plain(row["question"], "a question"))
        answers = _split(row["answers"]) if "answers" in row else row.get("answer")
        listed = answers if isinstance(answers, list) else [answers]
        question = Question(
            text,
            tuple(cleaned for each in listed if (cleaned := clean_text(_plain(each, "an answer")))),
            clean_text(_plain(row.get("question_type"), "a question_type")),
            clean_text(_plain(row.get("answer_type"), "an answer_type")),
            _number(_plain(row.get("question_id"), "a question_id")),
        )
        if question.number is not None:
            if question.number in self._seen:
                raise DataError(f"the question_id {question.number} is there already; no two questions have the same.")
            self._seen.add(question.number)
        return [question if text else None]


def _plain(value: Any, what: str) -> str:
    if isinstance(value, list | dict | bool):
        raise DataError(f"{what} is text or a number, not {json.dumps(value, default=str)[:60]}.")
    return as_text(value)


def _split(value: Any) -> Any:
    """Return the several answers of a cell."""
    if not isinstance(value, str):
        return value
    if value.strip().startswith("["):
        try:
            return json.loads(value, parse_int=str, parse_float=str)
        except ValueError:
            pass  # an answer that happens to begin so
    return value.split(";")


def _number(text: str) -> int | str | None:
    """Return an id as VQA's files have it, where it is a number."""
    if not text:
        return None
    return int(text) if text.isdecimal() and str(int(text)) == text else text
