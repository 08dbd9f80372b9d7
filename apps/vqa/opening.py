"""Opening the data set of a command about questions."""

from collections import Counter
from collections.abc import Sequence

from ...datasets import AnnotatedImages, DataError, Question
from ...datasets.findings import count
from ..config import EvaluationOptions
from ..opening import Trained, open_model_split
from ..vocabulary import Vocabulary
from .consensus import best_answer


def open_for_model(trained: Trained, options: EvaluationOptions) -> AnnotatedImages:
    """Open the split to evaluate a model on.

    Raises:
        DataError: As ``open_model_split``.
    """
    return open_model_split(trained, options, kind="questions", require=require_answers)


def require_answers(images: AnnotatedImages) -> AnnotatedImages:
    """Return the split after a check that every image has questions with words, and that some have answers.

    A question without an answer stays, and is neither learned nor judged.

    Raises:
        DataError: Naming the first image without a question or words, or the first question where none has an answer.
    """
    first, has_answers = "", False
    for record in images.records:
        questions: Sequence[Question] = record.targets.get("questions") or ()
        if not questions:
            raise DataError(
                f"{record.path}: the image has no question; {images.root} gives it none. Leave out images about which "
                "nothing is asked."
            )
        for question in questions:
            if not question.text:
                raise DataError(
                    f"{record.path}: a question about the image has no words. Leave it out of {images.root}."
                )
            first = first or f"'{question.text}' about {record.path}"
            has_answers = has_answers or any(answer.strip() for answer in question.answers)
    if not has_answers:
        raise DataError(
            f"{images.root}: no question of '{images.split}' has an answer, e.g. {first}, and only questions with "
            "answers can be learned and judged. To answer them: onetrunk vqa predict --data."
        )
    return images


def questions_of(images: AnnotatedImages) -> list[tuple[Question, ...]]:
    """Return the questions about each image of a split."""
    return [tuple(record.targets["questions"]) for record in images.records]


def note_unlearned(images: Sequence[Sequence[Question]], answers: Sequence[str]) -> None:
    """Print a line on the training questions none of whose answers can be given, if there are any."""
    index = {answer: place for place, answer in enumerate(answers)}
    questions = [question for asked in images for question in asked if question.answers]
    without = sum(best_answer(question, index) is None for question in questions)
    if without:
        have, they = ("has", "it is") if without == 1 else ("have", "they are")
        print(
            f"{without:,} of {count(len(questions), 'training question')} {have} none of the "
            f"{count(len(answers), 'answer')}; {they} not learned"
        )


def note_cut(texts: Sequence[str], vocabulary: Vocabulary, max_tokens: int) -> None:
    """Print a line on the questions that are longer than what is read of them, if there are any."""
    counts = Counter(texts)  # many pictures are asked the same
    is_cut = vocabulary.encode(list(counts), max_tokens=max_tokens).is_cut.tolist()
    cut = sum(number for number, is_long in zip(counts.values(), is_cut, strict=True) if is_long)
    if cut:
        is_are = "is" if cut == 1 else "are"
        print(
            f"{cut:,} of {count(len(texts), 'question')} {is_are} longer than the {max_tokens} words or pieces that "
            "are read of each (--head-options.max-tokens); the rest counts for nothing"
        )
