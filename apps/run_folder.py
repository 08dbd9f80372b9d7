"""A run's folder: where each file lies, and when a run may start, go on or be replaced."""

import json
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import yaml

from ..backbones.errors import UserError
from .config import TrainingOptions, to_plain
from .processes import is_first
from .shell import quoted

#: Options that may differ between a run and its continuation, because they change no result.
_FREE_TO_CHANGE = {"resume", "overwrite", "output", "workers", "fit.save_every", "cache_folder", "alone"}
_PATHS = re.compile(r"data|weights|task_options\.\w+\.data")
#: Options whose ``auto`` is settled when a run begins; its config.yaml has what they stand for.
SETTLED = ("precision", "compile", "cache", "cache_precision")
#: What may lie in a folder before a run starts there: the split that it shall have, and what it was compared with.
_KEPT = {"split.csv", "gain"}
#: What tells a run's config.yaml from that of something else.
_FIRST_LINE = "# the complete options of a run of onetrunk; leave this line as it is"
_APP_LINE = "# trained by: onetrunk "
_PART = ".part"
_VERSIONED = ("onetrunk", "torch", "torchvision", "timm", "pytorch-lightning", "numpy", "pillow")


class RunFolder:
    """The files of one run under one folder."""

    def __init__(self, path: Path, app: str = "", parts: Collection[str] = ()) -> None:
        """Take the folder, which needn't exist yet, the app that trains there, and folders of its own in it."""
        self.path, self.app = path, app
        self.parts = [path / part for part in parts]
        self.config = path / "config.yaml"
        self.log = path / "log.csv"
        self.environment = path / "environment.txt"
        self.split = path / "split.csv"
        self.checkpoints = path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"
        self.fixed = self.checkpoints / "fixed.ckpt"
        self.model = path / "model"
        self.card = path / "results.json"
        self.images = path / "images.npz"
        self.tensorboard = path / "tensorboard"
        self.gain = path / "gain"
        self.features = path / "features"

    @property
    def holds_run(self) -> bool:
        """Whether a run was started here; a config.yaml of something else is none."""
        if not self.config.is_file():
            return False
        with self.config.open(encoding="utf-8", errors="replace") as stream:
            return stream.readline().strip() == _FIRST_LINE

    @property
    def is_finished(self) -> bool:
        """Whether the run got as far as its card."""
        return self.card.is_file()

    def delete_run(self) -> None:
        """Delete what a run writes, and nothing else that lies in the folder."""
        for folder in (self.checkpoints, self.model, self.tensorboard, self.features, *self.parts):
            shutil.rmtree(folder, ignore_errors=True)
        files = [
            self.log,
            self.environment,
            self.split,
            self.card,
            self.images,
            *self.path.glob("predictions.*"),
            self.config,  # last, so that a run half deleted is still known to be one
        ]
        for file in files:
            file.unlink(missing_ok=True)


def open_run(app: str, options: TrainingOptions, parts: Collection[str] = ()) -> RunFolder:
    """Return the folder for a run, checked but not yet touched: :func:`start_run` writes to it.

    Args:
        app: The app's name.
        options: Those of training.
        parts: Folders that the app writes besides those of every run.

    Raises:
        UserError: If the folder holds a run and neither ``resume`` nor ``overwrite`` was asked for, if a run is
            resumed with other options, or if the folder holds other files or can't be written to.
    """
    refuse_resume_and_overwrite(options)
    path = run_path(app, options)
    run = RunFolder(path, app, parts)
    if not is_first():  # the first process has checked it, and may have started the run by now
        return run
    if run.holds_run and options.resume:
        _refuse_other_options(run, options)
    elif run.holds_run and not options.overwrite:
        anew = f"Train on from its trunk: --weights {quoted(path)} --output DIR"
        going_on = anew if run.is_finished else "Go on: --resume"
        raise UserError(
            f"'{path}' already holds {'a finished' if run.is_finished else 'an unfinished'} run. {going_on}. "
            "Replace it: --overwrite. Or choose another folder: --output DIR."
        )
    elif path.exists() and not run.holds_run and holds_others(path, _KEPT if options.resume else {run.gain.name}):
        raise UserError(f"'{path}' isn't empty and holds no run. Choose another folder: --output DIR.")
    check_writable(path)
    return run


def run_path(app: str, options: TrainingOptions) -> Path:
    """Return the folder that the options name, or the one that the data and the app give."""
    return Path(options.output) if options.output else Path("runs") / app / Path(options.data).resolve().stem


def refuse_resume_and_overwrite(options: TrainingOptions) -> None:
    """Raise a ``UserError`` if both are asked for."""
    if options.resume and options.overwrite:
        raise UserError("--resume and --overwrite exclude each other: go on with the run, or replace it.")


def holds_others(path: Path, expected: Collection[str]) -> bool:
    """Whether a path that exists is no folder, or a folder that holds more than what may be there.

    A half-written config.yaml may: it is left by a run that was killed as it began.
    """
    allowed = {*expected, f"config.yaml{_PART}"}
    return not path.is_dir() or any(entry.name not in allowed for entry in path.iterdir())


def start_run(run: RunFolder, options: TrainingOptions) -> None:
    """Make the folder ready, once everything that can be checked was: a former run is deleted only now.

    Writes the complete options, and the versions of what computes.
    """
    if options.overwrite and run.holds_run:
        run.delete_run()
    make_folder(run.path)
    plain = {key: value for key, value in to_plain(options).items() if key not in ("resume", "overwrite")}
    with replacing(run.config) as stream:
        stream.write(f"{_FIRST_LINE}\n{_APP_LINE}{run.app}\n{yaml.safe_dump(plain, sort_keys=False)}")
    lines = [f"python {sys.version.split()[0]}", *(f"{name} {version}" for name, version in versions().items())]
    with replacing(run.environment) as stream:
        stream.write("\n".join(lines) + "\n")
    make_folder(run.checkpoints)


def check_writable(path: Path, *, chosen_by: str = "--output") -> None:
    """Raise the error of a folder that can't be made or written to, without making it.

    Args:
        path: The folder.
        chosen_by: The option that names another, for the message.
    """
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"The folder '{path}' can't be written to. Choose another one: {chosen_by} DIR.")


def make_folder(path: Path) -> Path:
    """Make a folder for output.

    Raises:
        UserError: If it can't be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder '{path}' can't be made: {error.strerror}. Choose another one: --output DIR."
        ) from None
    check_writable(path)
    return path


def read_config(run: RunFolder) -> dict[str, Any]:
    """Return the options that a run was started with, as plain values."""
    loaded: dict[str, Any] = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    return loaded


def read_app(run: RunFolder) -> str:
    """Return the app that trained a run; nothing for a run of a release that didn't write it down."""
    lines = run.config.read_text(encoding="utf-8").splitlines()[1:2]
    return lines[0].removeprefix(_APP_LINE) if lines and lines[0].startswith(_APP_LINE) else ""


def _refuse_other_options(run: RunFolder, options: TrainingOptions) -> None:
    if differences := changed_options(run, options):
        raise UserError(
            f"The run in '{run.path}' can't go on with other options: {'; '.join(differences)}. "
            "Use the run's own, or start another run: --output DIR."
        )


def changed_options(run: RunFolder, options: TrainingOptions, *, ignoring: Collection[str] = ()) -> list[str]:
    """Return the options that differ from those that a run was started with, as ``--seed was 0 and is now 5``.

    Args:
        run: Holds a run.
        options: Those of now.
        ignoring: The names of options that may differ, besides those that change no result.
    """
    given, stored = _flat(to_plain(options)), _flat(read_config(run))
    for values in (given, stored):  # the same place, however it is written
        paths = [key for key in values if _PATHS.fullmatch(key) and Path(str(values[key])).exists()]
        values.update({key: str(Path(values[key]).resolve()) for key in paths})
    return [
        f"--{key.replace('_', '-')} was {stored[key]} and is now {value}"
        for key, value in given.items()
        if key in stored
        and key not in _FREE_TO_CHANGE
        and key not in ignoring
        and value != stored[key]
        # what `auto` stood for was chosen once, when the run began
        and not (key in SETTLED and value == "auto")
    ]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    return {name: metadata.version(name) for name in _VERSIONED}


@contextmanager
def replacing(path: Path, mode: str = "w", *, go_on: str = "go on with --resume") -> Iterator[IO[Any]]:
    """Open a file that is written whole or not at all: a temporary file beside it, flushed to the disk, then renamed.

    Args:
        path: The file to write or replace.
        mode: ``"w"`` for text in UTF-8 with its line ends as given, ``"wb"`` or ``"w+b"`` for bytes. File names that
            aren't UTF-8 are written as the bytes that they are.
        go_on: What to do once there is room, for the message.

    Raises:
        UserError: If the disk is full or the folder can't be written to.
    """
    temporary = path.with_name(path.name + _PART)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "", "errors": "surrogateescape"}
    try:
        with temporary.open(mode, **text) as stream:  # type: ignore[call-overload]
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise unwritable_error(path, str(error.strerror or error), go_on) from error
    finally:
        temporary.unlink(missing_ok=True)


def unwritable_error(path: Path, reason: str, go_on: str = "go on with --resume") -> UserError:
    """Return the error of a file for which there is no room or permission."""
    return UserError(
        f"'{path}' can't be written: {reason}. What was there before is untouched; make room, then {go_on}."
    )


def replace_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all; what UTF-8 has no bytes for, as in file names of other encodings, is escaped."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        text = json.dumps(content, indent=1)
    with replacing(path) as stream:
        stream.write(text + "\n")
