"""What ``--weights`` may say, and reading what it names."""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from .download import fetch, offline_error, offline_variable
from .errors import UserError, did_you_mean
from .preprocessing import Preprocessing
from .weight_sets import WeightSet, available_weights, checkpoint_path, find_set, hash_in_name

MODEL_FILES = ("model.json", "model.safetensors")
TRUNK_PREFIX = "backbone.network."
WRAPPERS = ("state_dict", "model", "model_state_dict")
SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")


@dataclass(frozen=True)
class WeightSource:
    """Where the values of a trunk come from.

    Attributes:
        text: What the person asked for.
        published: The published set, if it is one.
        path: The file, if it is one.
        preprocessing: What the weights expect of pictures, if they say so.
        state: The trunk's tensors, where the file holds more than a trunk and was read already.
    """

    text: str
    published: WeightSet | None = None
    path: Path | None = None
    preprocessing: Preprocessing | None = None
    state: Mapping[str, Tensor] | None = None

    @property
    def is_none(self) -> bool:
        """Whether the trunk keeps its random values."""
        return self.published is None and self.path is None

    def fetch(self, *, progress: bool) -> Path:
        """Return the file, downloading it if it is published and not on this machine.

        Raises:
            UserError: It can't be downloaded or is damaged.
        """
        if self.path is not None:
            return self.path
        assert self.published is not None
        return fetch(self.published, progress=progress)


def resolve_weights(name: str, weights: str) -> WeightSource:
    """Find out what ``weights`` means for backbone ``name`` and whether it can be had, without downloading it.

    In this order it is: ``none``; an address whose file name ends in the start of its SHA-256 (torch hub's convention:
    ``resnet18-f37072fd.pth``); ``imagenet`` or a set of this backbone; ``timm/<network>.<tag>``; a file; a run or model
    folder of onetrunk.

    Raises:
        UserError: It is none of these, or it isn't on this machine and the network is forbidden.
    """
    if weights == "none":
        return WeightSource(weights)
    is_address = weights.startswith(("http://", "https://"))
    published = _address_set(weights) if is_address else find_set(name, weights)
    if published is None:
        return _local_source(name, weights)
    source = resolve_set(weights, published)
    return replace(source, preprocessing=None) if is_address else source


def resolve_set(text: str, published: WeightSet) -> WeightSource:
    """Return the source of a published set, without downloading it.

    Args:
        text: What the person asked for.
        published: The set.

    Raises:
        UserError: It isn't on this machine and the network is forbidden.
    """
    variable = offline_variable()
    if variable is not None and not published.is_local:
        raise offline_error(published, f"{variable} forbids downloading")
    return WeightSource(text, published=published, preprocessing=published.preprocessing)


def _address_set(url: str) -> WeightSet:
    file_name = Path(urlparse(url).path).name
    digest = hash_in_name(file_name)
    if not digest:
        raise UserError(
            f"The file name of {url} doesn't end in its hash, as in resnet18-f37072fd.pth, so the download couldn't be"
            " checked. Download it yourself and give it as --weights FILE."
        )
    path = checkpoint_path(file_name)
    return WeightSet(
        name=url,
        url=url,
        sha256_prefix=digest,
        file_name=file_name,
        top1=None,
        top5=None,
        preprocessing=Preprocessing(),
        locate=lambda: path if path.is_file() else None,
    )


def _local_source(name: str, weights: str) -> WeightSource:
    path = Path(weights).expanduser()
    if path.is_dir():
        return _folder_source(name, weights, path)
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise UserError(f"{path} is no file of weights: expected one of {', '.join(SUFFIXES)}.")
        if path.name == MODEL_FILES[1] and (path.parent / MODEL_FILES[0]).is_file():
            return _folder_source(name, weights, path.parent)
        return WeightSource(weights, path=path)
    known = ["imagenet", *(each.name for each in available_weights(name) if each.name != "imagenet"), "none"]
    raise UserError(
        f"Unknown weights '{weights}' for {name}: no such file or folder. Known: {', '.join(known)},"
        f" timm/<network>.<tag>, a file, a run folder, an address.{did_you_mean(weights, known)}"
    )


def _folder_source(name: str, weights: str, folder: Path) -> WeightSource:
    found = next((each for each in (folder, folder / "model") if (each / MODEL_FILES[0]).is_file()), None)
    if found is None:
        raise UserError(f"{folder} holds no model: expected {MODEL_FILES[0]} and {MODEL_FILES[1]} in it or in model/.")
    document = read_model_document(found / MODEL_FILES[0])
    held = document["backbone"]["name"]
    if held != name:
        raise UserError(f"{found} holds a trunk of {held}, not of {name}: ask for --backbone {held}.")
    path = found / MODEL_FILES[1]
    if not path.is_file():
        raise UserError(f"{found} holds {MODEL_FILES[0]} but no {MODEL_FILES[1]}.")
    fields = document["backbone"].get("preprocessing", document.get("preprocessing"))
    try:
        preprocessing = Preprocessing.from_dict(fields) if fields else None
    except (TypeError, ValueError, AttributeError) as error:
        raise _no_model_error(found / MODEL_FILES[0], f"its preprocessing can't be used: {error}") from error
    return WeightSource(weights, path=path, preprocessing=preprocessing)


def read_model_document(path: Path) -> dict[str, Any]:
    """Return the JSON of a model folder.

    Raises:
        UserError: It is damaged or says nothing of a backbone.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        is_described = isinstance(document["backbone"], dict) and isinstance(document["backbone"]["name"], str)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _no_model_error(path, repr(error)) from error
    if not isinstance(document, dict) or not is_described:
        raise _no_model_error(path, "its backbone has no name")
    return document


def _no_model_error(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} doesn't describe a model of onetrunk ({reason}). Restore it as it was saved, or give other --weights."
    )


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weight file by the network's own names.

    Wrappers (``state_dict``, ``model``, ``model_state_dict``) and prefixes (``module.``, ``_orig_mod.``, and
    ``backbone.network.`` of our own models, whose heads are left out) are taken off. Pickles are read with
    ``weights_only=True``: no code in them runs.

    Raises:
        UserError: The file is damaged, or holds something else than tensors by name.
    """
    content = _read(path)
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path} holds no tensors by name, so it is no file of weights.")
    state = {_bare(str(name)): value for name, value in content.items()}
    if any(name.startswith(TRUNK_PREFIX) for name in state):
        state = {
            name.removeprefix(TRUNK_PREFIX): value for name, value in state.items() if name.startswith(TRUNK_PREFIX)
        }
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if odd:
        raise UserError(
            f"{path} holds entries that are no tensors ({', '.join(odd[:3])}), so it is no file of weights."
        )
    return state


def _bare(name: str) -> str:
    return name.replace("_orig_mod.", "").removeprefix("module.")


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is damaged, or a pickle that holds more than tensors; onetrunk runs no code from weight files."
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} can't be read as weights: {error}") from error
