"""The self-describing model: ``model.safetensors`` for the tensors and ``model.json`` for all that rebuilds them."""

import json
import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from ..backbones import Backbone, Preprocessing, build_backbone
from ..backbones.errors import UserError, unknown
from .card import Card
from .model_description import building, check_description, damaged
from .run_folder import make_folder, replace_json, replacing, versions
from .shell import quoted
from .task import Task
from .task_names import MULTITASK, TASKS

FORMAT = 1


def save_model(folder: Path, task: Task, card: Card, *, split: Path | None = None) -> None:
    """Write a task so that :func:`load_model` gives it back from the folder alone.

    Args:
        folder: Where ``model.safetensors`` and ``model.json`` go.
        task: The trained task.
        card: Its results, for the metrics, the data and the fingerprints.
        split: The file of a split that was cut for this run; it goes with the model.
    """
    make_folder(folder)
    tied = tied_names(task)
    state = {name: tensor for name, tensor in task.state_dict().items() if name not in tied}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with replacing(folder / "model.safetensors", "wb") as stream:
        stream.write(save(tensors))
    replace_json(folder / "model.json", describe_model(task, card, recipe=dict(task.backbone.recipe)))
    if split is not None and split.is_file():
        shutil.copyfile(split, folder / "split.csv")


def describe_model(task: Task, card: Card, *, recipe: dict[str, Any]) -> dict[str, Any]:
    """Return what a model file says of a trained task.

    Args:
        task: The task.
        card: Its results, for the metrics, the data and the fingerprints.
        recipe: What builds its trunk.
    """
    tied = tied_names(task)
    # a trunk that was trained on a canvas is best used on the same
    preprocessing = replace(task.backbone.preprocessing, image_size=tuple(task.description["inputs"]["canvas"]))
    return {
        "format": FORMAT,
        **task.description,
        "backbone": {**card.backbone, "recipe": recipe, "preprocessing": preprocessing.to_dict()},
        "data": card.data,
        "metrics": card.metrics,
        "versions": versions(),
        **({"tied": tied} if tied else {}),
    }


def tied_names(task: Task) -> dict[str, str]:
    """Return the names under which a tensor stands once more, each with its first: language models have such.

    The model file holds each tensor once.
    """
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for name, tensor in task.state_dict(keep_vars=True).items():
        known = first.setdefault(id(tensor), name)
        if known != name:
            found[name] = known
    return found


def _find_model(path: Path) -> Path | None:
    """Return the model folder for a run folder, a model folder, or the model.safetensors in one."""
    places = (path.parent,) if path.name == "model.safetensors" else (path, path / "model")
    return next((place for place in places if (place / "model.json").is_file()), None)


def holds_model(path: str | Path) -> bool:
    """Whether a path is a run folder or a model folder with the model of an app in it."""
    return _find_model(Path(path)) is not None and read_description(path)[1].get("task") != MULTITASK


def read_description(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """Return the model folder and its description, for a run folder or a model folder.

    Raises:
        UserError: If there is no model, or one that this version can't read.
    """
    given = Path(path)
    folder = _find_model(given)
    if folder is None:
        hint = " The run in it isn't finished: train it with --resume." if (given / "config.yaml").is_file() else ""
        if one := next((each for each in sorted(given.glob("*-*")) if _find_model(each)), None):
            hint = f" It is a folder of several runs: name one of them, such as {one}."
        raise UserError(f"No model in '{path}': neither model.json nor model/model.json is there.{hint}")
    file = folder / "model.json"
    try:
        description: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(file, f"it can't be read as JSON ({error})") from error
    if not isinstance(description, dict) or type(description.get("format")) is not int:
        raise damaged(file, "it isn't an object with the number of a 'format'")
    if (found := description["format"]) != FORMAT:
        raise UserError(f"'{folder}' holds a model of format {found}; this version of onetrunk reads {FORMAT}.")
    return folder, description


def read_model(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """Return what :func:`read_description` does, after a check that it says all of a model that it has to.

    Raises:
        UserError: If there is no model, or its description is damaged.
    """
    folder, description = read_description(path)
    check_description(folder / "model.json", description, several=MULTITASK)
    for task in description["tasks"] if description["task"] == MULTITASK else [description["task"]]:
        if task not in TASKS:
            raise unknown(f"task in {folder / 'model.json'}:", task, TASKS)
    return folder, description


def load_model(path: str | Path, *, task: str | None = None) -> Task:
    """Rebuild a trained task from its run folder or model folder, in eval mode; nothing else is needed.

    Args:
        path: A run folder, or the folder with ``model.json``.
        task: The app that the model has to be of; nothing for any.

    Raises:
        UserError: If there is no model there, or its files are damaged.
    """
    folder, description = read_model(path)
    if description["task"] == MULTITASK:
        raise _several_heads_error(path, list(description["tasks"]), task)
    if task is not None and description["task"] != task:
        raise UserError(
            f"'{path}' holds a model of the app {description['task']}, not of {task}. Use it with onetrunk "
            f"{description['task']} evaluate or predict."
        )
    if (folder / "split.csv").is_file() and not isinstance(description["data"].get("fingerprint"), str):
        raise damaged(folder / "model.json", "'data.fingerprint' is missing, by which the data of its split are known")
    return rebuild_model(description, read_tensors(folder), folder=folder)


def _several_heads_error(path: str | Path, tasks: list[str], task: str | None) -> UserError:
    wanted = task if task in tasks else "TASK"
    return UserError(
        f"'{path}' holds heads of several apps: {', '.join(tasks)}. Use them together: onetrunk multitask predict. Or "
        f"take one out: onetrunk multitask take-out --model {quoted(path)} --task {wanted} --output DIR"
    )


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of a model folder by their names in the file, on the CPU.

    Raises:
        UserError: If the file isn't there or is damaged.
    """
    path = folder / "model.safetensors"
    try:
        return load_file(path)
    except Exception as error:  # safetensors and the file system each have their own
        raise _unloadable_error(path, error) from error


def rebuild_model(description: dict[str, Any], tensors: dict[str, Tensor], *, folder: Path) -> Task:
    """Return the task of a model file, in eval mode.

    Args:
        description: What ``model.json`` says.
        tensors: What ``model.safetensors`` holds; those that are tied to another may be left out.
        folder: Where both are from.

    Raises:
        UserError: If the tensors aren't those of the task.
    """
    rebuilt = rebuild_task(rebuild_trunk(description["backbone"], folder=folder), description)
    try:
        tied = {name: tensors[source] for name, source in description.get("tied", {}).items()}
        rebuilt.load_state_dict(tensors | tied)
    except Exception as error:  # torch has several
        raise _unloadable_error(folder / "model.safetensors", error) from error
    rebuilt.eval()
    return rebuilt


def rebuild_trunk(description: dict[str, Any], *, folder: Path) -> Backbone:
    """Return the trunk that a model file describes, still without its weights.

    Args:
        description: What ``model.json`` says of the ``backbone``.
        folder: Where that is from.

    Raises:
        UserError: If there can't be such a trunk.
    """
    with building(folder / "model.json"):
        backbone = build_backbone(**description["recipe"], weights="none")
        backbone.preprocessing = Preprocessing.from_dict(description["preprocessing"])
    backbone.weights = str(folder)
    return backbone


def rebuild_task(backbone: Backbone, description: dict[str, Any]) -> Task:
    """Return the task that a model file describes on a trunk, its head still without the trained weights.

    Args:
        backbone: As :func:`rebuild_trunk` gives it.
        description: What ``model.json`` says.

    Raises:
        UserError: If there can't be such a head.
    """
    with building(Path(backbone.weights) / "model.json"):
        rebuilt: Task = import_module(f".{description['task']}.task", __package__).rebuild_task(backbone, description)
    return rebuilt


def _unloadable_error(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"'{path}' can't be loaded: {reason} Restore the folder as it was saved.")


def load_trained(path: str | Path, *, task: str) -> tuple[Task, dict[str, Any]]:
    """Return a trained task of an app as :func:`load_model` does, and the card's facts about its trunk."""
    loaded = load_model(path, task=task)
    trunk = read_description(path)[1]["backbone"]
    facts = {
        "name": trunk["name"],
        "weights": trunk["weights"],
        "fingerprint_before": trunk["fingerprint_after"],
        "fingerprint_after": loaded.backbone.fingerprint(),
    }
    return loaded, facts
