"""Opening the splits that the heads of a model are evaluated on: those of one data set share a pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...backbones.errors import UserError, unknown
from ...datasets import DataError, JointEncoder, Kind, Record, join_records
from ...datasets.open import open_with_faults
from ...datasets.splits import find_split
from ...datasets.superset_files import reading_once
from ..app_training import AppTraining
from ..commands import OpenedSplit
from ..data_check import Identity, identify, read_ends
from ..model_file import read_description
from ..opening import Trained, noting_once
from ..task import Task
from ..task_names import MULTITASK
from .model import MultiTaskModel
from .options import EvaluateOptions
from .sources import first_spelling
from .stored import SPLIT, split_of


@dataclass(frozen=True)
class SharedSplit:
    """A split of a data set, which tasks are evaluated on.

    Attributes:
        path: Where the data set is, as it was given.
        opened: Of each task the split with what the task knows of it.
    """

    path: str
    opened: Mapping[str, OpenedSplit]

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """The pictures, once each, with what all tasks know of them."""
        by_task = {task: opened.judged for task, opened in self.opened.items()}
        return join_records(by_task, _common_order(list(by_task.values())))

    def encoder(self, tasks: Mapping[str, Task]) -> JointEncoder:
        """Return what makes targets of the records, in the order of the tasks' classes."""
        return JointEncoder({task: opened.encoder(tasks[task]) for task, opened in self.opened.items()})

    @cached_property
    def identities(self) -> dict[str, Identity]:
        """Of each task what tells its images from others."""
        excerpts = read_ends(self.records)
        return {task: identify(opened.images, excerpts) for task, opened in self.opened.items()}


def _common_order(orders: Sequence[Sequence[Record]]) -> list[Record]:
    """Return all pictures in an order that keeps that of every task, so that each task's rows come as if it was alone.

    Where tasks contradict one another there is none: the result is empty then.
    """
    pictures = {record.path: record for records in orders for record in records}
    sorter: TopologicalSorter[Path] = TopologicalSorter(dict.fromkeys(pictures, ()))
    for records in orders:
        for before, after in pairwise(records):
            sorter.add(after.path, before.path)
    try:
        return [pictures[path] for path in sorter.static_order()]
    except CycleError:
        return []


def open_shared_splits(model: MultiTaskModel, options: EvaluateOptions) -> list[SharedSplit]:
    """Open the splits that a model is evaluated on, one for each data set.

    A task that the data of all tasks aren't annotated for is left out with a line that says so, unless it is asked for
    by its name.

    Args:
        model: The model.
        options: Its path, the data, and the tasks.

    Raises:
        DataError: For data that can't be used, or in which nothing is annotated for any task.
        UserError: For a task that the model has no head of, or a head whose own data aren't there.
    """
    if strange := [task for task in options.tasks if task not in model.tasks]:
        raise unknown(f"task of '{model.folder}'", strange[0], list(model.tasks))
    trained = _trained(model)
    paths = {task: options.data or _own_data(task, trained[task]) for task in options.tasks or model.tasks}
    is_choice = bool(options.data) and not options.tasks
    found: dict[str, dict[str, OpenedSplit]] = {}
    lacking: dict[str, DataError] = {}
    with reading_once(), noting_once():
        for task, given in paths.items():
            path = first_spelling(given, found)
            try:
                opened = _open(model.tasks[task], trained[task], replace(options, data=path))
            except DataError as error:
                if not is_choice or _is_annotated(path, options.split, _kind(task)):
                    raise
                lacking[task] = error
            else:
                found.setdefault(path, {})[task] = opened
    if not found:
        raise next(iter(lacking.values()))
    for task in lacking:
        print(
            f"{task} is left out: no usable {_kind(task)} of '{options.split}' in {options.data}; --tasks {task} says "
            "what is missing"
        )
    return [SharedSplit(path, by_task) for path, by_task in found.items()]


def _trained(model: MultiTaskModel) -> dict[str, Trained]:
    """Return what each head says of the data that it was trained on."""
    is_one = read_description(model.folder)[1]["task"] != MULTITASK
    files = {task: model.folder / SPLIT if is_one else split_of(model.folder, task) for task in model.tasks}
    return {
        task: Trained(model.facts[task].description, file if file.is_file() else None) for task, file in files.items()
    }


def _own_data(task: str, trained: Trained) -> str:
    """Return where the data of a head's training are.

    Raises:
        UserError: If they aren't there.
    """
    path = trained.description["data"].get("path")
    if path is None:
        raise UserError(f"The model doesn't say what its head of {task} was trained on. Give a data set: --data DIR")
    if not Path(path).exists():
        raise UserError(
            f"'{path}', which the head of {task} was trained on, isn't there. Give a data set for all tasks, --data "
            "DIR, or only the tasks whose data are there: --tasks"
        )
    return str(path)


def _open(task: Task, trained: Trained, options: EvaluateOptions) -> OpenedSplit:
    """Open a task's split as its app's own evaluate command does."""
    app = import_module(f"..{task.description['task']}.evaluation", __package__)
    opened: OpenedSplit = app.open_evaluation(task, trained, options)
    return opened


def _kind(task: str) -> Kind:
    """Return what is annotated for a task."""
    training: AppTraining[Any] = import_module(f"..{task}.training", __package__).TRAINING
    return training.kind


def _is_annotated(path: str, split: str, kind: Kind) -> bool:
    """Whether data have annotations of a kind in a split, or might have if they had splits."""
    try:
        opened, _ = open_with_faults(path, kind=kind)
    except DataError:
        return False
    return find_split(split) in (None, *opened.found) or "" in opened.found
