"""Which captions were trained on, so that it can be said of a caption whether it is word for word one of them."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from .words import caption_words


def caption_hashes(texts: Sequence[str]) -> Tensor:
    """Return a number for the words of each text, int64 ``[N]``; texts of the same words have the same."""
    numbers = [_hash(text) for text in texts]
    return torch.tensor(numbers, dtype=torch.int64)


def is_among(hashes: Tensor, known: Tensor) -> Tensor:
    """Return which numbers are among the known ones, which are sorted: bool ``[N]``."""
    if len(known) == 0:
        return torch.zeros(len(hashes), dtype=torch.bool, device=hashes.device)
    places = torch.searchsorted(known, hashes).clamp(max=len(known) - 1)
    return known[places] == hashes


def _hash(text: str) -> int:
    digest = hashlib.blake2b(" ".join(caption_words(text)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
