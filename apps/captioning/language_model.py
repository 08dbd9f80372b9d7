"""Pretrained language models as decoders: found, checked and loaded."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import nn

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

__all__ = ["ARCHITECTURES", "LanguageModel", "build_decoder", "open_language_model", "plain_config"]

_MODELS: Any = transformers.AutoModelForCausalLM
#: Architectures of transformers that were tried: causal, with layers of cross-attention on request.
ARCHITECTURES = ("gpt2",)
#: Layers that a language model doesn't have, and that learn to look at the picture.
_NEW_LAYERS = ("crossattention", "ln_cross_attn")
_OFFLINE_HINT = (
    "What works offline: a folder in place of the name, and --head transformer without --head-options.language-model, "
    "or another head, which learn from the captions alone."
)


class LanguageModel(NamedTuple):
    """A pretrained decoder and its tokens."""

    decoder: nn.Module
    vocabulary: Vocabulary


def open_language_model(name: str, *, max_tokens: int) -> LanguageModel:
    """Return a pretrained language model with new layers that look at the picture, and its vocabulary.

    Args:
        name: A folder, or the name of a repository on the Hugging Face hub.
        max_tokens: The longest caption.

    Raises:
        UserError: If it isn't there, can't be fetched, lacks files, or isn't of a shape that can look at pictures.
    """
    folder = find_language_model(name, works_offline=_OFFLINE_HINT)
    config = _read_decoder_config(folder, name, max_tokens)
    vocabulary = read_vocabulary(folder, name)
    check_sizes(config, vocabulary, name)
    return LanguageModel(_read_decoder(folder, name, config), vocabulary)


def build_decoder(config: dict[str, Any]) -> nn.Module:
    """Return a decoder of transformers with random weights, from what :func:`plain_config` gave."""
    settings = transformers.AutoConfig.for_model(**config)
    with quiet():
        decoder: nn.Module = _MODELS.from_config(settings, attn_implementation="eager", dtype=torch.float32)
    return decoder


def _read_decoder_config(folder: Path, name: str, max_tokens: int) -> Any:
    """Return the configuration with layers of cross-attention asked for."""
    config = read_config(folder, name)
    if config.model_type not in ARCHITECTURES:
        raise UserError(
            f"--head-options.language-model {name} is of the architecture '{config.model_type}', which has no layers "
            f"that look at a picture (cross-attention). Take one of {', '.join(ARCHITECTURES)}, such as distilgpt2."
        )
    if config.hidden_size % 4:
        raise UserError(
            f"--head-options.language-model {name} has tokens of {config.hidden_size} channels; a multiple of 4 is "
            "needed. Take another model."
        )
    check_length(config, name, max_tokens, "captions")
    config.add_cross_attention = True
    return config


def _read_decoder(folder: Path, name: str, config: Any) -> nn.Module:
    decoder = read_network(_MODELS, folder, name, may_lack=_NEW_LAYERS, config=config, attention="eager")
    # what it recommends for stories, such as sampling, isn't meant for captions
    decoder.generation_config = transformers.GenerationConfig()  # type: ignore[no-untyped-call]
    assert isinstance(decoder, nn.Module)
    return decoder
