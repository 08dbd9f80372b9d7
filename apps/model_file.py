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
from .run_folder import make_folder, replace_json, replacing, versions
from .task import Task

FORMAT = 1
#: Apps whose ``task.py`` can rebuild a task from its description.
TASKS = ("captioning", "classification", "detection", "localization", "segmentation", "vqa")
#: What a model file with heads of several apps names as its task (``multitask/``).
MULTITASK = "multitask"


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
    # a trunk that was trained on a canvas is best used on the same
    preprocessing = replace(task.backbone.preprocessing, image_size=tuple(task.description["inputs"]["canvas"]))
    description = {
        "format": FORMAT,
        **task.description,
        "backbone": {
            **card.backbone,
            "recipe": dict(task.backbone.recipe),
            "preprocessing": preprocessing.to_dict(),
        },
        "data": card.data,
        "metrics": card.metrics,
        "versions": versions(),
        **({"tied": tied} if tied else {}),
    }
    replace_json(folder / "model.json", description)
    if split is not None and split.is_file():
        shutil.copyfile(split, folder / "split.csv")


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
    return _find_model(Path(path)) is not None and read_description(path)[1]["task"] != MULTITASK


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
    try:
        description: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        found = description["format"]
    except (ValueError, KeyError) as error:
        raise UserError(f"'{folder / 'model.json'}' is damaged: {error}.") from error
    if found != FORMAT:
        raise UserError(f"'{folder}' holds a model of format {found}; this version of onetrunk reads {FORMAT}.")
    return folder, description


def load_model(path: str | Path, *, task: str | None = None) -> Task:
    """Rebuild a trained task from its run folder or model folder, in eval mode; nothing else is needed.

    Args:
        path: A run folder, or the folder with ``model.json``.
        task: The app that the model has to be of; nothing for any.

    Raises:
        UserError: If there is no model there, or its files are damaged.
    """
    folder, description = read_description(path)
    if description["task"] == MULTITASK:
        raise _several_heads_error(path, list(description["tasks"]), task)
    if description["task"] not in TASKS:
        raise unknown(f"task in {folder / 'model.json'}:", description["task"], TASKS)
    if task is not None and description["task"] != task:
        raise UserError(
            f"'{path}' holds a model of the app {description['task']}, not of {task}. Use it with onetrunk "
            f"{description['task']} evaluate or predict."
        )
    return rebuild_model(description, read_tensors(folder), folder=folder)


def _several_heads_error(path: str | Path, tasks: list[str], task: str | None) -> UserError:
    wanted = task if task in tasks else "TASK"
    return UserError(
        f"'{path}' holds heads of several apps: {', '.join(tasks)}. Use them together: onetrunk multitask predict. Or "
        f"take one out: onetrunk multitask take-out --model {path} --task {wanted} --output DIR"
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
    """
    backbone = build_backbone(**description["recipe"], weights="none")
    backbone.preprocessing = Preprocessing.from_dict(description["preprocessing"])
    backbone.weights = str(folder)
    return backbone


def rebuild_task(backbone: Backbone, description: dict[str, Any]) -> Task:
    """Return the task that a model file describes on a trunk, its head still without the trained weights."""
    rebuilt: Task = import_module(f".{description['task']}.task", __package__).rebuild_task(backbone, description)
    return rebuilt


def _unloadable_error(path: Path, error: Exception) -> UserError:
    return UserError(f"'{path}' can't be loaded: {error}")


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
