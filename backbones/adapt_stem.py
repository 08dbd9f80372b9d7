"""Pretrained first convolutions for pictures that are not RGB."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def adapt_stem(state: Mapping[str, Tensor], own: Mapping[str, Tensor], stem: Sequence[str]) -> dict[str, Tensor]:
    """Return ``state`` with the first convolutions' weights made for the network's input channels.

    One channel: the sum over the channels, so that a grey picture gives what its RGB copy gave. More: the channels in
    turn, scaled so that the response keeps its size. Less, or the same number: as the network has it.

    Args:
        state: The file's tensors.
        own: The network's tensors.
        stem: Paths of the convolutions.
    """
    adapted = dict(state)
    for name in (f"{path}.weight" for path in stem):
        if name in state and name in own and state[name].shape[1] != own[name].shape[1]:
            adapted[name] = adapt_channels(state[name], own[name].shape[1])
    return adapted


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Return a convolution's weight ``[O, I, h, w]`` as ``[O, channels, h, w]``."""
    if channels == 1:
        return weight.float().sum(dim=1, keepdim=True).to(weight.dtype)
    given = weight.shape[1]
    turns = [index % given for index in range(channels)]
    return weight[:, torch.tensor(turns)] * (given / channels)
