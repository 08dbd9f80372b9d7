"""The caption that anyone could say without looking: what a model's figures are to be held against."""

from collections.abc import Sequence

import numpy as np

from .cider import consensus
from .words import caption_words

BASELINES = ("blind", "other_photo")
#: Pictures whose captions are held against each other.
_MOST_PICTURES = 2_000


def blind_caption(train: Sequence[Sequence[str]]) -> str:
    """Return the training caption that scores best by CIDEr-D, were it said of every training picture.

    A caption doesn't profit from being the reference that it is: see ``consensus``.

    Args:
        train: The captions of each training picture. Of more than 2,000 pictures as many are taken, evenly chosen; of
            several captions as good the first is.
    """
    step = max(1, -(-len(train) // _MOST_PICTURES))
    chosen = [texts for texts in train[::step] if texts]
    if not chosen:
        return ""
    # sums in another order may differ in the last digits, and nobody should have to guess which caption they prefer
    scores = np.round(consensus([[caption_words(text) for text in texts] for texts in chosen]), 9)
    return [text for texts in chosen for text in texts][int(scores.argmax())]
