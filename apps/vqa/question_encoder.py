"""What reads a question: words to one vector, whatever other questions are in the batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from transformers import AutoConfig, AutoModel, BertConfig

from ...backbones.errors import UserError
from ..language_models import (
    check_length,
    check_sizes,
    find_language_model,
    plain_config,
    quiet,
    read_config,
    read_network,
    read_vocabulary,
)
from ..vocabulary import Vocabulary
from .options import HeadOptions

_WORKS_OFFLINE = (
    "What works offline: a folder in place of the name, and --head-options.question-encoder lstm, or transformer "
    "without --head-options.language-model, which learn from the questions alone."
)


class QuestionEncoder(nn.Module):
    """Texts to vectors.

    Args:
        vocabulary: Of the questions; words that aren't in it are read as the unknown one.
        max_tokens: Of a question that are read.
    """

    width: int
    """Of the vectors."""

    def __init__(self, vocabulary: Vocabulary, *, max_tokens: int) -> None:
        """See the class."""
        super().__init__()
        self.vocabulary = vocabulary
        self.max_tokens = max_tokens

    def forward(self, questions: Sequence[str], device: torch.device) -> Tensor:
        """Return a vector for each question, float ``[Q, width]``."""
        # many pictures are asked the same, and reading it is most of what a frozen trunk leaves to compute
        places = {text: place for place, text in enumerate(dict.fromkeys(questions))}
        tokens = self.vocabulary.encode(list(places), max_tokens=self.max_tokens)
        vectors = self.encode(tokens.ids.to(device), tokens.lengths)
        return vectors.index_select(0, torch.tensor([places[text] for text in questions], device=device))

    def encode(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the vectors of tokens.

        Args:
            ids: int64 ``[Q, L]``, padded at the end.
            lengths: int64 ``[Q]`` on the CPU: how many of them are no padding.
        """
        raise NotImplementedError


class LstmEncoder(QuestionEncoder):
    """An LSTM over the words; its last states, of all layers, are the vector (Antol 2015, "deeper LSTM Q").

    It computes in float32 under any precision: recurrent networks lose most by rounding, and cost little here.

    Args:
        vocabulary: As the base.
        options: Widths, layers, dropout.
    """

    def __init__(self, vocabulary: Vocabulary, options: HeadOptions) -> None:
        """See the class."""
        super().__init__(vocabulary, max_tokens=options.max_tokens)
        self.words = nn.Embedding(len(vocabulary), options.embedding)
        if vocabulary.unknown is not None:
            # in a vocabulary of all words nothing teaches the unknown one, and noise would be worse than nothing
            nn.init.zeros_(self.words.weight[vocabulary.unknown])
        self.dropout = nn.Dropout(options.dropout)
        self.lstm = nn.LSTM(options.embedding, options.width, options.layers, batch_first=True)
        self.width = 2 * options.layers * options.width

    def encode(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the last hidden and cell states, float32 ``[Q, width]``; see the base."""
        with torch.autocast(ids.device.type, enabled=False):
            words = self.dropout(torch.tanh(self.words(ids)))
            packed = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
            _, states = self.lstm(packed)
        return torch.cat(states).transpose(0, 1).flatten(1)


class TransformerEncoder(QuestionEncoder):
    """A transformer over the tokens; the mean of what it says about each is the vector.

    Args:
        vocabulary: As the base.
        network: One of the transformers library that gives ``last_hidden_state``.
        max_tokens: Of a question that are read.
        is_trained: Whether it learns; it stays as it is, without dropout, otherwise.
    """

    def __init__(self, vocabulary: Vocabulary, network: Any, *, max_tokens: int, is_trained: bool = True) -> None:
        """See the class."""
        super().__init__(vocabulary, max_tokens=max_tokens)
        self.network = network
        self.is_trained = is_trained
        self.width = int(network.config.hidden_size)
        if not is_trained:
            network.requires_grad_(requires_grad=False)
            network.eval()

    def train(self, mode: bool = True) -> "TransformerEncoder":
        """Set the mode, but leave a network that doesn't learn in evaluation."""
        super().train(mode)
        if not self.is_trained:
            self.network.eval()
        return self

    def encode(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the mean over a question's tokens, float ``[Q, width]``; see the base."""
        is_token = torch.arange(ids.shape[1]) < lengths[:, None]
        mask = is_token.to(ids.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.is_trained):
            states: Tensor = self.network(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        weights = mask[..., None].to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1)


def small_config(vocabulary: Vocabulary, options: HeadOptions) -> dict[str, Any]:
    """Return the configuration of the small transformer that starts from random weights: BERT's (Devlin 2019)."""
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.attention_heads,
        intermediate_size=4 * options.width,
        hidden_dropout_prob=options.dropout,
        attention_probs_dropout_prob=options.dropout,
        max_position_embeddings=options.max_tokens + 2,
        pad_token_id=vocabulary.pad,
    )
    return plain_config(config)


def read_language_model(options: HeadOptions) -> tuple[Vocabulary, Any]:
    """Return the tokens and the network of the language model that the options name.

    Raises:
        UserError: If it can't be had, reads fewer tokens than are asked for, or isn't one network.
    """
    name = options.language_model
    assert name is not None
    folder = find_language_model(name, works_offline=_WORKS_OFFLINE)
    config = read_config(folder, name)
    if config.is_encoder_decoder or not hasattr(config, "hidden_size"):
        raise UserError(
            f"--head-options.language-model {name} is of the architecture '{config.model_type}', which isn't one "
            "network from a text to a vector a token. Take one that is, such as BERT or DistilBERT."
        )
    check_length(config, name, options.max_tokens, "questions")
    vocabulary = read_vocabulary(folder, name)
    check_sizes(config, vocabulary, name)
    # what BERT says of the whole text is left out of many files, and isn't read
    return vocabulary, read_network(AutoModel, folder, name, may_lack=("pooler.",))


def build_encoder(
    vocabulary: Vocabulary, options: HeadOptions, config: dict[str, Any] | None, *, network: Any = None
) -> QuestionEncoder:
    """Return the encoder that the options describe.

    Args:
        vocabulary: Of the questions.
        options: The head's.
        config: Of the transformer, as plain values; nothing for an LSTM.
        network: The pretrained one, where there is such; a model file brings its weights later.
    """
    if config is None:
        return LstmEncoder(vocabulary, options)
    if network is None:
        with quiet():
            settings = AutoConfig.for_model(**config)
            network = AutoModel.from_config(settings, dtype=torch.float32)  # type: ignore[no-untyped-call]
    if getattr(network, "pooler", None) is not None:
        # it says something of the whole text, which isn't read, and several processes would wait for its gradient
        network.pooler = None
    is_trained = options.language_model is None or options.train_language_model
    return TransformerEncoder(vocabulary, network, max_tokens=options.max_tokens, is_trained=is_trained)
