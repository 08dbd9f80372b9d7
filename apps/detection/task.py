"""The detection task: built for training, or from a model file."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ...backbones import Backbone
from ...backbones.pyramid import ExtraLevels, FeaturePyramid
from ..inputs import InputRecipe
from ..task import Task
from .anchors import Anchors
from .dense import fcos_head, retinanet_head
from .faster_rcnn import FasterRCNNHead
from .head import DetectionHead
from .mask_rcnn import MaskRCNNHead
from .metrics import DetectionEvaluator, rebuild_evaluator
from .options import HeadName, HeadOptions
from .ssd import SSDHead, SSDLayers

_EXTRA: Mapping[HeadName, ExtraLevels] = {
    "faster_rcnn": "pool",
    "mask_rcnn": "pool",
    "retinanet": "convolutions",
    "fcos": "convolutions",
}


def pyramid_strides(head: HeadName, levels: Sequence[str]) -> list[int]:
    """Return the strides of a head's pyramid on levels of the trunk, shallow to deep."""
    powers = [int(level.removeprefix("c")) for level in levels]
    above = {"none": 0, "pool": 1, "convolutions": 2}[_EXTRA[head]]
    return [2**power for power in range(powers[0], powers[-1] + 1 + above)]


def build_task(
    backbone: Backbone,
    evaluator: DetectionEvaluator,
    *,
    inputs: InputRecipe,
    head: HeadName,
    head_options: HeadOptions,
    anchors: Anchors | None,
    loss_weights: Mapping[str, float] | None = None,
) -> Task:
    """Return the task for a trunk and the data's classes, which the evaluator knows.

    Args:
        backbone: A trunk that gives the head's levels.
        evaluator: The task's.
        inputs: How images come onto the canvas.
        head: Its name.
        head_options: All of them set (``settle_options``).
        anchors: As many sizes as the head's pyramid has levels; nothing for heads without.
        loss_weights: Of the loss parts.
    """
    if head == "ssd":
        layers = SSDLayers(backbone.specs, inputs.canvas)
        module: DetectionHead = SSDHead(layers, evaluator.classes, head_options, inputs.canvas)
    else:
        module = _on_pyramid(backbone, evaluator.classes, head, head_options, anchors)
    description = {
        "task": "detection",
        **evaluator.description(),
        "head": {
            "name": head,
            "options": asdict(head_options),
            "anchors": None if anchors is None else anchors.to_dict(),
        },
        "inputs": inputs.to_dict(),
    }
    return Task(backbone, module, evaluator, description=description, loss_weights=loss_weights)


def rebuild_task(backbone: Backbone, description: dict[str, Any]) -> Task:
    """Return the task that a model file describes, its head still without the trained weights."""
    anchors = description["head"]["anchors"]
    return build_task(
        backbone,
        rebuild_evaluator(description),
        inputs=InputRecipe.from_dict(description["inputs"]),
        head=description["head"]["name"],
        head_options=HeadOptions(**description["head"]["options"]),
        anchors=None if anchors is None else Anchors(anchors["sizes"], anchors["ratios"]),
    )


def _on_pyramid(
    backbone: Backbone, classes: tuple[str, ...], name: HeadName, options: HeadOptions, anchors: Anchors | None
) -> DetectionHead:
    assert options.levels is not None
    assert options.width is not None
    pyramid = FeaturePyramid(backbone.specs, levels=options.levels, width=options.width, extra=_EXTRA[name])
    if name == "fcos":
        return fcos_head(pyramid, classes, options)
    assert anchors is not None
    if name == "retinanet":
        return retinanet_head(pyramid, classes, anchors, options)
    two_stages = MaskRCNNHead if name == "mask_rcnn" else FasterRCNNHead
    return two_stages(pyramid, classes, anchors, options)
