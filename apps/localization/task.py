"""The localization task: built for training, or from a model file."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ...backbones import Backbone
from ...backbones.errors import UserError, unknown
from ..classification.losses import ClassLoss
from ..config import TrainingOptions
from ..inputs import InputRecipe
from ..task import Task
from ..trunk import deepest_level
from .head import CamHead, LocalizationHead, RegressionHead
from .metrics import LocalizationEvaluator, rebuild_evaluator
from .options import HeadName, HeadOptions


def build_task(
    backbone: Backbone,
    evaluator: LocalizationEvaluator,
    *,
    inputs: InputRecipe,
    head: HeadName,
    head_options: HeadOptions,
    criterion: ClassLoss | None = None,
    loss_weights: Mapping[str, float] | None = None,
) -> Task:
    """Return the task for a trunk and the data's classes, which the evaluator knows.

    Args:
        backbone: A trunk that gives the head's level.
        evaluator: The task's.
        inputs: How images come onto the canvas.
        head: ``regression`` or ``cam``.
        head_options: Among them the level, which has to be set.
        criterion: The training loss of the label; nothing for a task that is only used.
        loss_weights: Of the loss parts.

    Raises:
        UserError: If the trunk has no such level, or the head can't read it.
    """
    module = _build_head(backbone, evaluator, head, head_options, criterion)
    description = {
        "task": "localization",
        **evaluator.description(),
        "head": {"name": head, "options": asdict(head_options)},
        "inputs": inputs.to_dict(),
    }
    return Task(backbone, module, evaluator, description=description, loss_weights=loss_weights)


def rebuild_task(backbone: Backbone, description: dict[str, Any]) -> Task:
    """Return the task that a model file describes, its head still without the trained weights."""
    return build_task(
        backbone,
        rebuild_evaluator(description),
        inputs=InputRecipe.from_dict(description["inputs"]),
        head=description["head"]["name"],
        head_options=HeadOptions(**description["head"]["options"]),
    )


def settle_level(options: HeadOptions, training: TrainingOptions) -> HeadOptions:
    """Return the head's options with a level: the one that was asked for, or the trunk's deepest map."""
    return options if options.level is not None else replace(options, level=deepest_level(training))


def _build_head(
    backbone: Backbone,
    evaluator: LocalizationEvaluator,
    name: HeadName,
    options: HeadOptions,
    criterion: ClassLoss | None,
) -> LocalizationHead:
    level = options.level
    assert level is not None
    if name == "cam" and level == "embedding":
        raise UserError(
            f"--head cam reads a map, and the embedding is a vector. Maps of {backbone.name}: "
            f"{', '.join(backbone.specs) or 'none; take --head regression, or another trunk'}."
        )
    if level != "embedding" and level not in backbone.specs:
        raise unknown(f"level of {backbone.name}", level, ["embedding", *backbone.specs])
    channels = backbone.embedding_dim if level == "embedding" else backbone.specs[level].channels
    classes = evaluator.classes
    if name == "cam":
        return CamHead(level, channels, classes, threshold=options.threshold, criterion=criterion)
    return RegressionHead(level, channels, classes, options, start=evaluator.mean_box, criterion=criterion)
