"""The segmentation task: built for training, or from a model file."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from ...backbones import Backbone
from ...backbones.errors import UserError
from ..inputs import InputRecipe
from ..task import Task
from ..views import ScaleOptions, make_views
from .decoders import build_decoder
from .head import SegmentationHead
from .losses import MaskLoss
from .metrics import SegmentationEvaluator, rebuild_evaluator
from .names import DecoderName
from .options import HeadOptions
from .readout import count_outputs
from .requirements import refusal

#: What the auxiliary head reads, the first of these that the trunk has (Zhao 2017: the stage before the last).
_AUXILIARY_LEVELS = ("c4", "c3", "c2")


def build_task(
    backbone: Backbone,
    *,
    inputs: InputRecipe,
    head: DecoderName,
    head_options: HeadOptions,
    evaluator: SegmentationEvaluator,
    criterion: MaskLoss | None = None,
) -> Task:
    """Return the task for a trunk and the data's classes.

    Args:
        backbone: A trunk that gives the decoder's levels.
        inputs: How images come onto the canvas.
        head: The decoder's name.
        head_options: Width, dropout and more.
        evaluator: It knows the classes, and how they come from logits.
        criterion: The training loss; nothing for a task that is only used.

    Raises:
        UserError: If the head can't stand on the trunk or on the canvas.
    """
    if reason := refusal(head, backbone.specs, inputs.canvas, output_stride=head_options.output_stride):
        raise UserError(f"--head {head} on {backbone.name}: {reason}")
    outputs = count_outputs(evaluator.classes, evaluator.readout)
    decoder = build_decoder(
        head,
        backbone.specs,
        outputs,
        width=head_options.width,
        dropout=head_options.dropout,
        output_stride=head_options.output_stride,
    )
    auxiliary = auxiliary_level(backbone.specs) if head_options.auxiliary else None
    module = SegmentationHead(
        decoder,
        evaluator.classes,
        readout=evaluator.readout,
        num_outputs=outputs,
        criterion=criterion,
        auxiliary=(auxiliary, backbone.specs[auxiliary].channels) if auxiliary else None,
    )
    description = {
        "task": "segmentation",
        **evaluator.description(),
        "head": {"name": head, "options": asdict(head_options)},
        "inputs": inputs.to_dict(),
    }
    options = criterion.options if criterion else None
    weights = {name: float(getattr(options, name)) for name in (*criterion.names, "auxiliary")} if criterion else {}
    return Task(backbone, module, evaluator, description=description, loss_weights=weights)


def auxiliary_level(levels: Collection[str]) -> str:
    """Return the level that the auxiliary head reads.

    Raises:
        UserError: If the trunk has none of those it could.
    """
    found = next((level for level in _AUXILIARY_LEVELS if level in levels), None)
    if found is None:
        raise UserError(f"--head-options.auxiliary reads {', '.join(_AUXILIARY_LEVELS)}, and this trunk has none.")
    return found


def use_views(task: Task, options: ScaleOptions) -> None:
    """Let a task look at its pictures as often as was asked for.

    Raises:
        UserError: Two of the sizes come to the same canvas, or the head can't stand on one of them.
    """
    task.views = make_views(options)
    canvas, head = tuple(task.description["inputs"]["canvas"]), task.description["head"]
    seen: dict[tuple[int, int], float] = {}
    for view in task.views:
        size = view.canvas(canvas)
        if seen.setdefault(size, view.scale) != view.scale:
            raise UserError(
                f"--scales {seen[size]:g} and {view.scale:g} of the canvas {canvas[0]}x{canvas[1]} are both "
                f"{size[0]}x{size[1]}, because sides are multiples of 32. Leave one out."
            )
        stride = head["options"]["output_stride"]
        if reason := refusal(head["name"], task.backbone.specs, size, output_stride=stride):
            raise UserError(f"--scales {view.scale:g}: {reason}")


def rebuild_task(backbone: Backbone, description: dict[str, Any]) -> Task:
    """Return the task that a model file describes, its head still without the trained weights."""
    return build_task(
        backbone,
        inputs=InputRecipe.from_dict(description["inputs"]),
        head=description["head"]["name"],
        head_options=HeadOptions(**description["head"]["options"]),
        evaluator=rebuild_evaluator(description),
    )
