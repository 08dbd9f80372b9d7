"""Of a training of several tasks the options of each, as its own app's train command would have them."""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from ...backbones.errors import UserError, unknown
from ..app_training import AppTraining
from ..arguments import parse_options
from ..cli import Command
from ..config import TrainingOptions
from .options import TrainOptions

#: What all tasks share, for they share the trunk, the pictures and the loop.
_SHARED = (
    *("backbone", "weights", "freeze", "tune", "lora", "image_size", "resize", "channels"),
    *("epochs", "batch_size", "workers", "precision", "compile", "device", "devices", "num_nodes", "strategy"),
    *("seed", "val_fraction", "split_seed", "bad_data", "deterministic", "output"),
)
#: Groups of which a task may set some options.
_FREE_IN_GROUPS = {"optim": ("weight_decay",), "fit": ("clip_norm", "patience")}
#: What the whole command decides, or has no meaning for one of several tasks.
_REFUSED = (
    *("resume", "overwrite", "seeds", "folds", "fold", "sampling", "sweep", "calibrate", "by_subject"),
    *("cache", "cache_views", "cache_precision", "cache_dtype", "cache_folder"),
)


@dataclass(frozen=True)
class TaskPlan:
    """A task of a training of several.

    Attributes:
        training: What its app brings.
        options: Those of its app's train command.
    """

    training: AppTraining[Any]
    options: TrainingOptions


def plan_tasks(options: TrainOptions) -> dict[str, TaskPlan]:
    """Return the tasks of a training, by name, in the order of the options.

    Raises:
        UserError: For options of a task that it hasn't, or that all tasks share.
    """
    return {task: _plan(task, options) for task in options.tasks}


def _plan(task: str, options: TrainOptions) -> TaskPlan:
    training: AppTraining[Any] = import_module(f"..{task}.training", __package__).TRAINING
    command: Command = import_module(f"..{task}.main", __package__).COMMANDS["train"]
    own = _own_options(task, options.task_options.get(task, {}))
    plain = asdict(options)
    given = {name: plain[name] for name in _SHARED if plain[name] is not None}
    given |= {"data": options.data, "learning_rate": options.learning_rate, **own}
    for group in _FREE_IN_GROUPS:
        given[group] = {**_without_none(plain[group]), **own.get(group, {})}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "options.yaml"
        file.write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")
        try:
            parsed: TrainingOptions = parse_options(
                command.options, ["--config", str(file)], prog=f"onetrunk {task} train", description=command.help
            )
        except UserError as error:
            raise UserError(f"task_options of {task}: {error}") from error
    _refuse_mixing(task, parsed)
    return TaskPlan(training, parsed)


def _refuse_mixing(task: str, options: Any) -> None:
    for name in ("mixup", "cutmix"):
        if getattr(options.augment, name, 0):
            raise UserError(
                f"--task-options: {task} sets augment.{name}, which mixes whole pictures with their labels; heads of "
                "several tasks learn from pictures as they are. Leave it out."
            )


def _own_options(task: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a task sets, by the names of fields, after a check that it may.

    Raises:
        UserError: For what it may not set.
    """
    named = {str(name).replace("-", "_"): value for name, value in own.items()}
    if "config" in named:
        raise UserError(
            f"--task-options: {task} names another file by 'config', which isn't read. Write the options of that file "
            "here."
        )
    if "data" in named and not isinstance(named["data"], str):
        raise UserError(
            f"--task-options: data of {task} is the path of a data set, not {named['data']!r}. Leave it out where "
            "--data is for all tasks."
        )
    for name, value in named.items():
        if name in _SHARED:
            raise UserError(
                f"--task-options: {task} sets {name}, which all tasks share. Give it once for all: "
                f"--{name.replace('_', '-')}"
            )
        if name in _REFUSED:
            raise UserError(f"--task-options: {task} sets {name}, which is nothing for one of several tasks.")
        if name in _FREE_IN_GROUPS:
            free = _FREE_IN_GROUPS[name]
            if not isinstance(value, Mapping):
                raise UserError(
                    f"--task-options: {name} of {task} is names with values, of {' and '.join(free)}, not {value!r}."
                )
            for inner in value:
                if str(inner).replace("-", "_") not in free:
                    raise unknown(f"option of {task} in its own {name}", str(inner), free)
    return named


def _without_none(plain: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in plain.items() if value is not None}
