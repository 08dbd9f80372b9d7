"""How right an answer is where several people gave one, and what a model is taught of them."""

from collections.abc import Mapping, Sequence

from ...datasets import Question
from .answers import normalize_answer, tally

#: So many other people have to give an answer for it to be right (Antol et al. 2015, section 3).
_ENOUGH = 3


def consensus_accuracies(said: Sequence[str], answers: tuple[str, ...]) -> list[float]:
    """Return how right each of some answers to a question is, 0 to 1, by what people answered.

    The official measure of VQA: each person is left out in turn, an answer is right if three of the others gave it, and
    by a third for each if fewer did; the mean over the people counts. Of ten people 1, 2, 3 and 4 make 0.3, 0.6, 0.9
    and 1. Answers are compared in their normal form, but where all people wrote the same: then as they stand, which is
    official too. Fewer than four people can't agree so: where there are one to three, an answer is right if any of them
    gave it, in its normal form.

    Args:
        said: What is judged.
        answers: What people answered, at least one of them.
    """
    people = len(answers)
    if people > _ENOUGH and len({_plain(answer) for answer in set(answers)}) == 1:
        return [float(_plain(each) == _plain(answers[0])) for each in said]
    counts = tally(answers)
    return [_agreement(counts.get(normalize_answer(each), 0), people) for each in said]


def consensus_accuracy(said: str, answers: tuple[str, ...]) -> float:
    """Return how right one answer to a question is; see ``consensus_accuracies``."""
    return consensus_accuracies([said], answers)[0]


def _plain(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _agreement(matches: int, people: int) -> float:
    """Return the accuracy of an answer that some of the people gave."""
    if people <= _ENOUGH:
        return float(matches > 0)
    # those who gave it see one match fewer among the others
    thirds = matches * min(_ENOUGH, matches - 1) + (people - matches) * min(_ENOUGH, matches)
    return thirds / (_ENOUGH * people)


def soft_targets(question: Question, answers_index: Mapping[str, int]) -> dict[int, float]:
    """Return the accuracy that each known answer would get, by its place; the others would get 0.

    A model is taught normal forms, so that they are compared even where all people wrote the same.

    Args:
        question: What was asked, with people's answers.
        answers_index: The place of each known answer, by its normal form.
    """
    people = len(question.answers)
    return {
        answers_index[answer]: _agreement(matches, people)
        for answer, matches in tally(question.answers).items()
        if answer in answers_index
    }


def best_answer(question: Question, answers_index: Mapping[str, int]) -> int | None:
    """Return the place of the known answer that most people gave, of several the first; None where none is known."""
    known = [(-count, answers_index[form]) for form, count in tally(question.answers).items() if form in answers_index]
    return min(known)[1] if known else None
