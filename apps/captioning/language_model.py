"""Pretrained language models as decoders: found, checked and loaded."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import torch
import transformers
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from torch import nn

from ...backbones.download import TRANSPORT_ERRORS, offline_variable
from ...backbones.errors import UserError
from ..vocabulary import Vocabulary
from .generation import quiet

#: Architectures of transformers that were tried: causal, with layers of cross-attention on request.
ARCHITECTURES = ("gpt2", "gpt_bigcode")
#: Layers that a language model doesn't have, and that learn to look at the picture.
_NEW_LAYERS = ("crossattention", "ln_cross_attn")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_TOKENIZERS = ("tokenizer.json", "vocab.json")
_FILES = ["*.safetensors", *_WEIGHTS, *_TOKENIZERS, "config.json", "tokenizer_config.json", "merges.txt"]
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
    folder = _find(name)
    config = _read_config(folder, name, max_tokens)
    vocabulary = _read_vocabulary(folder, name)
    if len(vocabulary) > config.vocab_size:
        raise UserError(
            f"--head-options.language-model {name}: its tokenizer has {len(vocabulary):,} tokens and the model only "
            f"{config.vocab_size:,}. Take the tokenizer that the model was trained with."
        )
    return LanguageModel(_read_decoder(folder, name, config), vocabulary)


def build_decoder(config: dict[str, Any]) -> nn.Module:
    """Return a decoder of transformers with random weights, from what :func:`plain_config` gave."""
    settings = transformers.AutoConfig.for_model(**config)
    with quiet():
        decoder: nn.Module = transformers.AutoModelForCausalLM.from_config(
            settings, attn_implementation="eager", dtype=torch.float32
        )
    return decoder


def plain_config(config: Any) -> dict[str, Any]:
    """Return a decoder's configuration as plain values, without where it was read."""
    aside = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
    return {key: value for key, value in config.to_dict().items() if key not in aside}


def _find(name: str) -> Path:
    """Return the folder with the files, which are fetched where that is allowed."""
    if Path(name).is_dir():
        return Path(name)
    variable = offline_variable()
    try:
        found = huggingface_hub.snapshot_download(
            name,
            allow_patterns=_FILES,
            local_files_only=variable is not None,
            endpoint=os.environ.get("HF_ENDPOINT") or None,
        )
    except HFValidationError as error:
        raise UserError(
            f"--head-options.language-model {name}: there is no such folder, and it can't be a name on the Hugging "
            "Face hub either, such as distilgpt2. Give a folder with config.json, model.safetensors and tokenizer.json."
        ) from error
    except (LocalEntryNotFoundError, *TRANSPORT_ERRORS) as error:
        reason = f"{variable}={os.environ[variable]} forbids downloading" if variable else _download_fault(error)
        raise UserError(
            f"The language model '{name}' is not on this machine and {reason}. On a machine with a network download "
            f"config.json, model.safetensors and tokenizer.json from https://huggingface.co/{name}, put them into a "
            f"folder and give it: --head-options.language-model FOLDER. {_OFFLINE_HINT}"
        ) from error
    return Path(found)


def _download_fault(error: Exception) -> str:
    return f"downloading failed ({str(error.__cause__ or error).strip().splitlines()[0]})"


def _read_config(folder: Path, name: str, max_tokens: int) -> Any:
    """Return the configuration with layers of cross-attention asked for."""
    _require(folder, name, ("config.json",), "its shape")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers has one of its own for each thing that may be wrong
        raise _damaged(name, "config.json", error) from error
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
    if config.max_position_embeddings < max_tokens + 2:
        raise UserError(
            f"--head-options.language-model {name} reads {config.max_position_embeddings} tokens, and captions of "
            f"--head-options.max-tokens {max_tokens} with start and end are longer. Use at most "
            f"{config.max_position_embeddings - 2}."
        )
    config.add_cross_attention = True
    return config


def _read_vocabulary(folder: Path, name: str) -> Vocabulary:
    _require(folder, name, _TOKENIZERS, "its tokenizer")
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        backend = tokenizer.backend_tokenizer
    except Exception as error:
        raise _damaged(name, "the tokenizer", error) from error
    if end is None:
        raise UserError(
            f"--head-options.language-model {name}: its tokenizer has no token for the end of a text (eos_token in "
            "tokenizer_config.json), so that a caption would never end. Take another model."
        )
    return Vocabulary(
        backend,
        kind="language_model",
        start=end if start is None else start,
        end=end,
        pad=end if pad is None else pad,
        unknown=tokenizer.unk_token_id if tokenizer.unk_token_id != end else None,
    )


def _read_decoder(folder: Path, name: str, config: Any) -> nn.Module:
    _require(folder, name, _WEIGHTS, "its weights; pickled ones (pytorch_model.bin) are not read")
    try:
        with quiet():
            decoder, report = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="eager",
                output_loading_info=True,
            )
    except Exception as error:
        raise _damaged(name, "model.safetensors", error) from error
    lacking = [key for key in sorted(report["missing_keys"]) if not any(layer in key for layer in _NEW_LAYERS)]
    if lacking:
        raise _damaged(name, "model.safetensors", f"it lacks {len(lacking)} tensors, such as {lacking[0]}")
    # what it recommends for stories, such as sampling, isn't meant for captions
    decoder.generation_config = transformers.GenerationConfig()
    assert isinstance(decoder, nn.Module)
    return decoder


def _require(folder: Path, name: str, files: tuple[str, ...], purpose: str) -> None:
    if not any((folder / file).is_file() for file in files):
        raise UserError(
            f"--head-options.language-model {name}: the folder has no {' or '.join(files)}, for {purpose}. It needs "
            "config.json, model.safetensors and tokenizer.json."
        )


def _damaged(name: str, what: str, fault: object) -> UserError:
    return UserError(
        f"--head-options.language-model {name}: {what} can't be read: {str(fault).strip().splitlines()[0]}"
    )
