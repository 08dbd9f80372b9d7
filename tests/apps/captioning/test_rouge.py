"""ROUGE-L: pycocoevalcap's numbers."""

import random

import pytest
from onetrunk.apps.captioning.rouge import common_length, rouge_l
from pycocoevalcap.rouge.rouge import Rouge, my_lcs


def test_captions_score_as_pycocoevalcap_scores_them(corpus) -> None:
    peer = Rouge()
    for words, references in zip(*corpus, strict=True):
        expected = peer.calc_score([" ".join(words)], [" ".join(each) for each in references])
        assert rouge_l(words, references) == pytest.approx(expected, abs=1e-12)


def test_the_longest_common_subsequence_is_found() -> None:
    chance = random.Random(1)
    for _ in range(300):
        first, second = (chance.choices("abcde", k=chance.randint(0, 90)) for _ in range(2))
        assert common_length(first, second) == my_lcs(first, second)


def test_gaps_are_allowed_and_the_order_counts() -> None:
    assert common_length("police killed the gunman".split(), "police kill the gunman".split()) == 3
    assert common_length("the gunman kill police".split(), "police kill the gunman".split()) == 2
    # 3 of 4 words both ways: precision and recall are alike
    assert rouge_l("police killed the gunman".split(), ["police kill the gunman".split()]) == pytest.approx(3 / 4)


def test_a_caption_without_words_scores_nothing() -> None:
    assert rouge_l([], [["a", "dog"]]) == 0
