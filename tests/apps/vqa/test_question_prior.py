"""What is answered without a picture."""

import json

import pytest
from onetrunk.apps.vqa.question_prior import QuestionPrior, learn_prior, question_words
from onetrunk.datasets import DataError, Question


def asked(*pairs: tuple[str, str]) -> list[list[Question]]:
    return [[Question(text, (answer,))] for text, answer in pairs]


IMAGES = asked(
    ("What color is the cat?", "black"),
    ("what color is the CAT", "black"),
    ("What color is the cat?", "white"),
    ("What color is the sky?", "blue"),
    ("What is it?", "cat"),
    ("Is there a dog?", "yes"),
    ("Is there a cow?", "yes"),
    ("Is it red?", "no"),
    ("Is it day?", "no"),
    ("Is it on?", "no"),
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("WHAT COLOR is the cat ?!", "black"),  # the question itself
        ("What color is the sky?", "black"),  # asked once: its first four words, 3 of black and white against 1
        ("Is there a pig?", "yes"),  # three words
        ("Is it late?", "no"),  # two words
        ("Is that so?", "no"),  # one word: three no, two yes
        ("What time is it?", "black"),  # one word: two of five
        ("Where is it?", "no"),  # nothing: the most frequent answer
        ("???", "no"),
    ],
)
def test_the_question_then_its_longest_beginning_then_the_majority(text: str, answer: str) -> None:
    assert learn_prior(IMAGES).answer(text) == answer


def test_the_majority_is_first_by_alphabet_among_equals() -> None:
    assert learn_prior(asked(("A b?", "red"), ("C d?", "blue"))).majority == "blue"


def test_a_beginning_is_no_whole_question() -> None:
    prior = learn_prior(asked(("Is it?", "cat"), ("Is it?", "cat"), *[("Is it red?", "no")] * 3))
    assert prior.answer("Is it?") == "cat"
    assert prior.answer("Is it blue?") == "no"


def test_only_what_was_asked_most_often_is_kept() -> None:
    prior = learn_prior(asked(*[("Is it?", "yes")] * 2, *[("Where?", "there")] * 3), most=2)
    # "where" as a question and as a beginning
    assert prior.answer("Where?") == "there"
    assert len(prior.questions) + len(prior.beginnings) == 2


def test_answers_are_spelled_as_people_do() -> None:
    prior = learn_prior(asked(("What sign?", "one way"), ("What sign?", "One way"), ("What sign?", "one way")))
    assert prior.answer("what sign") == "one way"


def test_the_order_of_images_changes_nothing_and_a_model_file_keeps_it() -> None:
    prior = learn_prior(IMAGES)
    assert learn_prior(IMAGES[::-1]) == prior
    assert QuestionPrior.from_dict(json.loads(json.dumps(prior.to_dict()))) == prior


def test_words_have_no_case_and_no_punctuation() -> None:
    assert question_words("Is the CAFE\u0301's door, um, open?") == ("is", "the", "café's", "door", "um", "open")


def test_without_answers_there_is_nothing_to_guess() -> None:
    with pytest.raises(DataError, match=r"None of the 1 questions has an answer.*none to guess"):
        learn_prior([[Question("Is it?")], []])
