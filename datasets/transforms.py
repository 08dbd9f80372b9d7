"""From a picture of any size to a canvas of fixed size, for training and for evaluation.

Built from torchvision's transforms v2 on Pillow images, whose resizing filters out what the smaller size can't show
(antialiasing), as in the published evaluations of torchvision and timm.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from ..backbones.errors import UserError, unknown

Size = tuple[int, int]
"""Height and width in pixels."""

Transform = Callable[[Image.Image], tuple[Tensor, Size]]
"""Returns the canvas, uint8 ``[C, H, W]``, and the height and width of the part of it, from its top left corner, that
is picture."""

FitMode = Literal["crop", "pad", "stretch"]

AugmentPolicy = Literal["none", "randaugment", "trivialaugment"]

_INTERPOLATIONS = {mode.value: mode for mode in InterpolationMode}
_ASPECT_RATIOS = (3 / 4, 4 / 3)
_POLICIES = {"randaugment": v2.RandAugment, "trivialaugment": v2.TrivialAugmentWide}
_MID_GREY = 128


def train_transform(
    canvas: Size,
    interpolation: str = "bilinear",
    *,
    min_scale: float = 0.35,
    flip: float = 0.5,
    vertical_flip: float = 0.0,
    color_jitter: float = 0.0,
    policy: AugmentPolicy = "none",
    erasing: float = 0.0,
) -> Transform:
    """Return a random crop of the picture, or all of it, resized to the canvas, perhaps mirrored, distorted and erased.

    The crop is that of Szegedy et al. 2015 (Going deeper with convolutions, section 6), whose smallest area of 0.08 is
    for training from nothing on a million pictures; fine-tuning on few keeps more of the object.

    Args:
        canvas: Height and width of the result.
        interpolation: ``bilinear``, ``bicubic`` or ``nearest``.
        min_scale: The smallest share of the picture's area that a crop covers, above 0 and at most 1. With 1
            nothing is cropped: the whole picture is resized to the canvas, whatever its proportions.
        flip: The probability of a mirror image; 0 for digits, text, and wherever left is not right.
        vertical_flip: The probability of turning it upside down, for pictures without an up, such as tissue or the
            ground seen from above.
        color_jitter: The strength of random brightness, contrast and saturation, 0 for none; 0.4 is usual.
        policy: ``randaugment`` applies two of 14 operations of colour and geometry one after the other, with a
            strength of 9 of 30 (Cubuk et al. 2020); ``trivialaugment`` applies one, with a random strength in a wider
            range (Mueller & Hutter 2021, the "wide" space). What an operation uncovers becomes mid grey, 128, which
            for a trunk is nearly nothing.
        erasing: The probability that a rectangle of 2 to 33% of the canvas becomes noise, each value drawn anew from
            0 to 255 (Zhong et al. 2020, Random Erasing, algorithm 1); 0.25 is usual.

    Raises:
        UserError: A value outside these ranges, or an unknown interpolation or policy.
    """
    if not 0 < min_scale <= 1:
        raise UserError(f"The smallest crop is a share of the picture's area, above 0 and at most 1, not {min_scale}.")
    chances = {"a mirror image": flip, "turning upside down": vertical_flip, "erasing": erasing}
    for what, probability in chances.items():
        if not 0 <= probability <= 1:
            raise UserError(f"The probability of {what} lies between 0 and 1; {probability} doesn't.")
    if color_jitter < 0:
        raise UserError(f"The strength of the colour jitter is 0 or more, not {color_jitter}.")
    if policy not in get_args(AugmentPolicy):
        raise unknown("augmentation policy", policy, get_args(AugmentPolicy))
    _find_interpolation(interpolation)
    return TrainTransform(
        _check_canvas(canvas), interpolation, min_scale, flip, vertical_flip, color_jitter, policy, erasing
    )


def eval_transform(
    canvas: Size,
    interpolation: str = "bilinear",
    crop_fraction: float = 0.875,
    *,
    mode: FitMode = "crop",
    fill: Sequence[float] = (0.0,),
) -> Transform:
    """Return the picture on the canvas, without any randomness.

    Args:
        canvas: Height and width of the result.
        interpolation: ``bilinear``, ``bicubic`` or ``nearest``.
        crop_fraction: In mode ``crop``, the share of the resized picture's shorter side that the canvas shows; 0.875
            is the 224 of 256 of the ImageNet evaluations.
        mode: ``crop`` shows the middle of the picture; ``pad`` shows all of it in the canvas's top left corner;
            ``stretch`` shows all of it with its proportions changed.
        fill: In mode ``pad``, the colour of the rest, a value between 0 and 1 a channel, or one for all; with the mean
            that the trunk subtracts, the rest becomes zero.
    """
    if not 0 < crop_fraction <= 1:
        raise UserError(f"The crop fraction is above 0 and at most 1, not {crop_fraction}.")
    if mode not in get_args(FitMode):
        raise unknown("way to fit pictures on the canvas", mode, get_args(FitMode))
    _find_interpolation(interpolation)
    color = tuple(round(255 * value) for value in fill)
    return EvalTransform(_check_canvas(canvas), interpolation, crop_fraction, mode, color)


# Dataclasses, not closures: worker processes that are spawned, not forked, get their transform pickled.
@dataclass(frozen=True)
class TrainTransform:
    """See ``train_transform``."""

    canvas: Size
    interpolation: str
    min_scale: float
    flip: float
    vertical_flip: float
    color_jitter: float
    policy: AugmentPolicy
    erasing: float

    def __call__(self, picture: Image.Image) -> tuple[Tensor, Size]:
        """Return the canvas, uint8 ``[C, H, W]``; all of it is picture. Draws from the global generators."""
        return self._steps(picture), self.canvas

    @cached_property
    def _steps(self) -> v2.Compose:
        # A step that isn't asked for is left out, not made with a strength of 0: it would still draw from the
        # generators and change what every later step draws.
        steps: list[v2.Transform] = [self._resize(), v2.RandomHorizontalFlip(self.flip)]
        if self.vertical_flip:
            steps.append(v2.RandomVerticalFlip(self.vertical_flip))
        if self.policy != "none":
            interpolation = _find_interpolation(self.interpolation)
            steps.append(_POLICIES[self.policy](interpolation=interpolation, fill=_MID_GREY))
        if self.color_jitter:
            steps.append(v2.ColorJitter(self.color_jitter, self.color_jitter, self.color_jitter))
        steps.append(v2.PILToTensor())
        if self.erasing:
            steps.append(_NoisyErasing(self.erasing))
        return v2.Compose(steps)

    def _resize(self) -> v2.Transform:
        interpolation = _find_interpolation(self.interpolation)
        if self.min_scale == 1:
            # a crop of the full area would still be cut to _ASPECT_RATIOS
            return v2.Resize(self.canvas, interpolation, antialias=True)
        scale = (self.min_scale, 1.0)
        return v2.RandomResizedCrop(self.canvas, scale, _ASPECT_RATIOS, interpolation, antialias=True)


class _NoisyErasing(v2.RandomErasing):  # type: ignore[misc]  # torchvision has no type information
    """Random erasing of uint8 pictures with uniform noise.

    torchvision's own noise is normally distributed around 0, for pictures that are normalised already: cast to uint8
    it would be nearly black with a few white specks.
    """

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Return torchvision's parameters with noise of 0 to 255 for the rectangle, if one was found."""
        params: dict[str, Any] = super().make_params(flat_inputs)
        if params["v"] is not None:
            shape = (flat_inputs[0].shape[-3], params["h"], params["w"])
            params["v"] = torch.randint(0, 256, shape, dtype=torch.uint8)
        return params


@dataclass(frozen=True)
class EvalTransform:
    """See ``eval_transform``."""

    canvas: Size
    interpolation: str
    crop_fraction: float
    mode: FitMode
    fill: tuple[int, ...]

    def __call__(self, picture: Image.Image) -> tuple[Tensor, Size]:
        """Return the canvas, uint8 ``[C, H, W]``, and the height and width of the part of it that is picture."""
        size = self._resized(picture.height, picture.width)
        resized = functional.resize(picture, list(size), interpolation=_find_interpolation(self.interpolation))
        valid = self.canvas
        if self.mode == "crop":
            resized = functional.center_crop(resized, list(self.canvas))
        elif self.mode == "pad":
            valid = size
            resized = self._padded(resized)
        return functional.pil_to_tensor(resized), valid

    def _resized(self, height: int, width: int) -> Size:
        """Return the size to bring a picture to before it is cropped or padded."""
        if self.mode == "stretch":
            return self.canvas
        if self.mode == "pad":
            scale = min(self.canvas[0] / height, self.canvas[1] / width)
            return max(1, round(height * scale)), max(1, round(width * scale))
        # The side that decides gets exactly the whole number the published evaluations give it (224 / 0.875 = 256),
        # the other is cut to a whole number, as torchvision's and timm's resizing by the shorter side does.
        tall, wide = (math.floor(side / self.crop_fraction) for side in self.canvas)
        if tall * width >= wide * height:
            return tall, max(self.canvas[1], int(tall * width / height))
        return max(self.canvas[0], int(wide * height / width)), wide

    def _padded(self, picture: Image.Image) -> Image.Image:
        bands = len(picture.getbands())
        color = self.fill if len(self.fill) == bands else self.fill[:1] * bands
        padded = Image.new(picture.mode, (self.canvas[1], self.canvas[0]), color if bands > 1 else color[0])
        padded.paste(picture, (0, 0))
        return padded


def _find_interpolation(name: str) -> InterpolationMode:
    if name not in ("bilinear", "bicubic", "nearest"):
        raise unknown("interpolation", name, ("bilinear", "bicubic", "nearest"))
    return _INTERPOLATIONS[name]


def _check_canvas(canvas: Size) -> Size:
    height, width = canvas
    if height < 1 or width < 1:
        raise UserError(f"The image size is a height and a width in pixels, 1 or more, not {height} x {width}.")
    return (height, width)
