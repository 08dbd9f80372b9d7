"""What the detection heads share: a pyramid on the trunk's maps, detections in the pixels of the file."""

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from ...backbones.spec import FeatureSpec
from ...datasets import Context
from ..task import Head
from .detections import Detections, detections_in_files

Maps = OrderedDict[str, Tensor]
"""Of a pyramid, shallow to deep."""
Output = dict[str, Any]
"""What a head gives for a batch: ``maps`` of its pyramid, and the ``dtype`` in which they were computed; what else its
loss needs; and in evaluation ``detections``, a list of :class:`Detections`, with the ``logits`` that they come from."""
Found = list[dict[str, Tensor]]
"""What torchvision's post-processing gives for each image: ``boxes`` on the canvas, ``scores``, ``labels``."""


class Pyramid(Protocol):
    """Maps of several sizes, made of a trunk's.

    Attributes:
        levels: What it reads of the trunk.
        specs: Of its maps, shallow to deep.
    """

    levels: tuple[str, ...]
    specs: Mapping[str, FeatureSpec]

    def __call__(self, features: Mapping[str, Tensor], canvas: tuple[int, int]) -> Maps:
        """Return the maps for pictures on a canvas of this height and width."""


class DetectionHead(Head):
    """A pyramid, and torchvision's own parts on it.

    Behind the pyramid what boxes come from is computed in full precision, for their bounds have more digits than bf16
    holds; in training everything is.

    Args:
        pyramid: On the trunk's levels.
        classes: The class names, in the order of their indices.
    """

    first_label: int
    """The label of the first class in torchvision's parts: 1 where 0 is the background."""
    measures_loss = False

    def __init__(self, pyramid: Pyramid, classes: Sequence[str]) -> None:
        """See the class."""
        super().__init__()
        self.pyramid = pyramid
        self.levels = pyramid.levels
        self.classes = tuple(classes)

    def forward(self, features: Mapping[str, Tensor], context: Context) -> Output:
        """Return the batch's maps with what the loss needs; in evaluation also the detections."""
        maps = self.pyramid(features, context.canvas)
        with full_precision(maps.values()):
            output = self.examine(OrderedDict((name, each.float()) for name, each in maps.items()), context)
            output["dtype"] = next(iter(maps.values())).dtype
            if not self.training:
                found = self.detect(output, context)
                output["detections"] = detections_in_files(found, context, first=self.first_label)
        return output

    def loss(self, output: Output, context: Context, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the parts of the loss; images without objects teach what background is."""
        truths = [
            {"boxes": boxes, "labels": classes + self.first_label}
            for boxes, classes in zip(targets["boxes"], targets["classes"], strict=True)
        ]
        for place, masks in enumerate(targets.get("masks", [])):
            truths[place]["masks"] = masks
        with full_precision(output["maps"].values()):
            return self.learn(output, context, truths)

    def predict(self, output: Output, context: Context) -> list[dict[str, Any]]:
        """Return for each image its ``objects``, the surest first: class, score, and box in pixels of the file."""
        found: list[Detections] = output["detections"]
        return [{"objects": each.rows(self.classes)} for each in found]

    @abstractmethod
    def examine(self, maps: Maps, context: Context) -> Output:
        """Return ``maps`` and what loss and detections both need."""

    @abstractmethod
    def detect(self, output: Output, context: Context) -> Found:
        """Return the detections on the canvas, and add the logits that they come from to ``output``."""

    @abstractmethod
    def learn(self, output: Output, context: Context, truths: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the parts of the loss.

        Args:
            output: Of :meth:`examine`.
            context: The batch's sizes.
            truths: For each image ``boxes`` ``[M, 4]`` on the canvas and ``labels`` ``[M]``, perhaps ``masks``.
        """


def image_list(maps: Maps, context: Context) -> ImageList:
    """Return what torchvision's parts ask of the images: the canvas, and the sizes of what of it is picture."""
    example = next(iter(maps.values()))
    # they look at its shape only
    canvas = example.new_empty(1).expand(len(example), 1, *context.canvas)
    return ImageList(canvas, valid_sizes(context))


def valid_sizes(context: Context) -> list[tuple[int, int]]:
    """Return the height and width of the picture on the canvas, for each image."""
    return [(height, width) for height, width in context.valid_sizes.tolist()]


@contextmanager
def full_precision(maps: Iterable[Tensor]) -> Iterator[None]:
    """Compute in fp32, whatever the trunk is computed in; the maps say on which device."""
    device = next(iter(maps)).device.type
    with torch.autocast(device, enabled=False):
        yield


@contextmanager
def pyramid_precision(output: Output) -> Iterator[None]:
    """Compute in the precision of the pyramid."""
    device, dtype = next(iter(output["maps"].values())).device.type, output["dtype"]
    with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
        yield
