"""The classification task: built for training, from a model file, or around the classifier of the weights."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ...backbones import Backbone
from ..inputs import InputRecipe
from ..model_description import building
from ..model_file import read_description, read_model
from ..task import Task
from .head import ClassificationHead, HeadName, PretrainedClassifier, level_channels
from .losses import ClassLoss
from .metrics import ClassEvaluator, ClassificationEvaluator, rebuild_evaluator
from .options import HeadOptions


def build_task(
    backbone: Backbone,
    classes: Sequence[str],
    *,
    inputs: InputRecipe,
    head: HeadName = "linear",
    head_options: HeadOptions | None = None,
    criterion: ClassLoss | None = None,
    evaluator: ClassEvaluator | None = None,
) -> Task:
    """Return the task for a trunk and the data's classes.

    Args:
        backbone: A trunk that gives the head's level.
        classes: The class names; they fix the order of the logits.
        inputs: How images come onto the canvas.
        head: ``linear`` or ``mlp``.
        head_options: Level, dropout, width.
        criterion: The training loss; nothing for a task that is only used.
        evaluator: It also says how probabilities come from the logits; unset: by softmax, one class an image.

    Raises:
        UserError: If the trunk has no such level.
    """
    options = head_options or HeadOptions()
    measured = evaluator or ClassificationEvaluator(classes)
    module = ClassificationHead(
        level_channels(backbone, options.level),
        classes,
        name=head,
        options=options,
        readout=measured.readout,
        criterion=criterion,
    )
    description = {
        "task": "classification",
        **measured.description(),
        "head": {"name": head, "options": asdict(options)},
        "temperature": module.temperature,
        "inputs": inputs.to_dict(),
    }
    return Task(backbone, module, measured, description=description)


def rebuild_task(backbone: Backbone, description: dict[str, Any]) -> Task:
    """Return the task that a model file describes, its head still without the trained weights."""
    task = build_task(
        backbone,
        description["classes"],
        inputs=InputRecipe.from_dict(description["inputs"]),
        head=description["head"]["name"],
        head_options=HeadOptions(**description["head"]["options"]),
        evaluator=rebuild_evaluator(description),
    )
    assert isinstance(task.head, ClassificationHead)
    if description["positive"] not in (None, *description["classes"]):
        raise ValueError(f"positive is {description['positive']!r}, which is none of the classes")
    temperature = description["temperature"]
    if type(temperature) not in (int, float) or temperature <= 0:
        raise ValueError(f"temperature is {temperature!r} in place of a number above 0")
    task.head.temperature = task.description["temperature"] = temperature
    return task


def pretrained_task(backbone: Backbone, classes: Sequence[str], inputs: InputRecipe) -> Task:
    """Return the classifier that came with the weights as a task."""
    evaluator = ClassificationEvaluator(classes)
    description = {"task": "classification", **evaluator.description(), "inputs": inputs.to_dict()}
    return Task(backbone, PretrainedClassifier(classes), evaluator, description=description)


def _structure(description: dict[str, Any]) -> tuple[Any, ...]:
    """Return what decides a head's tensors and what they mean; dropout doesn't."""
    head = description["head"]
    return (
        description["readout"],
        head["name"],
        head["options"]["level"],
        head["options"]["hidden"] if head["name"] == "mlp" else None,
    )


def keep_matching_rows(task: Task, weights: str) -> str:
    """Copy the head's rows for classes of the same name from the model whose trunk the task starts from.

    Returns:
        A sentence that says which rows were kept, or why the head starts anew.

    Raises:
        UserError: If the model's description is damaged.
    """
    assert isinstance(task.head, ClassificationHead)
    app = read_description(weights)[1].get("task")
    if app != "classification":
        return f"the head starts anew: the model is of another app, {app}"
    folder, source = read_model(weights)
    with building(folder / "model.json"):
        structure, classes = _structure(source), list(source["classes"])
    if structure != _structure(task.description):
        return "the head starts anew: the model was trained with another head"
    shared = [name for name in task.head.classes if name in classes]
    if not shared:
        return f"the head starts anew: none of its {len(task.head.classes)} classes is in the model"
    with building(folder / "model.json"):
        _copy_rows(task.head, folder / "model.safetensors", shared, classes)
    new = len(task.head.classes) - len(shared)
    return f"the head keeps the rows of {len(shared)} classes by name; {new} start anew"


def _copy_rows(head: ClassificationHead, file: Path, shared: Sequence[str], classes: Sequence[str]) -> None:
    """Copy what a head has in common with that of a file.

    Args:
        head: Gets the values.
        file: Of the model.
        shared: The classes whose rows are copied.
        classes: Those of the model, in the order of its rows.
    """
    state = head.state_dict()
    with safe_open(file, framework="pt") as tensors, torch.no_grad():
        for name, target in state.items():
            stored = tensors.get_tensor(f"head.{name}")
            if not name.startswith("classifier."):
                target.copy_(stored)
                continue
            for kept in shared:
                target[head.classes.index(kept)] = stored[classes.index(kept)]
