"""How classes come from a head's logits, for one class a pixel or any number of them."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...datasets import BACKGROUND, Context

Readout = Literal["softmax", "binary", "sigmoid"]
"""``softmax``: one of K classes, K logits; ``binary``: a foreground and its background, one logit for the foreground;
``sigmoid``: any number of K classes, K logits."""


def readout_of(classes: Sequence[str], *, is_multi_label: bool) -> Readout:
    """Return how logits are to be read for a data set's classes."""
    if is_multi_label:
        return "sigmoid"
    return "binary" if len(classes) == 2 and classes[0] == BACKGROUND else "softmax"


def count_outputs(classes: Sequence[str], readout: Readout) -> int:
    """Return the number of logits a pixel."""
    return 1 if readout == "binary" else len(classes)


def probabilities(logits: Tensor, readout: Readout) -> Tensor:
    """Return float32 probabilities of the classes for logits ``[..., K', H, W]``; of ``binary`` those of both."""
    if readout == "softmax":
        return torch.softmax(logits.float(), dim=-3)
    found = torch.sigmoid(logits.float())
    return torch.cat([1 - found, found], dim=-3) if readout == "binary" else found


def logits_of(found: Tensor, readout: Readout) -> Tensor:
    """Return finite logits that stand for probabilities of the classes, the reverse of ``probabilities``."""
    if readout == "softmax":
        return found.clamp(min=1e-12).log()
    chance = found[..., 1:, :, :] if readout == "binary" else found
    # the nearest to 1 that float32 tells from it is 6e-8 away
    return torch.logit(chance, eps=1e-6)


def full_masks(planes: Sequence[Tensor] | Tensor, context: Context, readout: Readout) -> list[Tensor]:
    """Return the classes of every pixel of the pictures: uint8 ``[h, w]``, or ``[K, h, w]`` of 0 and 1 for sigmoid.

    The logits of the part of a plane that is picture are brought to its size, bilinearly, before anything is decided.

    Args:
        planes: Logits ``[K', H, W]`` of each picture.
        context: Says what of a plane is picture, and how large that is.
        readout: How classes come from the logits.
    """
    found = []
    for plane, valid, original in zip(
        planes, context.valid_sizes.tolist(), context.original_sizes.tolist(), strict=True
    ):
        part = plane[:, : valid[0], : valid[1]].float()
        if list(part.shape[-2:]) != original:
            part = interpolate(part[None], size=original, mode="bilinear", align_corners=False)[0]
        found.append(decide(part, readout))
    return found


def decide(logits: Tensor, readout: Readout) -> Tensor:
    """Return the classes that logits ``[K', H, W]`` give: uint8 ``[H, W]``, or ``[K, H, W]`` of 0 and 1 for sigmoid."""
    if readout == "softmax":
        # the same as argmax, which takes twenty times as long on a CPU for a first dimension of four classes
        return logits.max(dim=0).indices.to(torch.uint8)
    holds = (logits > 0).to(torch.uint8)
    return holds[0] if readout == "binary" else holds
