"""CIDEr-D: pycocoevalcap's numbers, and the consensus of captions."""

import numpy as np
import pytest
from onetrunk.apps.captioning.baselines import blind_caption
from onetrunk.apps.captioning.cider import cider, consensus
from pycocoevalcap.cider.cider import Cider


def theirs(captions, references) -> np.ndarray:
    said = {place: [" ".join(words)] for place, words in enumerate(captions)}
    true = {place: [" ".join(words) for words in each] for place, each in enumerate(references)}
    return Cider().compute_score(true, said)[1]


def test_captions_score_as_pycocoevalcap_scores_them(corpus) -> None:
    assert np.abs(cider(*corpus) - theirs(*corpus)).max() < 1e-12


@pytest.mark.parametrize("images", [1, 2, 3])
def test_few_images_do(images: int) -> None:
    captions = [["a", "dog"], ["a", "cat", "sits"], ["two", "men"]][:images]
    references = [[["a", "dog"], ["dog"]], [["a", "cat"], ["the", "cat", "sits"]], [["men"]]][:images]
    assert cider(captions, references) == pytest.approx(theirs(captions, references), abs=1e-12)
    if images == 1:
        assert cider(captions, references) == 0  # no word tells the only picture from others


def test_the_true_caption_of_pictures_that_share_no_word_has_full_score() -> None:
    texts = ["a dog runs home".split(), "two men are talking".split(), "the red car stops".split()]
    assert cider(texts, [[text] for text in texts]) == pytest.approx([10, 10, 10])


def test_a_caption_can_be_held_against_another_picture(corpus) -> None:
    captions, references = corpus
    places = [(place + 300) % 600 for place in range(600)]
    moved = theirs(captions, [references[place] for place in places])
    # rarity is the split's, and that has the same references in whatever order
    assert np.abs(cider(captions, references, places) - moved).max() < 1e-12
    both = cider([*captions, *captions], references, [*range(600), *places])
    assert np.abs(both - np.concatenate([cider(captions, references), moved])).max() < 1e-12


def test_texts_without_words_score_nothing() -> None:
    assert cider([[], []], [[[]], [[]]]).tolist() == [0, 0]
    assert consensus([[[]], [[]]]).tolist() == [0, 0]


def test_the_consensus_is_the_mean_score_of_each_reference(corpus) -> None:
    references = corpus[1][:20]
    flat = [words for each in references for words in each]
    expected = [theirs([words] * len(references), references).mean() for words in flat]
    # without what each has for being a reference: a full score, of runs that it has and not all pictures have
    sizes = [len(each) for each in references for _ in each]
    own = [10 * min(4, len(words)) / 4 / size / 20 for words, size in zip(flat, sizes, strict=True)]
    expected = np.array(expected) - own
    assert consensus(references) == pytest.approx(expected, abs=1e-12)


def test_the_blind_caption_is_what_most_pictures_have() -> None:
    train = [["A dog runs.", "one thing"], ["A dog runs.", "some other"], ["Two men talk"], ["the red car stops here"]]
    assert blind_caption(train) == "A dog runs."
    assert blind_caption(train) == blind_caption([list(each) for each in train])


def test_of_captions_as_good_the_first_is_blind() -> None:
    assert blind_caption([["One dog"], ["Two cats"], ["Red cars"]]) == "One dog"
    assert blind_caption([["One dog"]]) == "One dog"


def test_without_captions_nothing_is_said() -> None:
    assert blind_caption([]) == ""
    assert blind_caption([[], []]) == ""


def test_many_pictures_take_seconds() -> None:
    odd = ["a man with item {} near", "two dogs run on green grass", "the car {} stops", "a red {} thing"]
    train = [[odd[place % 4].format(place)] for place in range(100_001)]
    assert blind_caption(train) == "two dogs run on green grass"
