"""The classification task: built for training, from a model file, or around the classifier of the weights."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from ...backbones import Backbone
from ..inputs import InputRecipe
from ..model_file import read_description
from ..task import Task
from .head import ClassificationHead, HeadName, PretrainedClassifier, level_channels
from .metrics import ClassificationEvaluator
from .options import HeadOptions


def build_task(
    backbone: Backbone,
    classes: Sequence[str],
    *,
    inputs: InputRecipe,
    head: HeadName = "linear",
    head_options: HeadOptions | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Task:
    """Return the task for a trunk and the data's classes.

    Args:
        backbone: A trunk that gives the head's level.
        classes: The class names; they fix the order of the logits.
        inputs: How images come onto the canvas.
        head: ``linear`` or ``mlp``.
        head_options: Level, dropout, width.
        label_smoothing: Of the training loss.
        class_weights: ``[C]`` weights of the training loss.
    """
    options = head_options or HeadOptions()
    module = ClassificationHead(
        level_channels(backbone, options.level),
        classes,
        name=head,
        options=options,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
    )
    description = {
        "task": "classification",
        "head": {"name": head, "options": asdict(options)},
        "classes": list(classes),
        "inputs": inputs.to_dict(),
    }
    return Task(backbone, module, ClassificationEvaluator(classes), description=description)


def rebuild_task(backbone: Backbone, description: dict[str, Any]) -> Task:
    """Return the task that a model file describes, its head still without the trained weights."""
    return build_task(
        backbone,
        description["classes"],
        inputs=InputRecipe.from_dict(description["inputs"]),
        head=description["head"]["name"],
        head_options=HeadOptions(**description["head"]["options"]),
    )


def pretrained_task(backbone: Backbone, classes: Sequence[str], inputs: InputRecipe) -> Task:
    """Return the classifier that came with the weights as a task."""
    description = {"task": "classification", "classes": list(classes), "inputs": inputs.to_dict()}
    return Task(backbone, PretrainedClassifier(classes), ClassificationEvaluator(classes), description=description)


def _structure(head: dict[str, Any]) -> tuple[Any, ...]:
    """Return what decides a head's tensors; dropout doesn't."""
    return head["name"], head["options"]["level"], head["options"]["hidden"] if head["name"] == "mlp" else None


def keep_matching_rows(task: Task, weights: str) -> str:
    """Copy the head's rows for classes of the same name from the model whose trunk the task starts from.

    Returns:
        A sentence that says which rows were kept, or why the head starts anew.
    """
    assert isinstance(task.head, ClassificationHead)
    folder, source = read_description(weights)
    if _structure(source["head"]) != _structure(task.description["head"]):
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
