"""ROUGE-L: the longest run of words, gaps allowed, that a caption shares with a reference (Lin 2004, section 3)."""

from collections.abc import Sequence

from .bleu import Words

#: How much more recall counts than precision: the COCO caption server's.
_BETA = 1.2


def rouge_l(words: Words, references: Sequence[Words]) -> float:
    """Return the F-measure of the best precision and the best recall over the references, at least one, of an image.

    A caption without words is one empty word, as on the COCO caption server: it scores 0 unless a reference has none
    either.
    """
    said = words or [""]
    precision = recall = 0.0
    for each in references:
        reference = each or [""]
        shared = common_length(said, reference)
        precision, recall = max(precision, shared / len(said)), max(recall, shared / len(reference))
    if not precision:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def common_length(first: Words, second: Words) -> int:
    """Return the length of the longest common subsequence.

    A row of the usual table is the bits of one number, so that a word costs a few operations (Hyyro 2004).
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everything = (1 << len(first)) - 1
    row = everything
    for word in second:
        matched = row & places.get(word, 0)
        row = (row + matched) | (row - matched)
    return len(first) - (row & everything).bit_count()
