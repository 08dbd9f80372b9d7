"""WUPS: how near an answer is in meaning, by where WordNet has its words (Malinowski & Fritz 2014, section 4).

NLTK compares the nouns (``pip install 'onetrunk[wups]'``); it takes WordNet's files, and nothing is downloaded.
"""

import math
from collections.abc import Sequence

from .wordnet import WordNet

#: What a similarity below the threshold is multiplied by.
_PENALTY = 0.1


class Wups:
    """Scores answers; each pair of them once.

    Args:
        wordnet: The nouns.
    """

    def __init__(self, wordnet: WordNet) -> None:
        """See the class."""
        self.wordnet = wordnet
        self._similarities: dict[tuple[str, str], float] = {}
        self._scores: dict[tuple[str, str, float], float] = {}

    def score(self, said: str, answer: str, threshold: float) -> float:
        """Return how near what was said is to an answer, 0 to 1.

        Both are lists of things, split at commas. Each thing counts as its highest similarity to any on the other side,
        a tenth of it below the threshold; the score is the smaller of the products over either side.
        """
        key = (said, answer, threshold)
        if key not in self._scores:
            ours, theirs = _things(said), _things(answer)

            def member(thing: str, others: Sequence[str]) -> float:
                return max(self._weigh(thing, other, threshold) for other in others)

            of_theirs = math.prod(member(thing, ours) for thing in theirs)
            self._scores[key] = min(of_theirs, math.prod(member(thing, theirs) for thing in ours))
        return self._scores[key]

    def mean_score(self, said: str, answers: Sequence[str], threshold: float) -> float:
        """Return the mean score over what several people answered (Malinowski et al. 2015, average consensus)."""
        return sum(self.score(said, answer, threshold) for answer in answers) / len(answers)

    def _weigh(self, first: str, second: str, threshold: float) -> float:
        found = self.similarity(first, second)
        return found if found >= threshold else _PENALTY * found

    def similarity(self, first: str, second: str) -> float:
        """Return how near two things are: 1 if they are the same text, else what WordNet says; each pair once."""
        if first == second:
            return 1.0
        key = (first, second)
        if key not in self._similarities:
            self._similarities[key] = self.wordnet.similarity(first, second)
        return self._similarities[key]


def _things(text: str) -> list[str]:
    return [thing.strip().lower() for thing in text.split(",")]
