"""What readers of questions gather: which picture is asked about, in which split, and what."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from .contents import Contents
from .questions import Question
from .sample import DataError, Record
from .texts import clean_text, list_some

Picture = int | str
"""What a data set's files call a picture: its number or its name."""


class _Cleaned(dict[str, str]):
    """Cleaned texts by what they were before."""

    def __missing__(self, text: str) -> str:
        cleaned = clean_text(text)
        cleaned = self.setdefault(cleaned, cleaned)
        self[text] = cleaned
        return cleaned


class AskedPictures:
    """The questions of a data set by split and picture, both in the order of its files."""

    def __init__(self, contents: Contents) -> None:
        """Begin without any.

        Args:
            contents: Where notes and faults go.
        """
        self.contents = contents
        self._asked: dict[str, dict[Picture, list[Question]]] = {}
        self._cleaned = _Cleaned()

    def add(self, split: str, picture: Picture, question: Question) -> bool:
        """Put a question to a picture, its texts cleaned (``texts.py``) and without empty answers.

        Returns:
            Whether it was: an empty question is none.
        """
        cleaned = self._cleaned
        text = cleaned[question.text]
        if not text:
            return False
        asked = Question(
            text,
            tuple([cleaned[answer] for answer in question.answers if cleaned[answer]]),
            cleaned[question.question_type],
            cleaned[question.answer_type],
            question.number,
        )
        self._asked.setdefault(split, {}).setdefault(picture, []).append(asked)
        return True

    def clean(self, text: str) -> str:
        """Return a cleaned text, which is kept once however often it comes: VQA has the same answers many times."""
        return self._cleaned[text]

    def splits(self) -> dict[str, list[Picture]]:
        """Return the pictures of each split."""
        return {split: list(pictures) for split, pictures in self._asked.items()}

    def move(self, choose: Callable[[str, Picture], str | None]) -> None:
        """Put pictures into other splits; those for which ``choose`` returns None are left out."""
        old, self._asked = self._asked, {}
        for split, pictures in old.items():
            for picture, questions in pictures.items():
                chosen = choose(split, picture)
                if chosen is not None:
                    self._asked.setdefault(chosen, {}).setdefault(picture, []).extend(questions)

    def is_shared(self) -> bool:
        """Whether a picture is asked about in more than one split."""
        pictures = [picture for found in self._asked.values() for picture in found]
        return len(set(pictures)) < len(pictures)

    def make_records(
        self, split: str, locate: Callable[[Picture], Path], root: Path, *, has_ids: bool = False
    ) -> tuple[Record, ...]:
        """Return a record for each picture of a split, sorted by name.

        Args:
            split: The split.
            locate: Says where a picture is, or where it was expected.
            root: What names are relative to.
            has_ids: Whether a record has its picture's number as ``image_id``.
        """
        records = []
        for picture, questions in self._asked.get(split, {}).items():
            path = locate(picture)
            name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
            targets: dict[str, object] = {"questions": tuple(questions)}
            records.append(Record(path, {**targets, "image_id": picture} if has_ids else targets, name))
        return tuple(sorted(records, key=lambda record: record.name))


def few(things: Iterable[object]) -> str:
    """Return the first few of some things, for a sentence."""
    return list_some([str(thing) for thing in things])


def note_unanswered(source: Path, places: Sequence[str]) -> list[str]:
    """Return a note on questions that are kept without an answer, by where they stand, if there are any."""
    if not places:
        return []
    have = "1 question has" if len(places) == 1 else f"{len(places):,} questions have"
    return [f"{source}: {have} no answer: {list_some(places)}."]


def find_shared(root: Path, splits: Mapping[str, Iterable[Record]]) -> list[str]:
    """Return a fault if pictures are in more than one split."""
    splits_of: dict[str, list[str]] = {}
    for split, records in splits.items():
        for record in records:
            splits_of.setdefault(record.name, []).append(split)
    shared = {name: found for name, found in splits_of.items() if len(found) > 1}
    if not shared:
        return []
    name, found = next(iter(shared.items()))
    are = "1 picture is" if len(shared) == 1 else f"{len(shared):,} pictures are"
    return [
        f"{root}: {are} asked about in more than one split, e.g. '{name}' in {' and '.join(found)}. A picture is for "
        "training or for measuring; keep its questions in one split."
    ]


def keep_with_pictures(contents: Contents, root: Path, *, what: str, hint: str) -> None:
    """Leave out splits of which no picture exists; single missing ones are bad data, found when they are read.

    Args:
        contents: What was read.
        root: The data set.
        what: Its kind, for the message.
        hint: Where its pictures belong, a sentence.

    Raises:
        DataError: No picture of any split exists.
    """
    for split, records in list(contents.splits.items()):
        if any(record.path.is_file() for record in records):
            continue
        of = f" of '{split}'" if split else ""
        if len(records) > 1:
            problem = f"none of the {len(records):,} pictures{of} is there, e.g. {records[0].path}"
        else:
            problem = f"the only picture{of}, {records[0].path}, isn't there" if records else f"nothing is asked{of}"
        contents.notes.append(f"{root}: {problem}{f'; the split {split!r} was left out' if split else ''}.")
        del contents.splits[split]
    if not contents.splits and not contents.faults:
        raise DataError(f"{root}: no pictures with questions of {what}. {' '.join(contents.notes)} {hint}")
