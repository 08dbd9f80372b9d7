"""The recurrent decoder with attention: Show, Attend and Tell."""

import torch
from torch import Tensor, nn

from ..grid import Cells, mean_cell
from .recurrent import Reading, RecurrentConfig, RecurrentDecoder, State


class AttentionLstmDecoder(RecurrentDecoder):
    """An LSTM that looks at the picture anew for each token (Xu et al. 2015, sections 3.1.2 and 4.2).

    Soft attention: how much each cell counts follows from the cell and the state before. What is seen is weighed by the
    gate beta, the state starts from the mean cell, and the deep output (Pascanu 2014) reads the last token, the state
    and what is seen.
    """

    def __init__(self, config: RecurrentConfig) -> None:
        """See the class."""
        super().__init__(config)
        width, hidden = config.width, config.hidden
        self.embedding = nn.Embedding(config.vocab_size, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.start = nn.Sequential(nn.Linear(width, 2 * hidden), nn.Tanh())
        self.cell_key = nn.Linear(width, width)
        # of the state: where to look, and the gate
        self.query = nn.Linear(hidden, width + 1)
        self.score = nn.Linear(width, 1, bias=False)
        self.lstm = nn.LSTMCell(2 * width, hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.from_state = nn.Linear(hidden, width)
        self.from_seen = nn.Linear(width, width)
        self.output = nn.Linear(width, config.vocab_size)
        self.post_init()  # type: ignore[no-untyped-call]

    def read(self, tokens: Tensor, cells: Cells, state: State | None) -> Reading:
        """Return what follows tokens ``[N, L]``, from the states before them, or from the mean cell."""
        if state is None:
            state = (*self.start(mean_cell(cells)).chunk(2, dim=1), self.cell_key(cells.values))
        hidden, memory, keys = state
        words = self.dropout(self.embedding(tokens))
        states, seen, weights = [], [], []
        for word in words.unbind(dim=1):
            query = self.query(hidden)
            scores = self.score(torch.tanh(keys + query[:, None, 1:])).squeeze(2).float()
            weights.append(scores.masked_fill(~cells.is_picture, float("-inf")).softmax(dim=1))
            looked = torch.bmm(weights[-1][:, None].to(cells.values.dtype), cells.values).squeeze(1)
            seen.append(torch.sigmoid(query[:, :1]) * looked)
            hidden, memory = self.lstm(torch.cat([word, seen[-1].to(word.dtype)], dim=1), (hidden, memory))
            states.append(hidden)
        output, sight = torch.stack(states, dim=1), torch.stack(seen, dim=1)
        deep = words + self.from_state(self.dropout(output)) + self.from_seen(sight)
        return Reading(self.output(self.dropout(deep)), torch.stack(weights, dim=1), (hidden, memory, keys))
