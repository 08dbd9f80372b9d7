"""Captions to judge, with everything that could go wrong in them."""

import random

import pytest

Corpus = tuple[list[list[str]], list[list[list[str]]]]

_WORDS = "a the dog cat man café straße 犬 red ball runs sits on in grass and two 's n't -lrb- 3-year-old".split()


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """The words of 600 captions, each with 1 to 5 references: equal ones, empty ones, repetitions, odd lengths."""
    chance = random.Random(0)

    def sentence(most: int = 14) -> list[str]:
        return chance.choices(_WORDS, weights=range(len(_WORDS), 0, -1), k=chance.randint(1, most))

    references = [[sentence() for _ in range(chance.randint(1, 5))] for _ in range(600)]
    captions = [chance.choice([sentence(), each[0], each[0][:-1], each[-1][1:] + each[0]]) for each in references]
    captions[0], captions[1], captions[2] = [], ["dog"] * 30, references[2][0]
    captions[3], references[3] = [], [[]]
    references[4] = [[], ["a", "dog"]]
    references[5] = [references[5][0]] * 5
    return captions, references
