"""The captioning task: built for training, or from a model file."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ...backbones import Backbone
from ..inputs import InputRecipe
from ..task import Task
from ..trunk import level_channels
from .generation import Generation
from .head import CaptionHead, rebuild_head
from .metrics import CaptionEvaluator, rebuild_evaluator
from .options import HeadName


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


def channels_of(backbone: Backbone, head: HeadName, levels: Sequence[str]) -> list[int]:
    """Return the channels of the levels that a head reads; only lstm reads a vector.

    Raises:
        UserError: If the head can't read one of them.
    """
    return level_channels(backbone, levels, head=head, reads_vectors=head == "lstm")


def rebuild_task(backbone: Backbone, description: dict[str, Any]) -> Task:
    """Return the task that a model file describes, its head still without the trained weights."""
    plain = description["head"]
    head = rebuild_head(plain, channels_of(backbone, plain["name"], plain["levels"]))
    head.generation = Generation(**description["generation"])
    return build_task(
        backbone,
        head,
        rebuild_evaluator(description),
        inputs=InputRecipe.from_dict(description["inputs"]),
    )
