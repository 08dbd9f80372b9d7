"""Putting heads that were trained alone on one trunk, and taking them out again."""

from dataclasses import replace
from functools import reduce
from pathlib import Path

from ...backbones.errors import UserError, unknown
from ...backbones.fingerprint import fingerprint
from ..outputs import output_folder
from ..processes import is_first
from ..run_folder import holds_others
from ..shell import quoted
from .model import build_model, trunk_of
from .options import AddOptions, JoinOptions, OutputOptions, TakeOutOptions
from .stored import DESCRIPTION, SPLIT, SPLITS, TENSORS, StoredModel, read_stored, write_head, write_stored
from .training import train_head


def run_join(options: JoinOptions) -> Path:
    """Write one model with the heads of several; return its folder.

    Raises:
        UserError: For models that can't share a trunk, or a folder that can't be used.
    """
    folder = _model_folder(options)
    models = [read_stored(path) for path in options.models]
    _write_joined(folder, reduce(StoredModel.joined, models), models)
    return folder


def run_add(options: AddOptions) -> Path:
    """Write a model with one more head, trained before or now; return its folder.

    Raises:
        UserError: For models that can't share a trunk, a training that can't start, or a folder that can't be used.
    """
    folder = _model_folder(options, *filter(None, [options.task]))
    model = read_stored(options.model)
    head = train_head(options, model) if options.head is None else Path(options.head)
    if is_first():
        other = read_stored(head)
        _write_joined(folder, model.joined(other), [model, other])
    return folder


def run_take_out(options: TakeOutOptions) -> Path:
    """Write one head and its trunk as a model of its app; return its folder.

    Raises:
        UserError: For a model without such a head, or a folder that can't be used.
    """
    folder = _model_folder(options)
    stored = read_stored(options.model)
    if options.task not in stored.heads:
        raise unknown(f"task of '{options.model}'", options.task, list(stored.heads))
    head = stored.heads[options.task]
    trunk = trunk_of(head.facts, stored.trunk, folder=stored.folder)
    saved, found = head.facts.description["backbone"]["fingerprint_after"], fingerprint(trunk)
    if saved != found:
        raise RuntimeError(f"the trunk of {options.task} changed: SHA-256 {saved} when it was trained, {found} now")
    write_head(folder, head, trunk)
    print(f"trunk: SHA-256 {found}, as when {options.task} was trained on it")
    print(f"the model is in {folder}; use it: onetrunk {options.task} predict --model {quoted(folder)} --images DIR")
    return folder


def _model_folder(options: OutputOptions, *others: str) -> Path:
    """Return the folder to write to, checked but not yet made.

    Args:
        options: The command's.
        others: What may lie there besides a model.

    Raises:
        UserError: If it can't be written to, holds a model and that isn't to be overwritten, or holds something else.
    """
    folder = output_folder(options.output, DESCRIPTION, TENSORS, overwrite=options.overwrite)
    assert folder is not None
    # a command that was killed leaves halves of files
    expected = {*others, *(f"{name}{half}" for name in (DESCRIPTION, TENSORS) for half in ("", ".part"))}
    if any(folder.glob(f"{DESCRIPTION}*")):  # beside anything else a split is somebody's own
        expected |= {SPLIT, f"{SPLIT}.part", SPLITS}
    if folder.exists() and holds_others(folder, expected):
        raise UserError(
            f"'{folder}' holds other things than a model, which stay as they are. Choose another folder: --output DIR."
        )
    return folder


def _write_joined(folder: Path, joined: StoredModel, parts: list[StoredModel]) -> None:
    """Write a model, and prove by what was written that every part of it is what it was.

    Raises:
        RuntimeError: If a tensor came out changed.
    """
    build_model(joined)  # before anything is written: every tensor that it needs is there
    write_stored(folder, joined)
    written = read_stored(folder)
    for part in parts:
        before, after = part.fingerprints(), written.fingerprints(part.trunk)
        kept = replace(after, heads={task: after.heads[task] for task in before.heads})
        if before != kept:
            raise RuntimeError(f"what was put together changed: SHA-256 {before} before, {kept} after")
        grown = len(written.trunk) - len(part.trunk)
        more = f"; {grown} tensors of deeper layers came with other heads" if grown else ""
        print(f"{part.name}: trunk SHA-256 {before.trunk} before and after{more}")
        for task, found in before.heads.items():
            print(f"  {task}: head SHA-256 {found} before and after")
    print(
        f"the model with heads of {', '.join(written.heads)} is in {folder}; use it: onetrunk multitask predict "
        f"--model {quoted(folder)} --images DIR --output out"
    )
