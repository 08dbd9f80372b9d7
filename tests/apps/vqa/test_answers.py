"""The normal form of answers, worked out by hand from the rules of VQA's official evaluation."""

import pytest
from onetrunk.apps.vqa.answers import common_spellings, frequent_answers, normalize_answer
from onetrunk.datasets import DataError, Question


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Yes", "yes"),
        ("  a red\tbus\n", "red bus"),
        ("the Cat and an apple", "cat and apple"),
        ("two", "2"),
        ("Ten men", "10 men"),
        ("none", "0"),
        ("eleven", "eleven"),
        ("twenty one", "twenty 1"),
        ("1,000", "1000"),
        ("1,000 red-ish", "1000 redish"),  # the comma in a number makes every mark close up
        ("red, blue", "red blue"),
        ("red,blue", "red blue"),
        ("t-shirt", "t shirt"),
        ("black- white", "black white"),
        ("black -white/red", "black white red"),
        ("3.5", "3.5"),
        (".5", ".5"),
        ("3.", "3"),
        ("yes.", "yes"),
        ("u.s.a.", "usa"),
        ("no.1", "no.1"),
        ("what?!", "what"),
        ("10:30", "10:30"),
        ("women's", "women's"),
        ("dont know", "don't know"),
        ("Isnt", "isn't"),
        ("shouldntve", "shouldntve"),  # two apostrophes are missing
        ("shouldnt've", "shouldn't've"),
        ("shouldn'tve", "shouldn't've"),
        ("yall'll", "y'all'll"),
        ("oclock", "o'clock"),
        ("twas", "'twas"),
        ("somebody'd", "somebodyd"),  # so it stands in the official list
        ("im", "im"),  # the official list has "Im" only, which lower case never meets
        ("[sign] (left)", "sign left"),
        ("a", ""),
        ("?", ""),
        ("", ""),
    ],
)
def test_answers_are_compared_in_the_official_form(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


def test_the_most_frequent_answers_come_first_then_by_alphabet() -> None:
    images = [
        [Question("Q?", ("Two", "2", "three")), Question("Q?", ("yes",))],
        [Question("Q?", ("yes.",)), Question("Q?", ())],
        [Question("Q?", ("two", "a cat")), Question("Q?", ("blue",)), Question("Q?", ("a",))],
    ]
    # 2 from the first, and from ("two", "a cat") by alphabet; "a" normalises to nothing
    assert frequent_answers(images, 10) == ("2", "yes", "blue")
    assert frequent_answers(images, 1) == ("2",)


def test_the_order_of_images_changes_nothing() -> None:
    images = [[Question("Q?", (answer,))] for answer in ("b", "c", "c", "d", "b", "e")]
    assert frequent_answers(images, 3) == frequent_answers(images[::-1], 3) == ("b", "c", "d")


def test_questions_without_answers_teach_nothing() -> None:
    with pytest.raises(DataError, match=r"None of the 2 questions has an answer.*split that is trained on"):
        frequent_answers([[Question("Is it?"), Question("Was it?", ("the",))]], 10)


def test_answers_are_spelled_as_most_people_do() -> None:
    images = [[Question("Q?", ("one way", "one way", "1 way", "chair, table", "Dog", "dog"))]]
    spellings = common_spellings(images)
    assert spellings == {"1 way": "one way", "chair table": "chair, table", "dog": "Dog"}
