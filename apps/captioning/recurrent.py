"""The recurrent decoder without attention: Show and Tell."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions

from ..grid import Cells, mean_cell

State = tuple[Tensor, ...]
"""What a recurrent decoder knows after some tokens, each ``[N, ...]``."""


class RecurrentConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """What recurrent decoders are built from, in the form that transformers' generation reads.

    Args:
        vocab_size: The number of tokens.
        width: Of a cell and of a token.
        hidden: Of the LSTM's state.
        dropout: The probability of dropping a value.
        others: Transformers' own.
    """

    model_type = "onetrunk_recurrent"

    def __init__(
        self, *, vocab_size: int = 0, width: int = 256, hidden: int = 512, dropout: float = 0.0, **others: Any
    ) -> None:
        """See the class."""
        self.vocab_size = vocab_size
        self.width = width
        self.hidden = hidden
        self.dropout = dropout
        super().__init__(**{**others, "tie_word_embeddings": False})
        self.use_cache = False


class Reading(NamedTuple):
    """What a recurrent decoder gives for some tokens."""

    logits: Tensor
    """``[N, L, V]``."""
    attention: Tensor | None
    """Where it looked for each token, ``[N, L, S]``, where it looks."""
    state: State
    """Of N texts, from which it reads on."""


class Memory:
    """The states of the texts that were read last, so that a generation reads each token once.

    Transformers hands over the whole text at each step, of beams that may have changed places. The text before the last
    token is looked for among those of the same picture. A state is a function of picture and text, so that it doesn't
    matter which of several like ones is taken.

    Args:
        beams: How many texts there are of each picture, side by side.
    """

    def __init__(self, beams: int) -> None:
        """See the class."""
        self.beams = beams
        self._tokens: Tensor | None = None
        self._state: State = ()

    def keep(self, tokens: Tensor, state: State) -> None:
        """Keep the states of texts, int64 ``[N, L]``."""
        self._tokens, self._state = tokens, state

    def find(self, tokens: Tensor) -> State | None:
        """Return the states of texts without their last token, or nothing if one of them isn't known."""
        before = tokens[:, :-1]
        if self._tokens is None or self._tokens.shape != before.shape:
            return None
        known = self._tokens.reshape(-1, self.beams, before.shape[1])
        is_same = (before.reshape(known.shape)[:, :, None] == known[:, None]).all(dim=3)
        if not bool(is_same.any(dim=2).all()):
            return None
        pictures = torch.arange(len(known), device=tokens.device)[:, None] * self.beams
        places = (is_same.int().argmax(dim=2) + pictures).flatten()
        return tuple(each.index_select(0, places) for each in self._state)


class RecurrentDecoder(PreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]
    """What recurrent decoders share: the interface that transformers' generation drives."""

    config_class = RecurrentConfig
    main_input_name = "input_ids"
    _memory: Memory | None = None

    def _init_weights(self, module: nn.Module) -> None:
        """Leave the layers as torch starts them."""

    @contextmanager
    def remembering(self, beams: int) -> Iterator[None]:
        """Keep states from step to step of a generation with so many beams."""
        self._memory = Memory(beams)
        try:
            yield
        finally:
            self._memory = None

    def forward(
        self,
        input_ids: Tensor,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **others: Any,
    ) -> CausalLMOutputWithCrossAttentions:
        """Return what may follow each token; in a generation, what may follow the last.

        Args:
            input_ids: int64 ``[N, L]``, the start and what follows it.
            encoder_hidden_states: The cells, float ``[N, S, width]``.
            encoder_attention_mask: bool ``[N, S]``: which of them are picture.
            attention_mask: Not looked at: texts are padded at their end, and no token sees a later one.
            others: Transformers' switches, without effect here.

        Returns:
            ``logits`` ``[N, L, V]``, and with attention ``cross_attentions``, one ``[N, 1, L, S]``.
        """
        assert encoder_hidden_states is not None
        assert encoder_attention_mask is not None
        state = None if self._memory is None else self._memory.find(input_ids)
        tokens = input_ids if state is None else input_ids[:, -1:]
        found = self.read(tokens, Cells(encoder_hidden_states, encoder_attention_mask), state)
        if self._memory is not None:
            self._memory.keep(input_ids, found.state)
        attention = None if found.attention is None else (found.attention[:, None],)
        return CausalLMOutputWithCrossAttentions(logits=found.logits, cross_attentions=attention)

    def read(self, tokens: Tensor, cells: Cells, state: State | None) -> Reading:
        """Return what follows tokens ``[N, L]``, from the states before them, or from the start."""
        raise NotImplementedError


class LstmDecoder(RecurrentDecoder):
    """An LSTM whose first input is the picture (Vinyals et al. 2015, Show and Tell, section 3.1).

    It sees the picture once, as the mean of its cells; what it says later depends on its memory alone.
    """

    def __init__(self, config: RecurrentConfig) -> None:
        """See the class."""
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        self.lstm = nn.LSTM(config.width, config.hidden, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, config.vocab_size)
        self.post_init()  # type: ignore[no-untyped-call]

    def read(self, tokens: Tensor, cells: Cells, state: State | None) -> Reading:
        """Return what follows tokens ``[N, L]``, from the states before them, or from the picture."""
        inputs = self.dropout(self.embedding(tokens))
        if state is None:
            inputs = torch.cat([mean_cell(cells)[:, None].to(inputs.dtype), inputs], dim=1)
        # many processors have no LSTM in bfloat16, and torch doesn't ask
        with torch.autocast(inputs.device.type, enabled=False):
            before = None if state is None else (state[0][None], state[1][None])
            found, (hidden, memory) = self.lstm(inputs, before)
        logits = self.output(self.dropout(found[:, -tokens.shape[1] :]))
        return Reading(logits, None, (hidden[0], memory[0]))
