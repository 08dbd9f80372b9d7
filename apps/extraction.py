"""A frozen trunk that looks at images: levels, pooled, as numbers to keep."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ..backbones import Backbone
from ..datasets import Record, Transform
from .config import ComputeOptions
from .fast_trunk import FastTrunk, Form, choose_trunk, usual_precision
from .hardware import choose_device
from .inputs import InputRecipe, sample_pictures
from .option_checks import may_be_several

Pooling = Literal["avg", "max", "flat", "none"]


class FeatureNetwork:
    """A trunk in evaluation mode on a device, with what makes a vector of each level.

    Attributes:
        backbone: The trunk; what it returns are the layers.
        pooling: What becomes of maps ``[B, C, h, w]``, and of a transformer's tokens ``[B, N, C]``: their mean or
            maximum over cells or tokens, ``flat`` for one long vector, ``none`` for the map itself. Vectors stay.
        form: How it runs; chosen once, before the first picture.
        device: Where it runs.
    """

    def __init__(self, backbone: Backbone, *, pooling: Pooling, options: ComputeOptions) -> None:
        """Take the trunk; its form is the usual one for the options until ``run_in`` says another."""
        self.device = choose_device(options.device)
        self.form = Form(usual_precision(options.precision, self.device, backbone), options.compile == "on")
        self.pooling: Pooling = pooling
        self.backbone = backbone.eval()
        self._batch_size = options.batch_size
        self._trunk: FastTrunk | None = None

    def run_in(self, form: Form, trunk: FastTrunk) -> None:
        """Run in a form from now on.

        Args:
            form: The form.
            trunk: The same trunk, perhaps compiled by now, which is used if it has this form and these levels.
        """
        self.form = form
        self._trunk = trunk if trunk.form == form and trunk.backbone.levels == self.backbone.levels else None

    def __call__(self, images: Tensor, *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Return the layers of pictures.

        Args:
            images: uint8 ``[B, C, H, W]``.
            dtype: Of what is returned. Maps that the trunk computes in bf16, and that are wanted in it, never become
                float32: that takes as long as writing them. Means are float32 until then.
        """
        if self._trunk is None:
            canvas = (images.shape[-2], images.shape[-1])
            self._trunk = FastTrunk(
                self.backbone, self.form, device=self.device, canvas=canvas, batch_size=self._batch_size
            )
        normal = self.backbone.preprocessing.normalize(images.to(self.device, non_blocking=True))
        levels = self._trunk(normal, as_computed=True)
        return {name: pool(level, self.pooling).to(dtype) for name, level in levels.items()}

    def shapes(self, canvas: tuple[int, int]) -> dict[str, tuple[int, ...]]:
        """Return the shape of each layer's features of one picture, by a pass over an empty one."""
        empty = torch.zeros(1, self.backbone.in_channels, *canvas, dtype=torch.uint8)
        return {name: tuple(features.shape[1:]) for name, features in self(empty).items()}

    def recipe(self, inputs: InputRecipe) -> dict[str, Any]:
        """Return plain values: what its features are a function of, besides the images."""
        backbone = self.backbone
        return {
            "backbone": {
                "weights": backbone.weights,
                "fingerprint": backbone.fingerprint(),
                "recipe": dict(backbone.recipe),
                "preprocessing": backbone.preprocessing.to_dict(),
            },
            "inputs": inputs.to_dict(),
            "pooling": self.pooling,
            "precision": self.form.precision,
            "compiled": self.form.is_compiled,
        }


def settle_trunk(
    backbone: Backbone,
    records: Sequence[Record],
    transform: Transform,
    options: ComputeOptions,
    *,
    canvas: tuple[int, int],
) -> FastTrunk:
    """Return a trunk as it runs over pictures: as the options say, and as measuring shows where they leave it open.

    Args:
        backbone: The trunk.
        records: The pictures.
        transform: Takes one onto the canvas.
        options: Precision, compilation, device and batch size.
        canvas: Height and width of the canvas.
    """
    device, sample = choose_device(options.device), None
    if not may_be_several(options):  # which might measure differently
        sample = sample_pictures(records, transform, channels=backbone.in_channels)
    if sample is None:
        form = Form(usual_precision(options.precision, device, backbone), options.compile == "on")
        return FastTrunk(backbone, form, device=device, canvas=canvas, batch_size=options.batch_size)
    return choose_trunk(
        backbone,
        precision=options.precision,
        compiling=options.compile,
        device=device,
        canvas=canvas,
        batch_size=options.batch_size,
        images=len(records),
        sample=sample,
    )


def pool(level: Tensor, pooling: Pooling) -> Tensor:
    """Return a level as ``FeatureNetwork`` says of its pooling: means as float32, and otherwise in its own dtype.

    Args:
        level: ``[B, D]``, ``[B, N, C]`` or ``[B, C, h, w]``.
        pooling: See ``FeatureNetwork``.
    """
    if level.dim() == 2 or pooling == "none":
        return level
    if pooling == "flat":
        return level.flatten(1)
    over = (1,) if level.dim() == 3 else tuple(range(2, level.dim()))
    return level.mean(dim=over, dtype=torch.float32) if pooling == "avg" else level.amax(dim=over)
