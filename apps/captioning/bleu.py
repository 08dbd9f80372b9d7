"""BLEU: how many runs of one to four words a caption shares with its references (Papineni 2002).

The figure of a corpus is a function of counts that are added up over images, so that those of each image are kept and
any choice of images, such as a bootstrap's, is one matrix product. Numbers are those of the COCO caption server.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Words = Sequence[str]
"""The words of a caption."""

ORDER = 4
#: Of each image: runs shared and runs said, by length, then the words of the caption and of the nearest reference.
COUNTS = 2 * ORDER + 2
#: The server's, which keep it from dividing by nothing: a caption without a run of four words has a BLEU-4 of about 0.
_SMALL, _TINY = 1e-9, 1e-15


@dataclass(frozen=True)
class ReferenceRuns:
    """What an image's references say.

    Attributes:
        most: Each run of words, with how often one reference has it at most.
        lengths: How many words each has.
    """

    most: dict[tuple[str, ...], int]
    lengths: tuple[int, ...]


def reference_runs(references: Sequence[Words]) -> ReferenceRuns:
    """Return what the references of an image, at least one, say."""
    most: dict[tuple[str, ...], int] = {}
    for words in references:
        for run, count in _runs(words).items():
            if count > most.get(run, 0):
                most[run] = count
    return ReferenceRuns(most, tuple(map(len, references)))


def bleu_counts(words: Words, references: ReferenceRuns) -> list[int]:
    """Return the counts of a caption: see ``COUNTS``."""
    length = len(words)
    shared = [0] * ORDER
    for run, count in _runs(words).items():
        shared[len(run) - 1] += min(references.most.get(run, 0), count)
    said = [max(0, length - order) for order in range(ORDER)]
    # of two as near the shorter
    nearest = min(references.lengths, key=lambda other: (abs(other - length), other))
    return [*shared, *said, length, nearest]


def bleu(counts: NDArray[np.integer], weights: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return BLEU-1 to BLEU-4 of weighted images, ``[R, 4]``.

    Args:
        counts: ``[N, 10]``, of each image.
        weights: ``[R, N]``.
    """
    total = weights.astype(np.float64) @ counts.astype(np.float64)
    shared, said = total[:, :ORDER], total[:, ORDER : 2 * ORDER]
    precision = np.cumprod((shared + _TINY) / (said + _SMALL), axis=1) ** (1 / np.arange(1, ORDER + 1))
    ratio = (total[:, -2] + _TINY) / (total[:, -1] + _SMALL)
    brevity: NDArray[np.float64] = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    return precision * brevity[:, None]


def _runs(words: Words) -> Counter[tuple[str, ...]]:
    found: Counter[tuple[str, ...]] = Counter()
    for size in range(1, ORDER + 1):
        found.update(zip(*(words[start:] for start in range(size)), strict=False))
    return found
