"""Saying a caption: one way for every decoder, on the generation of transformers."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from ..grid import Cells
from ..language_models import quiet
from ..vocabulary import Vocabulary
from .recurrent import RecurrentDecoder


@dataclass(frozen=True)
class Generation:
    """How captions are said.

    Attributes:
        beams: How many beginnings are kept; with 1 always the most probable token.
        length_penalty: The power of the number of tokens that a log probability is divided by.
        max_tokens: The longest caption.
        no_repeat: No run of so many tokens is said twice in a caption; 0: any may be.
    """

    beams: int = 3
    length_penalty: float = 1.0
    max_tokens: int = 40
    no_repeat: int = 0


def generate(decoder: Any, cells: Cells, vocabulary: Vocabulary, generation: Generation) -> list[Tensor]:
    """Return the tokens that a decoder says of each picture, at least one, without start, end and padding.

    What is said of a picture doesn't depend on the pictures beside it: each search ends by its own rule.

    Args:
        decoder: A ``GenerationMixin`` of transformers whose forward takes ``encoder_hidden_states`` and their mask.
        cells: Of B pictures.
        vocabulary: Of the decoder.
        generation: Beams, length.

    Returns:
        B int64 tensors on the CPU.
    """
    starts = torch.full((len(cells.values), 1), vocabulary.start, device=cells.values.device)
    remembering = decoder.remembering(generation.beams) if isinstance(decoder, RecurrentDecoder) else nullcontext()
    with quiet(), remembering:
        found = decoder.generate(
            starts,
            attention_mask=torch.ones_like(starts),
            encoder_hidden_states=cells.values,
            encoder_attention_mask=cells.is_picture,
            generation_config=_settings(decoder, vocabulary, generation),
        )
    return [torch.tensor(vocabulary.spoken(row), dtype=torch.int64) for row in found.tolist()]


def _settings(decoder: Any, vocabulary: Vocabulary, generation: Generation) -> GenerationConfig:
    """Return the settings in transformers' words, without what a pretrained decoder recommends, such as sampling."""
    # a language model's table of tokens is often rounded up; what lies behind the vocabulary stands for no text
    unsaid = [*vocabulary.unsaid, *range(len(vocabulary), int(decoder.config.vocab_size))]
    beams: dict[str, Any] = {"num_beams": generation.beams}
    if generation.beams > 1:
        beams |= {"length_penalty": generation.length_penalty, "early_stopping": False}
    return GenerationConfig(  # type: ignore[no-untyped-call]
        **beams,
        do_sample=False,
        use_cache=bool(decoder.config.use_cache),
        max_new_tokens=generation.max_tokens,
        no_repeat_ngram_size=generation.no_repeat or None,
        bos_token_id=vocabulary.start,
        eos_token_id=vocabulary.end,
        pad_token_id=vocabulary.pad,
        suppress_tokens=unsaid or None,
        begin_suppress_tokens=[vocabulary.end, *vocabulary.blank],
    )
