"""CIDEr-D: how much a caption agrees with its references in the words that tell pictures apart (Vedantam 2015).

Runs of one to four words are weighted by how few pictures have them among their references. Numbers are those of the
COCO caption server, which takes that from the references of the split that is judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from .bleu import Words

_ORDER = 4
#: Of the penalty on captions of another length than the reference's, in pairs of words (section 6).
_SIGMA = 6.0


@dataclass(frozen=True)
class Runs:
    """The runs of one length in T texts.

    Attributes:
        counts: ``[T, V]``: how often each text has each of V runs.
        rarity: ``[V]``: the logarithm of how many times more pictures there are than such that have it.
    """

    counts: csr_array
    rarity: NDArray[np.float64]

    def weighted_squares(self) -> csr_array:
        """Return what a run that both texts have adds to their agreement, for a count of 1 in the other: ``[T, V]``."""
        return self.counts.multiply(self.rarity**2).tocsr()

    def norms(self) -> NDArray[np.float64]:
        """Return the length of each text's vector, ``[T]``."""
        squares = self.counts.power(2) @ self.rarity**2
        norms: NDArray[np.float64] = np.sqrt(squares)
        return norms


def cider(
    captions: Sequence[Words], references: Sequence[Sequence[Words]], places: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Return the score of each caption, ``[M]``, 0 to 10.

    Args:
        captions: M of them.
        references: Of each of N pictures at least one; their rarity is taken from these.
        places: Of each caption, the picture whose references it is held against; nothing for one caption a picture.
    """
    held = np.arange(len(references)) if places is None else np.asarray(places, dtype=np.intp)
    sizes = np.array([len(each) for each in references])
    texts = [*chain.from_iterable(references), *captions]
    # one row for each caption and reference that are compared
    repeats = sizes[held]
    starts = np.cumsum(sizes) - sizes
    within = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    theirs = np.repeat(starts[held], repeats) + within
    owner = np.repeat(np.arange(len(captions)), repeats)
    ours = owner + int(sizes.sum())
    agreement = np.zeros(len(theirs))
    for runs in _count_runs(texts, np.repeat(np.arange(len(sizes)), sizes), len(sizes)):
        agreement += _cosines(runs, ours, theirs)
    lengths = _lengths(texts)
    agreement *= _length_penalty(lengths[ours] - lengths[theirs]) / _ORDER
    scores: NDArray[np.float64] = 10 * np.bincount(owner, agreement, len(captions)) / repeats
    return scores


def _cosines(runs: Runs, ours: NDArray[np.intp], theirs: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the cosine of pairs of texts, where what the first says more often than the second doesn't count."""
    clipped = runs.counts[ours].minimum(runs.counts[theirs])
    products = clipped.multiply(runs.weighted_squares()[theirs]).sum(axis=1)
    norms = runs.norms()
    scale = norms[ours] * norms[theirs]
    cosines: NDArray[np.float64] = np.divide(products, scale, out=np.zeros(len(ours)), where=scale > 0)
    return cosines


def consensus(references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
    """Return for each reference of all pictures, in a row, its mean score were it said of every picture.

    That it agrees with itself counts for nothing: among few pictures the oddest reference would win by that alone.

    But for the penalty on the length a score is a sum over runs, so that references of one length are added up before
    anything is held against them: the time is that of a look at each text, not at each pair.
    """
    sizes = np.array([len(each) for each in references])
    texts = list(chain.from_iterable(references))
    lengths = _lengths(texts)
    distinct, which = np.unique(lengths, return_inverse=True)
    penalty = _length_penalty(lengths[:, None] - distinct)
    share = np.repeat(1 / sizes, sizes) / len(sizes)
    found = np.zeros(len(texts))
    for runs in _count_runs(texts, np.repeat(np.arange(len(sizes)), sizes), len(sizes)):
        norms = runs.norms()
        weights = np.zeros(penalty.shape)
        weights[np.arange(len(texts)), which] = np.divide(share, norms, out=np.zeros(len(texts)), where=norms > 0)
        squares, agreement = runs.weighted_squares(), np.zeros(len(texts))
        # min(a, b) is how many numbers from 1 on neither is below
        for least in range(1, int(runs.counts.data.max(initial=0)) + 1):
            has = (runs.counts >= least).astype(np.float64)
            agreement += ((has @ (has.multiply(squares).T @ weights)) * penalty).sum(axis=1)
        found += np.divide(agreement, norms, out=np.zeros(len(texts)), where=norms > 0) - share * (norms > 0)
    return 10 * found / _ORDER


def _count_runs(texts: Sequence[Words], pictures: NDArray[np.intp], total: int) -> list[Runs]:
    """Return the runs of one to four words in texts, of which the first ``len(pictures)`` are references.

    Args:
        texts: T of them.
        pictures: Of each reference the place of its picture.
        total: How many pictures there are.
    """
    sizes = np.array([len(each) for each in texts], dtype=np.int64)
    known: dict[str, int] = {}
    words = np.array([known.setdefault(word, len(known)) for each in texts for word in each], dtype=np.int64)
    text = np.repeat(np.arange(len(texts)), sizes)
    left = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(words))  # words from here to the end of the text
    found, runs = [], words
    for order in range(1, _ORDER + 1):
        starts = np.flatnonzero(left >= order)
        if order > 1:
            # a run is the one that is a word shorter, and a word
            runs[starts] = runs[starts] * len(known) + words[starts + order - 1]
        names, column = np.unique(runs[starts], return_inverse=True)
        runs = np.zeros(len(words), dtype=np.int64)
        runs[starts] = column
        found.append(_table(text[starts], column, (len(texts), len(names)), pictures, total))
    return found


def _table(
    rows: NDArray[np.intp], columns: NDArray[np.intp], shape: tuple[int, int], pictures: NDArray[np.intp], total: int
) -> Runs:
    """Return the counts of runs, each of which stands in a row, and their rarity."""
    counts = csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    counts.sum_duplicates()
    of_reference = rows < len(pictures)
    pairs = np.unique(pictures[rows[of_reference]] * np.int64(max(1, shape[1])) + columns[of_reference])
    having = np.bincount(pairs % max(1, shape[1]), minlength=shape[1])
    return Runs(counts, np.log(float(total)) - np.log(np.maximum(1.0, having)))


def _lengths(texts: Sequence[Words]) -> NDArray[np.int64]:
    """Return how many pairs of neighbouring words each text has, which the server takes for its length."""
    return np.array([max(0, len(each) - 1) for each in texts], dtype=np.int64)


def _length_penalty(difference: NDArray[np.int64]) -> NDArray[np.float64]:
    penalty: NDArray[np.float64] = np.exp(-(difference.astype(np.float64) ** 2) / (2 * _SIGMA**2))
    return penalty
