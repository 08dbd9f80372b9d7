"""Pretrained language models: where their files are, and their tokens as a vocabulary."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from huggingface_hub.errors import HFValidationError
from transformers.utils import logging as messages

from ..backbones.download import TRANSPORT_ERRORS, offline_variable
from ..backbones.errors import UserError
from .vocabulary import Vocabulary

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_TOKENIZERS = ("tokenizer.json", "vocab.json")
#: What is fetched: plain values and tensors, no pickle and no code.
_FILES = ["*.safetensors", *_WEIGHTS, *_TOKENIZERS, "config.json", "tokenizer_config.json", "merges.txt"]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' advice and progress bars off the screen, and leave its settings as they were."""
    level, has_bars = messages.get_verbosity(), messages.is_progress_bar_enabled()
    messages.set_verbosity_error()  # type: ignore[no-untyped-call]
    messages.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        messages.set_verbosity(level)
        if has_bars:
            messages.enable_progress_bar()  # type: ignore[no-untyped-call]


def find_language_model(name: str, *, works_offline: str) -> Path:
    """Return the folder with a language model's files, which are fetched where that is allowed.

    Args:
        name: A folder, or the name of a repository on the Hugging Face hub.
        works_offline: What a person can do instead, without a network: a full sentence.

    Raises:
        UserError: If it is neither here nor to be had.
    """
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
    except TRANSPORT_ERRORS as error:  # what isn't here counts as one
        reason = f"{variable}={os.environ[variable]} forbids downloading" if variable else _download_fault(error)
        raise UserError(
            f"The language model '{name}' is not on this machine and {reason}. On a machine with a network download "
            f"config.json, model.safetensors and tokenizer.json from https://huggingface.co/{name}, put them into a "
            f"folder and give it: --head-options.language-model FOLDER. {works_offline}"
        ) from error
    return Path(found)


def read_config(folder: Path, name: str) -> Any:
    """Return the configuration of the network in a language model's folder.

    Raises:
        UserError: If there is none, or it can't be read.
    """
    require_file(folder, name, ("config.json",), "its shape")
    try:
        return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers has one of its own for each thing that may be wrong
        raise damaged(name, "config.json", error) from error


def read_vocabulary(folder: Path, name: str) -> Vocabulary:
    """Return the tokens of the language model in a folder.

    Raises:
        UserError: If there is no tokenizer, it can't be read, or has no token for where a text ends.
    """
    require_file(folder, name, _TOKENIZERS, "its tokenizer")
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        backend, unknown = tokenizer.backend_tokenizer, tokenizer.unk_token_id
        # BERT's kind calls them so
        end = _first(tokenizer.eos_token_id, tokenizer.sep_token_id)
        start, pad = _first(tokenizer.bos_token_id, tokenizer.cls_token_id, end), _first(tokenizer.pad_token_id, end)
    except Exception as error:
        raise damaged(name, "the tokenizer", error) from error
    if end is None:
        raise UserError(
            f"--head-options.language-model {name}: its tokenizer has no token for the end of a text (eos_token or "
            "sep_token in tokenizer_config.json). Take another model."
        )
    return Vocabulary(
        backend,
        kind="language_model",
        start=start,
        end=end,
        pad=pad,
        unknown=unknown if unknown != end else None,
    )


def check_sizes(config: Any, vocabulary: Vocabulary, name: str) -> None:
    """Refuse a tokenizer with tokens that the network doesn't know.

    Raises:
        UserError: Saying how many there are of each.
    """
    if len(vocabulary) > config.vocab_size:
        raise UserError(
            f"--head-options.language-model {name}: its tokenizer has {len(vocabulary):,} tokens and the model only "
            f"{config.vocab_size:,}. Take the tokenizer that the model was trained with."
        )


def check_length(config: Any, name: str, max_tokens: int, what: str) -> None:
    """Refuse texts that are longer than the network reads.

    Raises:
        UserError: Saying how long they may be.
    """
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and max_tokens + 2 > most:
        raise UserError(
            f"--head-options.language-model {name} reads {most} tokens, and {what} of --head-options.max-tokens "
            f"{max_tokens} with start and end are longer. Use at most {most - 2}."
        )


def read_network(
    models: Any, folder: Path, name: str, *, may_lack: Sequence[str], config: Any = None, attention: str | None = None
) -> Any:
    """Return the network of a language model's folder with its weights, in float32.

    Args:
        models: The class of transformers that loads it, such as ``AutoModel``.
        folder: Where its files are.
        name: What the person called it.
        may_lack: Parts of the names of tensors that the file needn't have.
        config: In place of the folder's own.
        attention: Which implementation of attention, where not transformers' choice.

    Raises:
        UserError: If the weights aren't there, can't be read, or are others'.
    """
    require_file(folder, name, _WEIGHTS, "its weights; pickled ones (pytorch_model.bin) are not read")
    try:
        with quiet():
            network, report = models.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                config=config,
                attn_implementation=attention,
            )
    except Exception as error:  # transformers has one of its own for each thing that may be wrong
        raise damaged(name, "model.safetensors", error) from error
    lacking = [key for key in sorted(report["missing_keys"]) if not any(part in key for part in may_lack)]
    if lacking:
        raise damaged(name, "model.safetensors", f"it lacks {len(lacking)} tensors, such as {lacking[0]}")
    return network


def require_file(folder: Path, name: str, files: tuple[str, ...], purpose: str) -> None:
    """Refuse a folder that has none of some files.

    Raises:
        UserError: Saying what they are for.
    """
    if not any((folder / file).is_file() for file in files):
        raise UserError(
            f"--head-options.language-model {name}: the folder has no {' or '.join(files)}, for {purpose}. It needs "
            "config.json, model.safetensors and tokenizer.json."
        )


def damaged(name: str, what: str, fault: object) -> UserError:
    """Return the error for a file of a language model that can't be read."""
    lines = str(fault).strip().splitlines() or [type(fault).__name__]
    return UserError(f"--head-options.language-model {name}: {what} can't be read: {lines[0]}")


def plain_config(config: Any) -> dict[str, Any]:
    """Return a network's configuration as plain values, without where it was read."""
    aside = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
    return {key: value for key, value in config.to_dict().items() if key not in aside}


def _first(*numbers: int | None) -> Any:
    return next((number for number in numbers if number is not None), None)


def _download_fault(error: BaseException) -> str:
    return f"downloading failed ({str(error.__cause__ or error).strip().splitlines()[0]})"
