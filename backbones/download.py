"""Fetching weight files: progress, cache, hash check, and one clear answer where there is no network."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import huggingface_hub
import torch
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from .errors import UserError
from .weight_sets import HUB_FILES, WeightSet, checkpoint_path

OFFLINE_VARIABLES = ("ONETRUNK_OFFLINE", "HF_HUB_OFFLINE")
SHA256_LENGTH = 64
# The hub's client has changed its HTTP library twice; whichever it is, its errors are what this one is made of.
TRANSPORT_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)),
)


def offline_variable() -> str | None:
    """Return the environment variable that forbids the network, None if it is allowed."""
    refusals = ("", "0", "false", "no", "off")
    return next((name for name in OFFLINE_VARIABLES if os.environ.get(name, "").lower() not in refusals), None)


def offline_error(weights: WeightSet, reason: str) -> UserError:
    """Return the error that says where the file is published, where to put it and what works without a network."""
    digest = f" (SHA-256 begins with {weights.sha256_prefix})" if weights.sha256_prefix else ""
    place = "anywhere and give it as --weights FILE"
    if not weights.repository:
        place = f"as {checkpoint_path(weights.file_name)}, or anywhere and give it as --weights FILE"
    return UserError(
        f"The weights '{weights.name}' are not on this machine and {reason}."
        f" On a machine with a network download {weights.url}{digest} and put it {place}."
        " What works offline: --weights none, --weights FILE or a model trained here, and"
        " --backbone efficientnet_lite0, whose ImageNet weights come with pip."
    )


def fetch(weights: WeightSet, *, progress: bool) -> Path:
    """Return the path of a set's file, downloading it if it is not on this machine.

    Raises:
        UserError: It can't be downloaded, or it doesn't have the hash it should have.
    """
    path = weights.locate()
    if path is None:
        variable = offline_variable()
        if variable is not None:
            raise offline_error(weights, f"{variable}={os.environ[variable]} forbids downloading")
        path = _from_hub(weights, progress) if weights.repository else _from_url(weights, progress)
    check_hash(path, weights.sha256_prefix)
    return path


def check_hash(path: Path, sha256_prefix: str) -> None:
    """Compare a file with the start of its SHA-256; an empty start passes.

    Raises:
        UserError: It differs. The file stays where it is.
    """
    if not sha256_prefix:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(sha256_prefix):
        raise UserError(
            f"{path} is damaged or another file: its SHA-256 should begin with {sha256_prefix}, but is {digest}."
            " Delete it to download it again."
        )


def _from_url(weights: WeightSet, progress: bool) -> Path:
    path = checkpoint_path(weights.file_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(weights.url, str(path), weights.sha256_prefix or None, progress)
    except RuntimeError as error:
        raise UserError(f"{weights.url} delivers another file than it should: {error}. Nothing was kept.") from error
    except (OSError, HTTPException) as error:
        raise offline_error(weights, f"downloading failed ({error})") from error
    return path


def _from_hub(weights: WeightSet, progress: bool) -> Path:
    names = list(dict.fromkeys((weights.file_name, *HUB_FILES)))
    with _progress_bars(progress):
        for name in names:
            try:
                path = Path(huggingface_hub.hf_hub_download(weights.repository, name, endpoint=_endpoint()))
            except LocalEntryNotFoundError as error:
                raise offline_error(weights, f"downloading failed ({error.__cause__ or error})") from error
            except EntryNotFoundError:
                continue
            except TRANSPORT_ERRORS as error:
                raise offline_error(weights, f"downloading failed ({error})") from error
            _check_hub_hash(path)
            return path
    raise UserError(f"{weights.repository} on the Hugging Face hub has none of the files {', '.join(names)}.")


def _check_hub_hash(path: Path) -> None:
    """Compare a file of the hub's cache with its SHA-256, which is the name of the file that the cache links to."""
    name = path.resolve().name
    if len(name) == SHA256_LENGTH:
        check_hash(path.resolve(), name)


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None  # huggingface_hub itself reads it at import only


@contextmanager
def _progress_bars(is_wanted: bool) -> Iterator[None]:
    if is_wanted or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
