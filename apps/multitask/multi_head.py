"""One trunk, many heads: the trunk runs once for all of them."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...backbones import Backbone
from ...backbones.errors import UserError, unknown
from ...datasets import Context
from ..fast_trunk import FastTrunk
from ..inputs import InputRecipe
from ..task import Head
from .agreement import check_recipes


class MultiHead(nn.Module):
    """A trunk with the heads of several apps, as they are.

    Attributes:
        backbone: The trunk; it gives the levels of all heads.
        heads: The heads by the names of their tasks.
        inputs: How a picture comes onto the canvas, the same for all heads: that is why one pass does for them.
        fast: The trunk's inference form, once there is one; it runs in place of ``backbone``.
    """

    def __init__(self, backbone: Backbone, heads: Mapping[str, Head], inputs: Mapping[str, InputRecipe]) -> None:
        """Put heads on a trunk.

        Args:
            backbone: The trunk.
            heads: By the names of their tasks.
            inputs: How each of them was shown pictures when it was trained.

        Raises:
            UserError: If there is no head, the trunk doesn't give what one of them reads, or they were trained on
                pictures that came onto the canvas in different ways.
        """
        super().__init__()
        if not heads:
            raise UserError("No head was given: name at least one task.")
        for task, head in heads.items():
            if missing := [level for level in head.levels if level not in backbone.levels]:
                raise UserError(
                    f"The head of {task} reads {', '.join(head.levels)}, and the trunk was built without "
                    f"{', '.join(missing)}; it gives {', '.join(backbone.levels)}. Build it with what all heads read."
                )
        self.inputs = check_recipes({task: inputs[task] for task in heads})
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)
        self.fast: FastTrunk | None = None

    def features(self, images: Tensor) -> Mapping[str, Tensor]:
        """Return all levels that any head reads, from one pass of the trunk.

        Args:
            images: ``[B, C, H, W]``, float32, normalised.
        """
        if self.fast is not None:
            return self.fast.to(images.device)(images)
        # without a graph where nothing of the trunk is trained: no activations are kept
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.backbone.is_frozen):
            features: Mapping[str, Tensor] = self.backbone(images)
        return features

    def read_by(self, task: str, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return those of the levels that a task's head reads."""
        return {level: features[level] for level in self._head(task).levels}

    def forward(self, images: Tensor, contexts: Mapping[str, Context]) -> dict[str, Any]:
        """Return the output of each head that there is a context for; the trunk runs once.

        Args:
            images: ``[B, C, H, W]``, float32, normalised.
            contexts: Of the batch, by task. Heads without one don't run.

        Raises:
            UserError: If there is no such task, or a context is of another canvas than the images.
        """
        canvas = (images.shape[-2], images.shape[-1])
        for task, context in contexts.items():
            self._head(task)
            if tuple(context.canvas) != canvas:
                raise UserError(
                    f"The context of {task} is of a canvas {_size(context.canvas)}, and the images are {_size(canvas)}."
                    " All heads see the same images: give each the context of this batch."
                )
        features = self.features(images)
        return {task: self._head(task)(self.read_by(task, features), context) for task, context in contexts.items()}

    def _head(self, task: str) -> Head:
        if task not in self.heads:
            raise unknown("task", task, list(self.heads))
        return cast(Head, self.heads[task])


def _size(canvas: tuple[int, int]) -> str:
    return f"{canvas[0]}x{canvas[1]}"
