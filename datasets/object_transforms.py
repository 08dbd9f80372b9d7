"""Random sizes, crops and mirror images of pictures whose objects stay where they are."""

import math
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional
from torchvision.tv_tensors import BoundingBoxes, TVTensor

from .crops import resize_target
from .sample import plain_key
from .transforms import EvalTransform, Placed, Size, Spatial, Transform, find_interpolation, pad_picture


@dataclass(frozen=True)
class ObjectTransform(Transform):
    """The picture as evaluation places it, but mirrored, enlarged or made smaller, and with other colours.

    Of a picture that becomes larger than the canvas a random part is shown, one with an object if there are any (the
    jitter of scale and crop of Ghiasi 2021, Simple copy-paste, section 3). Of a smaller one the rest is padding.

    Attributes:
        placing: How evaluation places pictures, by fitting or stretching them.
        zoom: The smallest and the largest change of size; drawn evenly on a logarithmic scale.
        shown: The share of an object's box that has to be shown; of what shows less the box becomes an empty one.
        flip: The probability of a mirror image.
        vertical_flip: The probability of turning upside down.
        color_jitter: The strength of random brightness, contrast and saturation.
    """

    placing: EvalTransform
    zoom: tuple[float, float] = (1.0, 1.0)
    shown: float = 0.4
    flip: float = 0.5
    vertical_flip: float = 0.0
    color_jitter: float = 0.0

    @property
    def is_random(self) -> bool:
        """Whether anything is left to chance."""
        return any((self.flip, self.vertical_flip, self.color_jitter)) or self.zoom != (1, 1)

    def place(self, picture: Image.Image, spatial: Spatial) -> Placed:
        """Return the canvas, and what of it is picture. Draws from the global generators."""
        picture, moved = self._mirrored(picture, dict(spatial))
        low, high = (math.log(bound) for bound in self.zoom)
        factor = math.exp(low + (high - low) * torch.rand(()).item()) if high > low else self.zoom[0]
        plain = self.placing.resized(picture.height, picture.width)
        size = (max(1, round(plain[0] * factor)), max(1, round(plain[1] * factor)))
        moved = {key: resize_target(value, size) for key, value in moved.items()}
        window = (min(size[0], self.placing.canvas[0]), min(size[1], self.placing.canvas[1]))
        top, left = self._corner(size, window, _find_boxes(moved))
        interpolation = find_interpolation(self.placing.interpolation)
        resized = functional.resize(picture, list(size), interpolation=interpolation)
        part = functional.crop(resized, top, left, *window)
        if self.color_jitter:
            part = v2.ColorJitter(self.color_jitter, self.color_jitter, self.color_jitter)(part)
        image = functional.pil_to_tensor(pad_picture(part, self.placing.canvas, self.placing.fill))
        return Placed(image, window, {key: self._cut(value, top, left, window) for key, value in moved.items()})

    def _mirrored(self, picture: Image.Image, moved: dict[str, TVTensor]) -> tuple[Image.Image, dict[str, TVTensor]]:
        for probability, mirror in (
            (self.flip, functional.horizontal_flip),
            (self.vertical_flip, functional.vertical_flip),
        ):
            if probability and torch.rand(()).item() < probability:
                picture = mirror(picture)
                moved = {key: mirror(value) for key, value in moved.items()}
        return picture, moved

    def _corner(self, size: Size, window: Size, boxes: Tensor | None) -> tuple[int, int]:
        """Return the top left corner of a part that shows an object as far as there is room, where there are any."""
        spare = (size[0] - window[0], size[1] - window[1])
        if spare == (0, 0):
            return 0, 0
        ranges = [(0, each) for each in spare]
        if boxes is not None:
            left, top, right, bottom = boxes[int(torch.randint(0, len(boxes), ()))].tolist()
            sides = ((top, bottom), (left, right))
            ranges = [_range(*side, each, most) for side, each, most in zip(sides, window, spare, strict=True)]
        top, left = (int(torch.randint(low, high + 1, ())) for low, high in ranges)
        return top, left

    def _cut(self, value: TVTensor, top: int, left: int, window: Size) -> Tensor:
        """Return a target as it is in the part that is shown; masks are padded to the canvas."""
        if not isinstance(value, BoundingBoxes):
            height, width = self.placing.canvas
            cut = functional.crop(value, top, left, *window).as_subclass(Tensor)
            return torch.nn.functional.pad(cut, (0, width - window[1], 0, height - window[0]))
        seen = _shares(value, top, left, window) >= self.shown
        return torch.where(seen[:, None], _clipped(value, top, left, window), 0.0)


def _find_boxes(moved: Spatial) -> Tensor | None:
    """Return the boxes of a picture, of several tasks those of the first that has any."""
    return next((value for key, value in moved.items() if plain_key(key) == "boxes" and len(value)), None)


def _range(start: float, stop: float, window: int, spare: int) -> tuple[int, int]:
    """Return between which corners a window shows all of an object, or of one that is larger, nothing else."""
    low, high = sorted((math.ceil(stop) - window, math.floor(start)))
    return min(max(low, 0), spare), min(max(high, 0), spare)


def _clipped(boxes: Tensor, top: int, left: int, window: Size) -> Tensor:
    """Return boxes ``[M, 4]`` in a part of the picture, cut off at its edges."""
    plain = boxes.as_subclass(Tensor) - torch.tensor([left, top, left, top])
    return plain.clamp(min=0).minimum(torch.tensor([window[1], window[0]] * 2))


def _shares(boxes: Tensor, top: int, left: int, window: Size) -> Tensor:
    """Return which share of each box's area a part of the picture shows, ``[M]``."""
    plain, cut = boxes.as_subclass(Tensor), _clipped(boxes, top, left, window)
    areas = [(each[:, 2:] - each[:, :2]).prod(dim=1) for each in (cut, plain)]
    return areas[0] / areas[1].clamp(min=1e-9)
