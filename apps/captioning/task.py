"""The captioning task: built for training, or from a model file."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from ...backbones import Backbone
from ...backbones.errors import UserError
from ..inputs import InputRecipe
from ..task import Task
from .generation import Generation
from .head import CaptionHead, rebuild_head
from .metrics import CaptionEvaluator, rebuild_evaluator
from .options import EvaluateOptions, PredictOptions

_MAP_DIMENSIONS = 3


def build_task(
    backbone: Backbone,
    head: CaptionHead,
    evaluator: CaptionEvaluator,
    *,
    inputs: InputRecipe,
    attention_weight: float = 1.0,
) -> Task:
    """Return the task of a trunk that gives the head's levels.

    Args:
        backbone: The trunk.
        head: Says what a picture shows.
        evaluator: Judges it.
        inputs: How images come onto the canvas.
        attention_weight: Of the loss part that makes lstm_attention look at all of the picture.
    """
    description = {
        "task": "captioning",
        **evaluator.description(),
        "head": head.description(),
        "generation": asdict(head.generation),
        "inputs": inputs.to_dict(),
    }
    return Task(backbone, head, evaluator, description=description, loss_weights={"attention": attention_weight})


def rebuild_task(backbone: Backbone, description: dict[str, Any]) -> Task:
    """Return the task that a model file describes, its head still without the trained weights."""
    plain = description["head"]
    head = rebuild_head(plain, level_channels(backbone, plain["levels"], plain["name"]))
    head.generation = Generation(**description["generation"])
    return build_task(
        backbone,
        head,
        rebuild_evaluator(description),
        inputs=InputRecipe.from_dict(description["inputs"]),
    )


def level_channels(backbone: Backbone, levels: Sequence[str], head: str) -> list[int]:
    """Return the channels of the levels that a head reads: maps, of lstm also a vector.

    Raises:
        UserError: If one is no map.
    """
    shapes = [backbone.facts.shapes[level] for level in levels]
    for level, shape in zip(levels, shapes, strict=True):
        if len(shape) != _MAP_DIMENSIONS and head != "lstm":
            maps = ", ".join([*backbone.specs, "prepool"]) if backbone.specs else "none; take --head lstm"
            raise UserError(
                f"--head {head} looks around in maps, and '{level}' of {backbone.name} is none: its shape is "
                f"{'x'.join(map(str, shape))}. Maps of {backbone.name}: {maps}."
            )
    return [shape[0] for shape in shapes]


def use_generation(task: Task, options: EvaluateOptions | PredictOptions) -> CaptionHead:
    """Let a task say captions as the options ask, where they do, and return its head."""
    head = task.head
    assert isinstance(head, CaptionHead)
    asked = {"beams": options.beams, "length_penalty": options.length_penalty}
    head.generation = replace(head.generation, **{key: value for key, value in asked.items() if value is not None})
    return head
