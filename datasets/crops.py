"""Resizing and random crops of a picture with its masks and boxes, all of them kept in their places."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional
from torchvision.tv_tensors import BoundingBoxes, Mask, TVTensor

#: The least share of a box's area that a random crop shows; with less the picture hardly shows the object.
_KEPT_BOX = 0.5


def resize_mask(mask: Mask, size: Sequence[int]) -> Mask:
    """Return a mask in another size, each pixel that of the middle of where it comes from.

    torchvision's own takes the top left corner of that, half a pixel off the picture.
    """
    flat = mask.as_subclass(Tensor).unsqueeze(0)
    return Mask(functional.resize_image(flat, list(size), interpolation=InterpolationMode.NEAREST_EXACT).squeeze(0))


def resize_target(target: TVTensor, size: Sequence[int]) -> TVTensor:
    """Return a mask or boxes as they are in a picture of another size."""
    return resize_mask(target, size) if isinstance(target, Mask) else functional.resize(target, list(size))


class PlainResize(v2.Resize):  # type: ignore[misc]  # torchvision has no type information
    """A resizing that keeps masks in their places."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Return a resized picture or target."""
        return resize_mask(inpt, self.size) if isinstance(inpt, Mask) else super().transform(inpt, params)


class _MaskedCrop(v2.RandomResizedCrop):  # type: ignore[misc]  # torchvision has no type information
    """A random crop that keeps masks in their places."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Return a cropped and resized picture or target."""
        if isinstance(inpt, Mask):
            return resize_mask(Mask(functional.crop(inpt, **params)), self.size)
        return super().transform(inpt, params)


class ObjectCrop(_MaskedCrop):
    """A random crop that shows at least half of the first box, where there is one; else all of the picture."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Return torchvision's parameters, drawn anew up to ten times."""
        boxes = next((each for each in flat_inputs if isinstance(each, BoundingBoxes) and len(each)), None)
        for _ in range(1 if boxes is None else 10):
            params: dict[str, Any] = super().make_params(flat_inputs)
            if boxes is None or _share_inside(boxes[0].tolist(), params) >= _KEPT_BOX:
                return params
        height, width = v2.functional.get_size(flat_inputs[0])
        return {"top": 0, "left": 0, "height": height, "width": width}


class WindowCrop(_MaskedCrop):
    """A random crop whose scale is of the canvas's area, not of the picture's; at most all of the picture."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Return torchvision's parameters for the scales that these are in this picture."""
        height, width = v2.functional.get_size(flat_inputs[0])
        share = self.size[0] * self.size[1] / (height * width)
        crop = v2.RandomResizedCrop(self.size, tuple(min(1.0, each * share) for each in self.scale), self.ratio)
        params: dict[str, Any] = crop.make_params(flat_inputs)
        return params


def _share_inside(box: Sequence[float], crop: Mapping[str, int]) -> float:
    """Return the share of a box's area that a crop shows."""
    left, top, right, bottom = box
    width = min(right, crop["left"] + crop["width"]) - max(left, crop["left"])
    height = min(bottom, crop["top"] + crop["height"]) - max(top, crop["top"])
    return max(0.0, width) * max(0.0, height) / max((right - left) * (bottom - top), 1e-9)
