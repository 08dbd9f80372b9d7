"""What a check says of texts, captions and questions alike: how much there is, and what reading them may have spoilt.

A word is a run of letters and digits, with apostrophes inside; of scripts that put no space between words, each
character. Its case doesn't count.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence, Set
from functools import cache
from typing import Any, NamedTuple

from .annotated_images import AnnotatedImages
from .findings import Finding, count
from .questions import Question
from .sample import Record

TEXT_COUNTS = "text_counts"
"""The kind of the findings that only count."""

LONG = 100
"""A text of more words is none that people usually say of a picture: a whole document, or a quote left open."""

_SHOWN = 80
"""Characters of a text that a message shows."""

_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"
"""Thai, Japanese and Chinese."""

_ENTITY = re.compile(r"&(?:[A-Za-z]{2,8}|#\d{1,6}|#[xX][0-9A-Fa-f]{1,6});|<(?:br|p|b|i)\s*/?>")

_MISREAD = re.compile("[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac|\u00e2\u0080")
"""What UTF-8 looks like that was read as Latin-1 or Windows-1252, which is how an accent or a quotation mark begins."""


class Told(NamedTuple):
    """A text, and the image it belongs to."""

    text: str
    name: str


class _Damage(NamedTuple):
    kind: str
    applies: Callable[[str], object]
    what: str
    effect: str


_DAMAGES = (
    _Damage(
        "text_undecodable",
        lambda text: "\ufffd" in text,
        "a character that couldn't be decoded (\ufffd)",
        "The text was read in another encoding than it was written in; write it anew in UTF-8.",
    ),
    _Damage(
        "text_misread",
        _MISREAD.search,
        "characters that look like UTF-8 read as Latin-1",
        "The text was read in another encoding than it was written in; write it anew in UTF-8.",
    ),
    _Damage(
        "text_markup",
        _ENTITY.search,
        "an HTML entity or tag",
        "It is learned as it stands, as words like 'amp'; put the character it means in its place.",
    ),
)


def texts_of(record: Record) -> tuple[str, ...]:
    """Return the captions of an image, or the questions about it."""
    questions: tuple[Question, ...] = record.targets.get("questions", ())
    return tuple(record.targets.get("captions", ())) + tuple(question.text for question in questions)


def tell(records: Iterable[Record]) -> list[Told]:
    """Return all texts of images, each with its image."""
    return [Told(text, record.name) for record in records for text in texts_of(record)]


def split_words(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return _word_pattern().findall(text.lower())


@cache
def _word_pattern() -> re.Pattern[str]:
    # vowel signs, as Hindi has them, are part of a word, but no letters; re is slow with those beyond 16 bits
    marks = "".join(chr(code) for code in range(2**16) if unicodedata.category(chr(code))[0] == "M")
    letters = rf"(?:[^\W{_UNSPACED}]+|[{marks}])+"
    return re.compile(rf"[{_UNSPACED}]|{letters}(?:['\u2019]{letters})*")


def shorten(text: str) -> str:
    """Return a text for a message, in quotation marks."""
    return f"'{text[:_SHOWN]}{'...' if len(text) > _SHOWN else ''}'"


def check_texts(texts: Sequence[Told], what: str) -> Iterable[Finding]:
    """Return findings on texts one by one: damaged, very long, or without a word.

    Args:
        texts: All texts.
        what: One of them: ``caption``, ``question`` or ``answer``.
    """
    lengths = {text: len(split_words(text)) for text in {told.text for told in texts}}  # VQA repeats its answers often
    for damage in _DAMAGES:
        if found := _choose(texts, {text for text in lengths if damage.applies(text)}):
            message = (
                f"{count(len(found), f'{what} has', f'{what}s have')} {damage.what}, {_example(found[0])}. "
                f"{damage.effect}"
            )
            yield Finding("warning", damage.kind, message, _names(found))
    if long := _choose(texts, {text for text, number in lengths.items() if number > LONG}):
        longest = max(long, key=lambda told: lengths[told.text])
        message = (
            f"{count(len(long), f'{what} has', f'{what}s have')} more than {LONG} words, the longest "
            f"{lengths[longest.text]:,}: {shorten(longest.text)} of {longest.name}. They stay; a model cuts them to "
            "what it can take."
        )
        yield Finding("warning", "text_long", message, _names(long))
    if mute := _choose(texts, {text for text, number in lengths.items() if not number}):
        message = (
            f"{count(len(mute), f'{what} has', f'{what}s have')} no letter or digit, {_example(mute[0])}. To figures "
            "that count words it is empty; leave it out."
        )
        yield Finding("warning", "text_without_words", message, _names(mute))


def _choose(texts: Sequence[Told], wanted: Set[str]) -> list[Told]:
    return [told for told in texts if told.text in wanted] if wanted else []


def check_repeated(records: Iterable[Record], what: str) -> Iterable[Finding]:
    """Return a finding on texts that an image has twice; case doesn't count."""
    found: list[Told] = []
    for record in records:
        seen: set[str] = set()
        for text in texts_of(record):
            if text.casefold() in seen:
                found.append(Told(text, record.name))
            seen.add(text.casefold())
    if found:
        names = _names(found)
        message = (
            f"{count(len(found), f'{what} is', f'{what}s are')} there before for the same image, in "
            f"{count(len(names), 'image')}, {_example(found[0])}. They weigh double; keep one of each."
        )
        yield Finding("warning", f"{what}_repeated", message, names)


def count_texts(images: AnnotatedImages, what: str) -> dict[str, dict[str, Any]]:
    """Return for each split ``images``, texts, ``words``, ``distinct_words`` and ``words_each``, the mean of a text.

    Args:
        images: The data set.
        what: One of the texts; with an ``s`` the key of their number.
    """
    counts: dict[str, dict[str, Any]] = {}
    for split, records in images.splits.items():
        texts = tell(records)
        words = [split_words(told.text) for told in texts]
        number = sum(map(len, words))
        counts[split] = {
            "images": len(records),
            f"{what}s": len(texts),
            "words": number,
            "distinct_words": len({word for each in words for word in each}),
            "words_each": round(number / len(texts), 1) if texts else 0,
        }
    return counts


def describe_counts(found: dict[str, Any], what: str) -> str:
    """Return the counts of a split for a sentence."""
    number = found[f"{what}s"]
    return (
        f"{count(found['images'], 'image')}, {count(number, what)}, {count(found['words'], 'word')} "
        f"({found['distinct_words']:,} different, {found['words_each']} a {what})"
    )


def _example(told: Told) -> str:
    return f"e.g. {shorten(told.text)} of {told.name}"


def _names(texts: Iterable[Told]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(told.name for told in texts))
