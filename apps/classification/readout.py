"""From logits to probabilities, and from those to what a person reads."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

Readout = Literal["softmax", "one_vs_rest", "sigmoid"]
"""softmax: the classes exclude each other; one_vs_rest: they do too, but each was trained against all others, and the
sigmoids are divided by their sum; sigmoid: any number of classes may hold at once."""

TOP_K = 5
#: Above this probability a class is said to hold, where any number of them may.
THRESHOLD = 0.5


def probabilities(logits: Tensor, readout: Readout) -> Tensor:
    """Return what logits ``[B, C]`` say of each class: float32 ``[B, C]``, each row with a sum of 1 but for sigmoid."""
    if readout == "sigmoid":
        return torch.sigmoid(logits.float())
    # the softmax of logarithms divides by the sum, and stays exact where all sigmoids are nearly 0
    return torch.softmax(logsigmoid(logits.float()) if readout == "one_vs_rest" else logits.float(), dim=1)


def best_classes(found: Tensor) -> tuple[Tensor, Tensor]:
    """Return the five highest of probabilities ``[B, C]``, or all of fewer, and their classes, best first."""
    best, indices = found.topk(min(TOP_K, found.shape[1]), dim=1)
    return best, indices


def top_row(indices: Sequence[int], found: Sequence[float], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return ``[{"class": name, "probability": p}, ...]`` for one image, best first."""
    return [
        {"class": classes[index], "probability": round(probability, 6)}
        for index, probability in zip(indices, found, strict=True)
    ]


def label_row(found: Sequence[float], classes: Sequence[str]) -> dict[str, Any]:
    """Return an image's classes above the threshold as ``predicted``, and those with the five best as ``top``.

    Args:
        found: ``[K]`` probabilities.
        classes: Their names.
    """
    order = sorted(range(len(found)), key=lambda index: -found[index])
    predicted = [classes[index] for index in order if found[index] > THRESHOLD]
    best = order[: max(TOP_K, len(predicted))]
    return {"predicted": predicted, "top": top_row(best, [found[index] for index in best], classes)}


def predict_rows(logits: Tensor, classes: Sequence[str], readout: Readout) -> list[dict[str, Any]]:
    """Return ``{"predicted": ..., "top": [{"class": name, "probability": p}, ...]}`` for each of logits ``[B, C]``.

    What is predicted is the best class, or a list of all that hold where that may be any number.
    """
    if readout == "sigmoid":
        return [label_row(found, classes) for found in probabilities(logits, readout).tolist()]
    found, indices = best_classes(probabilities(logits, readout))
    tops = [top_row(*row, classes) for row in zip(indices.tolist(), found.tolist(), strict=True)]
    return [{"predicted": top[0]["class"], "top": top} for top in tops]
