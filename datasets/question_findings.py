"""What a check says of questions and answers: what can't be learned or measured, and what guessing would be worth."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from .annotated_images import AnnotatedImages
from .findings import Finding, Severity, count
from .questions import Question
from .sample import Record
from .text_findings import TEXT_COUNTS, Told, check_repeated, check_texts, count_texts, describe_counts, shorten, tell

DOMINANT = 0.5
"""From this share of the questions on, one answer is worth naming: whoever always gives it is right as often."""

MANY_UNKNOWN = 0.05
"""From this share on, questions whose answer can't be learned weigh on a figure."""

_LISTED = 5

_TRIMMED = re.compile(r"[\W_]+")

_Asked = tuple[Question, str]
"""A question, and the image it is about."""


def check_questions(images: AnnotatedImages) -> Iterable[Finding]:
    """Return findings on the questions and answers of all splits."""
    records = [record for found in images.splits.values() for record in found]
    answers = [Told(answer, name) for question, name in _ask(records) for answer in question.answers]
    asked = {split: _ask(found) for split, found in images.splits.items()}
    yield from check_repeated(records, "question")
    yield from check_texts(tell(records), "question")
    yield from check_texts(answers, "answer")
    for split, found in asked.items():
        yield from _unanswered(split, found)
    yield from _variants(answers)
    yield from _guessing(asked)
    yield from _unknown(asked)
    for split, counts in count_questions(images).items():
        message = (
            f"'{split}' has {describe_counts(counts, 'question')}; {counts['answered']:,} answered, with "
            f"{count(counts['distinct_answers'], 'different answer')}."
        )
        yield Finding("info", TEXT_COUNTS, message)


def count_questions(images: AnnotatedImages) -> dict[str, dict[str, Any]]:
    """Return what ``count_texts`` does, and the numbers of ``answered`` questions and of ``distinct_answers``."""
    counts = count_texts(images, "question")
    for split, records in images.splits.items():
        asked = _ask(records)
        counts[split] |= {
            "answered": sum(bool(question.answers) for question, _ in asked),
            "distinct_answers": len({answer for question, _ in asked for answer in question.answers}),
        }
    return counts


def _ask(records: Iterable[Record]) -> list[_Asked]:
    return [(question, record.name) for record in records for question in record.targets["questions"]]


def _main_answer(question: Question) -> str:
    """Return what most people answered, in small letters; of several the one that comes first."""
    return Counter(answer.casefold() for answer in question.answers).most_common(1)[0][0]


def _main_answers(asked: Iterable[_Asked]) -> Counter[str]:
    return Counter(_main_answer(question) for question, _ in asked if question.answers)


def _unanswered(split: str, asked: list[_Asked]) -> Iterable[Finding]:
    bare = [(question, name) for question, name in asked if not question.answers]
    if not bare:
        return
    files = tuple(dict.fromkeys(name for _, name in bare))
    if len(bare) == len(asked):
        message = f"No question of '{split}' has an answer: they can be predicted, but neither learned nor measured."
        yield Finding("warning" if split != "test" else "info", "split_without_answers", message)
        return
    message = (
        f"{len(bare):,} of {count(len(asked), 'question')} in '{split}' {'has' if len(bare) == 1 else 'have'} no "
        f"answer, e.g. {shorten(bare[0][0].text)} of {bare[0][1]}. They are neither learned nor measured."
    )
    yield Finding("warning", "question_without_answer", message, files)


def _variants(answers: Iterable[Told]) -> Iterable[Finding]:
    """Return a note on answers that differ only in case, white space or punctuation."""
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    for text, number in Counter(told.text for told in answers).items():
        forms[_TRIMMED.sub("", text.casefold()) or text][text] += number
    if found := sorted((each for each in forms.values() if len(each) > 1), key=lambda each: -each.total()):
        listing = "; ".join(" = ".join(_numbered(each)) for each in found[:_LISTED])
        more = f"; and {len(found) - _LISTED:,} more" if len(found) > _LISTED else ""
        message = (
            f"{count(len(found), 'answer is', 'answers are')} written in ways that differ only in case, white space or "
            f"punctuation: {listing}{more}. What of that counts is a matter of the figure."
        )
        yield Finding("info", "answer_variants", message)


def _numbered(found: Counter[str]) -> list[str]:
    return [f"{shorten(text)} ({number:,})" for text, number in found.most_common(_LISTED)]


def _guessing(asked: Mapping[str, list[_Asked]]) -> Iterable[Finding]:
    """Return what always giving the most frequent answer of ``train`` would be worth in each split."""
    source = "train" if "train" in asked else next(iter(asked), "")
    answers = _main_answers(asked.get(source, ()))
    if not answers:
        return
    guess, number = answers.most_common(1)[0]
    shares = []
    for split, found in asked.items():
        counts = _main_answers(found)
        if counts:
            shares.append(f"{counts[guess] / counts.total():.0%} of '{split}'")
    is_dominant = number >= DOMINANT * answers.total()
    message = (
        f"{shorten(guess)} is the most frequent answer in '{source}'; whoever always gives it is right on "
        f"{', '.join(shares)}. Compare figures with that."
    )
    yield Finding("warning" if is_dominant else "info", "answer_dominates" if is_dominant else "answer_guess", message)


def _unknown(asked: Mapping[str, list[_Asked]]) -> Iterable[Finding]:
    """Return the questions whose answer no question of ``train`` has."""
    known = {answer.casefold() for question, _ in asked.get("train", ()) for answer in question.answers}
    for split, found in asked.items():
        answered = [(question, name) for question, name in found if question.answers]
        unknown = [each for each in answered if not {text.casefold() for text in each[0].answers} & known]
        if split == "train" or not known or not unknown:
            continue
        share = len(unknown) / len(answered)
        question, name = unknown[0]
        message = (
            f"{len(unknown):,} of {count(len(answered), 'question')} in '{split}' ({share:.1%}) "
            f"{'has' if len(unknown) == 1 else 'have'} an answer that none in 'train' has, and can't be answered right "
            f"by a model that chooses among those, e.g. {shorten(question.text)} of {name}: "
            f"{shorten(_main_answer(question))}."
        )
        severity: Severity = "warning" if share >= MANY_UNKNOWN else "info"
        yield Finding(severity, "answer_not_in_train", message, tuple(dict.fromkeys(name for _, name in unknown)))
