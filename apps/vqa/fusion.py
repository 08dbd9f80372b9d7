"""How a picture and a question become one vector."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...datasets import Context
from ..grid import Grid
from ..pooling import pool_valid


class Fused(NamedTuple):
    """What a fusion gives."""

    values: Tensor
    """float ``[Q, width]``: a vector for each question and its picture."""
    attention: Tensor | None
    """float32 ``[Q, h, w]``: the share of each cell in the last look, adding up to 1; None where nothing looks."""


class Product(nn.Module):
    """The picture's vector times the question's, after a linear layer and a tanh for each (Antol 2015, section 4).

    Both vectors are first brought to length sqrt(C) about their mean (layer norm). Antol brings the picture's to length
    1; its numbers are then so small, 0.04 in ResNet-18's embedding, that the tanh is a line and learning starts slowly.
    The last states of an LSTM are about as small.

    Args:
        level: A map, whose mean over the picture is read, or ``embedding``.
        in_channels: Of that.
        width: Of the vectors that are multiplied.
        question_width: Of the question's vector.
    """

    def __init__(self, level: str, in_channels: int, width: int, question_width: int) -> None:
        """See the class."""
        super().__init__()
        self.level = level
        self.norm = nn.LayerNorm(in_channels)
        self.of_picture = nn.Linear(in_channels, width)
        self.of_question = _question_layer(question_width, width)

    def forward(self, features: Mapping[str, Tensor], context: Context, questions: Tensor, image: Tensor) -> Fused:
        """Return the products.

        Args:
            features: With the level, ``[B, C, h, w]`` or ``[B, C]``.
            context: Says what of a map is picture.
            questions: float ``[Q, question_width]``.
            image: int64 ``[Q]``: the place of each question's picture among the ``B``.
        """
        level = features[self.level]
        vector = level if level.dim() == 2 else pool_valid(level, context, 1).flatten(1)
        picture = torch.tanh(self.of_picture(self.norm(vector)))
        return Fused(picture.index_select(0, image) * torch.tanh(self.of_question(questions)), None)


class StackedAttention(nn.Module):
    """The question looks at the cells of a map, and once more with what it saw (Yang 2016, section 3.3).

    Each hop adds the mean of the cells, weighted by the attention that the question pays to each, to the question's
    vector. Padding gets no attention.

    Args:
        level: A map.
        in_channels: Of that.
        width: Of cells and questions.
        question_width: Of the question's vector as it comes.
        hops: How often it looks.
    """

    def __init__(self, level: str, in_channels: int, width: int, question_width: int, *, hops: int) -> None:
        """See the class."""
        super().__init__()
        self.level = level
        self.grid = Grid((level,), (in_channels,), width)
        self.of_question = _question_layer(question_width, width)
        self.hops = nn.ModuleList(_Hop(width) for _ in range(hops))

    def forward(self, features: Mapping[str, Tensor], context: Context, questions: Tensor, image: Tensor) -> Fused:
        """Return the questions' vectors with what they saw; see :class:`Product`."""
        values, is_picture = self.grid(features, context)
        cells = torch.tanh(values)
        asked = torch.tanh(self.of_question(questions))
        shares = asked.new_zeros(0)
        for hop in self.hops:
            asked, shares = hop(cells, is_picture, asked, image)
        height, width = features[self.level].shape[-2:]
        return Fused(asked, shares.reshape(-1, height, width))


def _question_layer(question_width: int, width: int) -> nn.Sequential:
    """Return what brings a question's vector to the width in which it meets the picture."""
    return nn.Sequential(nn.LayerNorm(question_width), nn.Linear(question_width, width))


class _Hop(nn.Module):
    """One look at the cells (Yang 2016, equations 15 to 18)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_cells = nn.Linear(width, width, bias=False)
        self.of_question = nn.Linear(width, width)
        self.score = nn.Linear(width, 1)

    def forward(self, cells: Tensor, is_picture: Tensor, asked: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the questions ``[Q, width]`` with what they saw, and the attention, float32 ``[Q, S]``."""
        # a picture's cells are projected once, however many questions there are about it
        looked = torch.tanh(self.of_cells(cells).index_select(0, image) + self.of_question(asked)[:, None])
        scores = self.score(looked)[..., 0].float()
        shares = scores.masked_fill(~is_picture.index_select(0, image), -torch.inf).softmax(dim=1)
        seen = torch.einsum("qs,qsw->qw", shares.to(cells.dtype), cells.index_select(0, image))
        return asked + seen, shares
