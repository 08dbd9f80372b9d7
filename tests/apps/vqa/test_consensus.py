"""Consensus accuracies that were worked out by hand, leaving out one person after the other."""

import pytest
from onetrunk.apps.vqa.consensus import best_answer, consensus_accuracies, consensus_accuracy, soft_targets
from onetrunk.datasets import Question


def people(**counts: int) -> tuple[str, ...]:
    """Return as many of each answer, ten in all."""
    given = tuple(answer for answer, count in counts.items() for _ in range(count))
    return given + tuple(f"other{place}" for place in range(10 - len(given)))


@pytest.mark.parametrize(
    ("matches", "accuracy"),
    [
        (0, 0.0),
        (1, 9 / 3 / 10),  # nine see one match, the one who gave it sees none
        (2, (8 * 2 / 3 + 2 * 1 / 3) / 10),
        (3, (7 + 3 * 2 / 3) / 10),
        (4, 1.0),
        (9, 1.0),
        (10, 1.0),
    ],
)
def test_of_ten_people_four_make_an_answer_right(matches: int, accuracy: float) -> None:
    assert consensus_accuracy("cat", people(cat=matches)) == pytest.approx(accuracy, abs=1e-12)


@pytest.mark.parametrize(
    ("said", "answers", "accuracy"),
    [
        ("2", ("two", "2", "Two.", *"bcdefgh"), 0.9),
        ("a dog", ("dog", "the dog", *"bcdefghi"), 0.6),
        ("dont know", ("don't know", *"bcdefghij"), 0.3),
        ("1000", ("1,000", "1000", *"bcdefghi"), 0.6),
        ("3.5", ("3.5", "3,5", *"bcdefghi"), 0.3),  # the comma in a number goes: 35
        ("t-shirt", ("t shirt",) * 4 + tuple("bcdefg"), 1.0),
        ("none", ("0",) * 3 + tuple("bcdefgh"), 0.9),
        ("red", ("red", "red", "blue", "blue", *"cdefgh"), 0.6),  # a tie is right for neither
        ("left", ("right",) * 10, 0.0),
        ("a", ("the", "cat", *"bcdefghi"), 0.3),  # both are articles, of which nothing is left
    ],
)
def test_answers_are_compared_in_their_normal_form(said: str, answers: tuple[str, ...], accuracy: float) -> None:
    assert len(answers) == 10
    assert consensus_accuracy(said, answers) == pytest.approx(accuracy, abs=1e-12)


def test_where_all_people_wrote_the_same_texts_are_compared_as_they_stand() -> None:
    assert consensus_accuracy("one way", ("one way",) * 10) == 1
    assert consensus_accuracy("1 way", ("one way",) * 10) == 0
    assert consensus_accuracy(" one way\n", ("one way",) * 9 + ("one way ",)) == 1
    # one who wrote it otherwise, and all are normalised
    assert consensus_accuracy("1 way", ("one way",) * 9 + ("One way",)) == 1


@pytest.mark.parametrize(
    ("answers", "accuracy"),
    [(("Cat",), 1.0), (("dog",), 0.0), (("dog", "a cat"), 1.0), (("dog", "dog", "cat."), 1.0)],
)
def test_of_up_to_three_people_one_is_enough(answers: tuple[str, ...], accuracy: float) -> None:
    assert consensus_accuracy("cat", answers) == accuracy


def test_of_other_numbers_of_people_each_is_left_out_too() -> None:
    assert consensus_accuracy("cat", ("cat", "cat", "dog", "cow", "pig")) == pytest.approx((2 * 1 / 3 + 3 * 2 / 3) / 5)
    assert consensus_accuracy("cat", ("cat", "cat", "cat", "dog")) == pytest.approx((3 * 2 / 3 + 1) / 4)


def test_several_answers_are_judged_at_once() -> None:
    assert consensus_accuracies(["cat", "dog", "cow"], people(cat=4, dog=2)) == pytest.approx([1, 0.6, 0])


def test_a_model_is_taught_what_each_known_answer_would_get() -> None:
    index = {"yes": 0, "no": 1, "2": 2, "maybe": 3}
    assert soft_targets(Question("Q?", people(Yes=5, no=2, two=1)), index) == pytest.approx({0: 1, 1: 0.6, 2: 0.3})
    assert soft_targets(Question("Q?", ("Two",)), index) == {2: 1}
    assert soft_targets(Question("Q?", ("Two",) * 10), index) == {2: 1}
    assert soft_targets(Question("Q?", ("blue",)), index) == {}
    assert soft_targets(Question("Q?"), index) == {}


def test_the_answer_to_learn_is_the_known_one_that_most_gave() -> None:
    index = {"yes": 0, "no": 1, "2": 2}
    assert best_answer(Question("Q?", ("no", "maybe", "maybe", "Two", "2")), index) == 2
    assert best_answer(Question("Q?", ("no", "yes")), index) == 0  # as many gave it: the first known
    assert best_answer(Question("Q?", ("maybe",)), index) is None
    assert best_answer(Question("Q?"), index) is None
