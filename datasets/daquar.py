"""DAQUAR: questions about rooms, asked of the pictures of NYU Depth V2 (Malinowski and Fritz 2014).

::

    daquar/qa.37.raw.train.txt        a question, and in the next line its answer
    daquar/qa.37.raw.test.txt         the same; qa.894.raw.train.txt and so on are the questions of more objects
    daquar/nyu_depth_images/          image1.png and so on, in any folder below

Instead of two files there may be one, ``qa.37.raw.txt``, ``qa.894.raw.txt`` or ``all_qa_pairs.txt``, or tables
``data_train.csv`` and ``data_eval.csv`` with the columns question, answer and image_id. Lists of pictures then say
which are of which split: ``train.txt`` and ``test.txt``, or ``train_images_list.txt`` and ``test_images_list.txt``.
Without lists the tables are train and val; where they divide the questions about a picture between them, as a random
cut of rows does, they are put together and have no splits, for a model would be measured on pictures it was trained on.

A question says which picture it is about: "... in the image3 ?". These words are taken out of it. The network sees the
picture; the number could tell it nothing but which answers to know by heart. An answer of several things, as in
"knife, fork", stays one text.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from .asked_pictures import AskedPictures, Picture, few, find_shared, keep_with_pictures, note_unanswered
from .contents import Contents
from .numbered_pictures import NumberedPictures
from .questions import Question
from .sample import DataError
from .texts import note_empty

_OBJECTS = ("37", "894")

_TABLES = {"train": "data_train.csv", "val": "data_eval.csv"}

_COLUMNS = ("question", "answer", "image_id")

_LISTS = {"train": ("train.txt", "train_images_list.txt"), "test": ("test.txt", "test_images_list.txt")}

_FOLDERS = ("nyu_depth_images", "images")

_NAME = re.compile(r"image[ _]?([0-9]+)", re.IGNORECASE)

_WORDS = re.compile(r"\b(?:(?:in|on|of)\s+)?(?:(?:the|this)\s+)?image[ _]?[0-9]+\b", re.IGNORECASE)
"""What names the picture, with the words that lead to it."""


class _Row(NamedTuple):
    place: int
    """The line, from 1."""
    question: str
    answer: str
    name: str
    """What holds the number of the picture."""


def holds_daquar(root: Path) -> bool:
    """Whether a folder has DAQUAR's questions, by the names of files, and of a table's columns."""
    return any(path.is_file() for path in _texts(root).values()) or any(map(_is_table, _tables(root).values()))


def read_daquar(root: Path) -> Contents:
    """Read DAQUAR's questions; no picture is opened.

    Args:
        root: The folder that holds the questions.

    Returns:
        What it holds. Its ``faults`` name the file and the line: no number of a picture, a question without the line of
        its answer, a picture in two splits.

    Raises:
        DataError: A file can't be read or is empty, the questions of 37 and of 894 objects are both there, or no
            picture is.
    """
    contents = Contents({})
    asked = AskedPictures(contents)
    sources = _pick_sources(root)
    for split, path in sources.items():
        _read_file(path, split, asked)
    if any(path.suffix == ".csv" for path in sources.values()) or "" in sources:
        _divide(root, asked)
    pictures = NumberedPictures(root)
    home = next((folder for name in _FOLDERS if (folder := root / name).is_dir()), root / _FOLDERS[0])

    def locate(number: Picture) -> Path:
        stem = f"image{number}"
        return pictures.find(int(number), stem=stem, folder=home.name, split="") or home / f"{stem}.png"

    for split in asked.splits():
        contents.splits[split] = asked.make_records(split, locate, root)
    contents.faults += pictures.find_faults()
    contents.faults += find_shared(root, contents.splits)
    keep_with_pictures(contents, root, what="DAQUAR", hint="They belong into a folder nyu_depth_images, as image1.png.")
    return contents


def _texts(root: Path) -> dict[str, Path]:
    """Return where the files of lines would be, by name."""
    names = [f"qa.{number}.raw{part}.txt" for number in _OBJECTS for part in (".train", ".test", "")]
    return {name: root / name for name in (*names, "all_qa_pairs.txt")}


def _tables(root: Path) -> dict[str, Path]:
    return {split: root / name for split, name in _TABLES.items()}


def _is_table(path: Path) -> bool:
    """Whether a file begins with the names of the columns; others may call their tables so, too."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return set(_COLUMNS) <= {name.strip() for name in file.readline().split(",")}
    except OSError:
        return False


def _pick_sources(root: Path) -> dict[str, Path]:
    """Return which files are read, by split; the only key is the empty text where lists have to tell."""
    present = {name: path for name, path in _texts(root).items() if path.is_file()}
    sets = {number: [name for name in present if name.startswith(f"qa.{number}.")] for number in _OBJECTS}
    if all(sets.values()):
        raise DataError(
            f"{root}: questions of 37 objects, {', '.join(sets['37'])}, and of 894, {', '.join(sets['894'])}. Many "
            "are the same; keep one set in the folder."
        )
    cut = {split: path for split in _LISTS for name, path in present.items() if name.endswith(f".{split}.txt")}
    if cut:
        return cut
    if tables := {split: path for split, path in _tables(root).items() if _is_table(path)}:
        return tables
    return {"": next(iter(present.values()))}


def _read_file(path: Path, split: str, asked: AskedPictures) -> None:
    contents = asked.contents
    read = _read_table if path.suffix == ".csv" else _read_lines
    empty, bare = [], []
    rows = list(read(path, contents))
    for row in rows:
        match = _NAME.search(row.name)
        if match is None:
            contents.faults.append(f"{path}, line {row.place}: which picture is asked about isn't said: '{row.name}'.")
            continue
        text = _WORDS.sub(" ", row.question)
        if not text.strip(" \t?"):
            empty.append(f"line {row.place}")
        elif asked.add(split, int(match[1]), Question(text, (row.answer,))) and not asked.clean(row.answer):
            bare.append(f"line {row.place}")
    if not rows and not contents.faults:
        raise DataError(f"{path}: there are no questions in it.")
    contents.notes += note_empty(path, "question", empty)
    contents.notes += note_unanswered(path, bare)


def _read_lines(path: Path, contents: Contents) -> Iterator[_Row]:
    """Return the questions of alternating lines. Each names its picture, so that one gap doesn't shift the rest."""
    lines = _read_text(path).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    place = 0
    while place < len(lines):
        line = lines[place]
        place += 1
        if not line.strip():
            continue
        if not _NAME.search(line):
            contents.faults.append(
                f"{path}, line {place}: a question was expected, with the name of its picture, as in '... in the "
                f"image3 ?', not '{line.strip()}'."
            )
            continue
        if place == len(lines) or _NAME.search(lines[place]):
            contents.faults.append(f"{path}, line {place}: the answer is missing; it stands in the next line.")
            continue
        yield _Row(place, line, lines[place], line)
        place += 1


def _read_table(path: Path, contents: Contents) -> Iterator[_Row]:
    reader = csv.DictReader(_read_text(path).splitlines())
    for row in reader:
        question, answer, name = (row.get(column) for column in _COLUMNS)
        if question is None or answer is None or name is None:
            contents.faults.append(f"{path}, line {reader.line_num}: a row has a {', '.join(_COLUMNS)}.")
            continue
        yield _Row(reader.line_num, question, answer, f"image{name}" if name.strip().isdecimal() else name)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the questions can't be read ({error}).") from error


def _divide(root: Path, asked: AskedPictures) -> None:
    """Sort pictures into splits by lists; or put together what divides the questions about pictures."""
    chosen = _read_lists(root)
    contents = asked.contents
    if chosen:
        everything = {picture for pictures in asked.splits().values() for picture in pictures}
        asked.move(lambda _, picture: chosen.get(picture))
        if unlisted := sorted(everything - chosen.keys(), key=int):
            names = few(f"image{number}" for number in unlisted)
            contents.notes.append(f"{root}: left out are pictures that are in no list, {len(unlisted):,}: {names}.")
    elif asked.is_shared():
        asked.move(lambda *_: "")
        contents.notes.append(
            f"{root}: {' and '.join(_TABLES.values())} have questions about the same pictures, so they were put "
            "together; a model would be measured on pictures it was trained on."
        )


def _read_lists(root: Path) -> dict[Picture, str]:
    """Return the split of each picture that a list names.

    Raises:
        DataError: A line names none, or a picture is in two lists.
    """
    chosen: dict[Picture, str] = {}
    for split, path in _find_lists(root).items():
        for place, line in enumerate(_read_text(path).splitlines(), start=1):
            match = _NAME.search(line) or re.search(r"([0-9]+)(?:\.\w+)?\s*$", line)
            if match is None and line.strip():
                raise DataError(f"{path}, line {place}: the name of a picture was expected, as image3, not '{line}'.")
            if match and chosen.setdefault(int(match[1]), split) != split:
                raise DataError(
                    f"{path}, line {place}: image{match[1]} is in the list of '{chosen[int(match[1])]}' too."
                )
    return chosen


def _find_lists(root: Path) -> Mapping[str, Path]:
    found = {split: [root / name for name in names if (root / name).is_file()] for split, names in _LISTS.items()}
    return {split: paths[0] for split, paths in found.items() if paths}
