"""What one answers who reads a question and sees no picture: what a model's figures are to be held against."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...datasets import DataError, Question, clean_text
from ...datasets.text_findings import split_words
from .answers import common_spellings, main_answers

#: A single question tells what was answered once, not what is answered.
_LEAST = 2
#: Of VQA's 438,000 training questions they take about a megabyte in a model file.
_MOST_ENTRIES = 20_000
#: The longest beginning that is looked at, in words.
_LONGEST = 4

Words = tuple[str, ...]


@dataclass(frozen=True)
class QuestionPrior:
    """The most frequent training answer of a question's text, else of the longest beginning that is known.

    Attributes:
        questions: Answers by whole questions, in lower case and without punctuation.
        beginnings: Answers by the first one to four words of questions, written alike.
        majority: What is answered to any other question: the most frequent answer of all.
    """

    questions: Mapping[str, str]
    beginnings: Mapping[str, str]
    majority: str

    def answer(self, text: str) -> str:
        """Return the answer to a question."""
        words = question_words(text)
        if (found := self.questions.get(" ".join(words))) is not None:
            return found
        known = (self.beginnings.get(" ".join(beginning)) for beginning in _beginnings(words))
        return next((answer for answer in known if answer is not None), self.majority)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the model file."""
        return {"questions": dict(self.questions), "beginnings": dict(self.beginnings), "majority": self.majority}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "QuestionPrior":
        """Return the prior that a model file holds."""
        return cls(dict(plain["questions"]), dict(plain["beginnings"]), plain["majority"])


def learn_prior(images: Sequence[Sequence[Question]], *, most: int = _MOST_ENTRIES) -> QuestionPrior:
    """Return the prior of training questions.

    Each question counts for its most frequent answer; where several answers are as frequent, the first by alphabet is
    taken. Answers are spelled as people most often do.

    Args:
        images: The questions of each image.
        most: How many questions and beginnings are kept, those that were asked most often.

    Raises:
        DataError: If no question has an answer.
    """
    overall: Counter[str] = Counter()
    counts: defaultdict[tuple[Words, bool], Counter[str]] = defaultdict(Counter)
    for question, answer in main_answers(images):
        words = question_words(question.text)
        overall[answer] += 1
        counts[words, True][answer] += 1
        for beginning in _beginnings(words):
            counts[beginning, False][answer] += 1
    if not overall:
        raise DataError(
            f"None of the {sum(map(len, images)):,} questions has an answer, so that there is none to guess. Give the "
            "answers of the split that is trained on."
        )
    asked = {key: found.total() for key, found in counts.items() if found.total() >= _LEAST}
    kept = sorted(asked, key=lambda key: (-asked[key], key))[:most]
    spelling = common_spellings(images)
    answers = {key: spelling[_most_frequent(counts[key])] for key in kept}
    return QuestionPrior(
        {" ".join(words): answer for (words, is_whole), answer in answers.items() if is_whole},
        {" ".join(words): answer for (words, is_whole), answer in answers.items() if not is_whole},
        spelling[_most_frequent(overall)],
    )


def question_words(text: str) -> Words:
    """Return the words of a question in lower case, without punctuation."""
    return tuple(split_words(clean_text(text)))


def _beginnings(words: Words) -> Iterator[Words]:
    """Return a question's beginnings, the longest first."""
    for length in range(min(_LONGEST, len(words)), 0, -1):
        yield words[:length]


def _most_frequent(counts: Counter[str]) -> str:
    return min(counts, key=lambda answer: (-counts[answer], answer))
