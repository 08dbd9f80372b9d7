"""The classification task: built for training, from a model file, or around the classifier of the weights."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from safetensors import safe_open

from ...backbones import Backbone
from ..inputs import InputRecipe
from ..model_file import read_description
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
    task.head.temperature = task.description["temperature"] = description["temperature"]
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
    """
    assert isinstance(task.head, ClassificationHead)
    folder, source = read_description(weights)
    if _structure(source) != _structure(task.description):
        return "the head starts anew: the model was trained with another head"
    shared = [name for name in task.head.classes if name in source["classes"]]
    if not shared:
        return f"the head starts anew: none of its {len(task.head.classes)} classes is in the model"
    state = task.head.state_dict()
    with safe_open(folder / "model.safetensors", framework="pt") as tensors, torch.no_grad():
        for name, target in state.items():
            stored = tensors.get_tensor(f"head.{name}")
            if not name.startswith("classifier."):
                target.copy_(stored)
                continue
            for kept in shared:
                target[task.head.classes.index(kept)] = stored[source["classes"].index(kept)]
    new = len(task.head.classes) - len(shared)
    return f"the head keeps the rows of {len(shared)} classes by name; {new} start anew"
