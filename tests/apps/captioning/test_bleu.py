"""BLEU: pycocoevalcap's numbers, and sums of counts for any choice of images."""

import numpy as np
import pytest
from onetrunk.apps.captioning.bleu import bleu, bleu_counts, reference_runs
from pycocoevalcap.bleu.bleu import Bleu


def counts_of(captions, references) -> np.ndarray:
    return np.array([bleu_counts(*each) for each in zip(captions, map(reference_runs, references), strict=True)])


def ours(captions, references) -> np.ndarray:
    return bleu(counts_of(captions, references), np.ones((1, len(captions)), dtype=np.int64))[0]


def theirs(captions, references) -> list[float]:
    said = {place: [" ".join(words)] for place, words in enumerate(captions)}
    true = {place: [" ".join(words) for words in each] for place, each in enumerate(references)}
    return Bleu(4).compute_score(true, said, verbose=0)[0]


def test_a_corpus_scores_as_pycocoevalcap_scores_it(corpus) -> None:
    assert ours(*corpus) == pytest.approx(theirs(*corpus), abs=1e-12)


def test_each_caption_scores_as_pycocoevalcap_scores_it(corpus) -> None:
    captions, references = corpus
    for place in range(0, 100):
        single = captions[place : place + 1], references[place : place + 1]
        assert ours(*single) == pytest.approx(theirs(*single), rel=1e-9, abs=1e-12)


def test_weights_are_repetitions(corpus) -> None:
    captions, references = corpus
    drawn = np.random.default_rng(0).integers(0, 600, 600)
    weights = np.bincount(drawn, minlength=600)[None]
    again = theirs([captions[place] for place in drawn], [references[place] for place in drawn])
    assert bleu(counts_of(captions, references), weights)[0] == pytest.approx(again, abs=1e-12)


def test_the_paper_s_example_is_clipped() -> None:
    caption = ["the"] * 7
    references = [["the", "cat", "is", "on", "the", "mat"], ["there", "is", "a", "cat", "on", "the", "mat"]]
    assert bleu_counts(caption, reference_runs(references)) == [2, 0, 0, 0, 7, 6, 5, 4, 7, 7]
    assert ours([caption], [references])[0] == pytest.approx(2 / 7)


def test_what_is_said_is_what_is_true() -> None:
    words = "a dog runs on grass".split()
    assert ours([words], [[words]]) == pytest.approx([1, 1, 1, 1])


def test_of_two_references_as_near_the_shorter_sets_the_length() -> None:
    assert bleu_counts(["a"] * 4, reference_runs([["a"] * 5, ["a"] * 3]))[-2:] == [4, 3]
