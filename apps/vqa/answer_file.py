"""Answers by the numbers of their questions, as the server of VQA takes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...datasets import Record
from ..run_folder import make_folder, replace_json

ANSWERS = "answers.json"


def write_answers(folder: Path, rows: Sequence[Mapping[str, Any]], records: Sequence[Record]) -> None:
    """Write ``[{"question_id": ..., "answer": ...}]`` of the questions that have a number, if any has.

    Args:
        folder: Where to.
        rows: The predictions; those of images that couldn't be read have no answers.
        records: The images, with their questions in the order of the answers.
    """
    asked = {record.name: record.targets["questions"] for record in records}
    answers = [
        {"question_id": question.number, "answer": entry["answer"]}
        for row in rows
        for question, entry in zip(asked[row["image"]], row.get("answers", ()), strict=False)
        if question.number is not None
    ]
    if answers:
        replace_json(make_folder(folder) / ANSWERS, answers)
