"""Answers as people give them, and the form in which they are compared."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

from ...datasets import DataError, Question

#: The marks that are taken away; an apostrophe, a colon and a full stop are none of them.
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
#: The official expression tries to spare those behind a digit too, and doesn't: "3." becomes "3".
_FULL_STOP = re.compile(r"\.(?!\d)")
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBERS = {
    "none": "0",
    "zero": "0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}
#: What is put right where one of the apostrophes is missing. The official list's forms of "I" are left out: its text is
#: lower case by then, and they are written with a capital.
_CONTRACTIONS = (
    "ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't needn't oughtn't "
    "shan't shouldn't wasn't weren't won't wouldn't "
    "could've might've must've not've should've they've we've what've where've who've would've you've "
    "how'll it'll somebody'll someone'll something'll they'll what'll who'll why'll you'll "
    "there're they're what're why're you're "
    "he's how's somebody's someone's that's there's what's when's where's who's why's "
    "he'd how'd it'd someone'd something'd there'd they'd where'd who'd you'd "
    "he'd've it'd've she'd've somebody'd've someone'd've something'd've there'd've they'd've we'd've who'd've you'd've "
    "couldn't've hadn't've mightn't've shouldn't've wouldn't've "
    "ma'am o'clock 'twas y'all y'all'll y'all'd've 'ow's'at"
)


def _misspelt() -> dict[str, str]:
    """Return each contraction by what it becomes when one apostrophe is forgotten."""
    forms = {
        form[:place] + form[place + 1 :]: form
        for form in _CONTRACTIONS.split()
        for place, letter in enumerate(form)
        if letter == "'"
    }
    return forms | {"somebody'd": "somebodyd"}  # the official list has this one the wrong way round


_MISSPELT = _misspelt()


@lru_cache(maxsize=2**18)
def normalize_answer(text: str) -> str:
    """Return an answer as the official evaluation of VQA compares it (Antol et al. 2015, its code of 2018).

    Lower case; marks go, and leave a space unless one stands beside such a mark or the answer has a number with a
    comma; a full stop stays in front of a digit; number words up to ten, and "none", are digits; articles go;
    contractions get their apostrophe. Nothing may be left: of "a", or of "?".
    """
    plain = text.replace("\n", " ").replace("\t", " ").strip()
    words = [_NUMBERS.get(word, word) for word in _strip_marks(plain).lower().split()]
    return " ".join(_MISSPELT.get(word, word) for word in words if word not in _ARTICLES)


def _strip_marks(text: str) -> str:
    """Return a text without marks; what becomes of each is decided by the text as it was given."""
    has_comma = _COMMA_IN_NUMBER.search(text) is not None
    stripped = text
    for mark in _MARKS:
        if mark in stripped:
            closes_up = has_comma or f"{mark} " in text or f" {mark}" in text
            stripped = stripped.replace(mark, "" if closes_up else " ")
    return _FULL_STOP.sub("", stripped)


@lru_cache(maxsize=2**18)
def tally(answers: tuple[str, ...]) -> dict[str, int]:
    """Return how many people gave each answer, in its normal form, which may be empty."""
    return dict(Counter(map(normalize_answer, answers)))


def main_answer(question: Question) -> str | None:
    """Return a question's most frequent answer in its normal form; of several the first by alphabet.

    What normalises to nothing is no answer.
    """
    counts = tally(question.answers)
    return min(filter(None, counts), key=lambda answer: (-counts[answer], answer), default=None)


def main_answers(images: Sequence[Sequence[Question]]) -> Iterator[tuple[Question, str]]:
    """Return each question that has an answer, with its most frequent one in the normal form."""
    for questions in images:
        for question in questions:
            if (answer := main_answer(question)) is not None:
                yield question, answer


def frequent_answers(images: Sequence[Sequence[Question]], most: int) -> tuple[str, ...]:
    """Return the answers that most questions have, in their normal form, the most frequent first, then by alphabet.

    Each question counts once, for its most frequent answer.

    Args:
        images: The questions of each image.
        most: How many answers there are at most.

    Raises:
        DataError: If no question has an answer.
    """
    counts = Counter(answer for _, answer in main_answers(images))
    if not counts:
        total = sum(map(len, images))
        raise DataError(
            f"None of the {total:,} questions has an answer, so that there is nothing to learn. Give the answers of "
            "the split that is trained on."
        )
    return tuple(sorted(counts, key=lambda answer: (-counts[answer], answer))[:most])


def common_spellings(images: Sequence[Sequence[Question]]) -> dict[str, str]:
    """Return how people most often write each answer, by its normal form; of several ways the first by alphabet.

    A model that says ``one way`` as people do, and not ``1 way``, is right where all of them wrote that, because the
    official evaluation then compares texts as they stand; and ``chair, table`` is still two things.
    """
    counts = Counter(answer for questions in images for question in questions for answer in question.answers)
    spellings: dict[str, str] = {}
    for text, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        spellings.setdefault(normalize_answer(text), text.strip())
    return spellings
