"""easy-VQA: a few thousand questions about single shapes (Zhou 2019).

::

    easy_vqa/train/questions.json      a list of questions: [["what color is the shape?", "blue", 0], ...]
    easy_vqa/train/images/0.png        the picture of a question is its third entry
    easy_vqa/test/                     the same; also val, where there is one
    easy_vqa/answers.txt               not needed
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

from .asked_pictures import AskedPictures, Picture, keep_with_pictures, note_unanswered
from .contents import Contents
from .questions import Question
from .sample import DataError
from .splits import SPLITS
from .texts import note_empty

_ENTRIES = 3


def holds_easy_vqa(root: Path) -> bool:
    """Whether a folder has the questions of a split in easy-VQA's place."""
    return any(_questions_of(root, split).is_file() for split in SPLITS)


def read_easy_vqa(root: Path) -> Contents:
    """Read the questions of easy-VQA; no picture is opened.

    Args:
        root: The folder that holds ``train`` and ``test``.

    Returns:
        What it holds. Its ``faults`` name the file and the question's place in the list: it isn't a question, an answer
        and the number of a picture.

    Raises:
        DataError: A file can't be read, or no picture is there.
    """
    contents = Contents({})
    asked = AskedPictures(contents)
    for split in SPLITS:
        path = _questions_of(root, split)
        if not path.is_file():
            continue
        _read_file(path, split, asked)
        contents.splits[split] = asked.make_records(split, partial(_locate, path.parent / "images"), root)
    keep_with_pictures(contents, root, what="easy-VQA", hint="They belong into train/images and test/images, as 0.png.")
    return contents


def _questions_of(root: Path, split: str) -> Path:
    return root / split / "questions.json"


def _locate(folder: Path, picture: Picture) -> Path:
    return folder / f"{picture}.png"


def _read_file(path: Path, split: str, asked: AskedPictures) -> None:
    contents = asked.contents
    empty, bare = [], []
    rows = _load(path)
    for place, row in enumerate(rows, start=1):
        if not _is_question(row):
            contents.faults.append(
                f"{path}, question {place}: a list of a question, its answer and the number of its picture was "
                f"expected, not {_short(row)}."
            )
            continue
        text, answer, picture = row
        if not asked.add(split, picture, Question(text, (answer,))):
            empty.append(f"question {place}")
        elif not asked.clean(answer):
            bare.append(f"question {place}")
    if not rows:
        raise DataError(f"{path}: the list of questions is empty.")
    contents.notes += note_empty(path, "question", empty)
    contents.notes += note_unanswered(path, bare)


def _load(path: Path) -> list[Any]:
    try:
        rows = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: this can't be read as JSON ({error}). Is it cut off?") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: easy-VQA's questions are a list of lists; this file doesn't hold a list.")
    return rows


def _is_question(row: Any) -> bool:
    if not isinstance(row, list) or len(row) != _ENTRIES:
        return False
    text, answer, picture = row
    return isinstance(text, str) and isinstance(answer, str) and isinstance(picture, int) and picture >= 0


def _short(row: Any) -> str:
    text = json.dumps(row, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
