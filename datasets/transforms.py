"""From a picture of any size to a canvas of fixed size, for training and for evaluation.

Built from torchvision's transforms v2 on Pillow images, whose resizing filters out what the smaller size can't show
(antialiasing), as in the published evaluations of torchvision and timm.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional
from torchvision.tv_tensors import Mask, TVTensor

from ..backbones.errors import UserError, unknown
from .crops import ObjectCrop, PlainResize, WindowCrop, resize_target
from .sample import IGNORED

Size = tuple[int, int]
"""Height and width in pixels."""

Spatial = Mapping[str, TVTensor]
"""Targets that move with the picture: ``mask`` and ``boxes``, in its pixels."""

FitMode = Literal["crop", "pad", "stretch", "window"]

AugmentPolicy = Literal["none", "randaugment", "trivialaugment"]


@dataclass(frozen=True)
class Placed:
    """A picture and its targets on the canvas.

    Attributes:
        image: uint8 ``[C, H, W]``, or ``[T, C, H, W]`` windows.
        valid_size: Height and width of the part of the canvas, from its top left corner, that is picture; of windows
            those of the picture that they are of.
        targets: Masks and boxes as plain tensors (``sample.py``).
        windows: int64 ``[T, 2]``: the top left corners of windows.
    """

    image: Tensor
    valid_size: Size
    targets: dict[str, Tensor]
    windows: Tensor | None = None


class Transform(ABC):
    """Brings pictures of any size onto a canvas."""

    @property
    def is_random(self) -> bool:
        """Whether a picture looks different each time."""
        return False

    @property
    def makes_windows(self) -> bool:
        """Whether it shows a picture in any number of windows, not once."""
        return False

    @abstractmethod
    def place(self, picture: Image.Image, spatial: Spatial) -> Placed:
        """Return the picture on the canvas, with the targets that move with it."""

    def __call__(self, picture: Image.Image) -> tuple[Tensor, Size]:
        """Return a picture without targets: the canvas, uint8 ``[C, H, W]``, and the size of what of it is picture."""
        placed = self.place(picture, {})
        return placed.image, placed.valid_size


_INTERPOLATIONS = {mode.value: mode for mode in InterpolationMode}
_ASPECT_RATIOS = (3 / 4, 4 / 3)
_POLICIES = {"randaugment": v2.RandAugment, "trivialaugment": v2.TrivialAugmentWide}
_MID_GREY = 128
#: How much neighbouring windows overlap, as a share of the canvas: what lies near a window's border is seen better in
#: the next one. A third is what mmsegmentation's published sliding windows take.
_OVERLAP = 1 / 3


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
) -> "TrainTransform":
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
    find_interpolation(interpolation)
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
            ``stretch`` shows all of it with its proportions changed; ``window`` shows it pixel by pixel in overlapping
            windows, each as large as the canvas.
        fill: In modes ``pad`` and ``window``, the colour of the rest, a value between 0 and 1 a channel, or one for
            all; with the mean that the trunk subtracts, the rest becomes zero.
    """
    if not 0 < crop_fraction <= 1:
        raise UserError(f"The crop fraction is above 0 and at most 1, not {crop_fraction}.")
    if mode not in get_args(FitMode):
        raise unknown("way to fit pictures on the canvas", mode, get_args(FitMode))
    find_interpolation(interpolation)
    color = pixel_color(fill)
    if mode == "window":
        return WindowTransform(_check_canvas(canvas), color)
    return EvalTransform(_check_canvas(canvas), interpolation, crop_fraction, mode, color)


# Dataclasses, not closures: worker processes that are spawned, not forked, get their transform pickled.
@dataclass(frozen=True)
class TrainTransform(Transform):
    """See ``train_transform``."""

    canvas: Size
    interpolation: str
    min_scale: float
    flip: float
    vertical_flip: float
    color_jitter: float
    policy: AugmentPolicy
    erasing: float
    mode: FitMode = "crop"

    @property
    def is_random(self) -> bool:
        """Whether anything is left to chance."""
        # a window's place is drawn at random whatever its size
        changes = (self.flip, self.vertical_flip, self.color_jitter, self.erasing)
        return any(changes) or self.min_scale < 1 or self.policy != "none" or self.mode == "window"

    def fitting(self, mode: FitMode) -> "TrainTransform":
        """Return the transform for pictures that evaluation brings onto the canvas in another way than ``crop``.

        Crops then have about the canvas's proportions, and for ``window`` are about as large as the canvas in pixels of
        the picture, from ``min_scale`` of its area to 1 / ``min_scale``.
        """
        return replace(self, mode=mode)

    def place(self, picture: Image.Image, spatial: Spatial) -> Placed:
        """Return the canvas; all of it is picture. Draws from the global generators.

        Raises:
            UserError: Masks or boxes with a policy, which moves the picture only.
        """
        if spatial and self.policy != "none":
            raise UserError(
                f"The augmentation policy '{self.policy}' would move the picture off its {' and '.join(spatial)}. "
                "Choose 'none'."
            )
        image, moved = self._steps(picture, dict(spatial))
        return Placed(image, self.canvas, _plain(moved))

    @cached_property
    def _steps(self) -> v2.Compose:
        # A step that isn't asked for is left out, not made with a strength of 0: it would still draw from the
        # generators and change what every later step draws.
        steps: list[v2.Transform] = [self._resize(), v2.RandomHorizontalFlip(self.flip)]
        if self.vertical_flip:
            steps.append(v2.RandomVerticalFlip(self.vertical_flip))
        if self.policy != "none":
            interpolation = find_interpolation(self.interpolation)
            steps.append(_POLICIES[self.policy](interpolation=interpolation, fill=_MID_GREY))
        if self.color_jitter:
            steps.append(v2.ColorJitter(self.color_jitter, self.color_jitter, self.color_jitter))
        steps.append(v2.PILToTensor())
        if self.erasing:
            steps.append(_NoisyErasing(self.erasing))
        return v2.Compose(steps)

    def _resize(self) -> v2.Transform:
        interpolation = find_interpolation(self.interpolation)
        # of a crop that fills the canvas the ratio is the picture's, as in earlier releases
        ratio = 1.0 if self.mode == "crop" else self.canvas[1] / self.canvas[0]
        ratios = tuple(each * ratio for each in _ASPECT_RATIOS)
        if self.mode == "window":
            return WindowCrop(self.canvas, (self.min_scale, 1 / self.min_scale), ratios, interpolation)
        if self.min_scale == 1:
            # a crop of the full area would still be cut to _ASPECT_RATIOS
            return PlainResize(self.canvas, interpolation, antialias=True)
        return ObjectCrop(self.canvas, (self.min_scale, 1.0), ratios, interpolation, antialias=True)


def _plain(moved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return targets as plain tensors, which are sent from process to process without their extras."""
    return {key: value.as_subclass(Tensor) for key, value in moved.items()}


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

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Return the picture with the rectangle; masks and boxes stay, for what is hidden is still there."""
        return inpt if isinstance(inpt, TVTensor) else super().transform(inpt, params)


@dataclass(frozen=True)
class EvalTransform(Transform):
    """See ``eval_transform``."""

    canvas: Size
    interpolation: str
    crop_fraction: float
    mode: FitMode
    fill: tuple[int, ...]

    def place(self, picture: Image.Image, spatial: Spatial) -> Placed:
        """Return the canvas, and the height and width of the part of it that is picture."""
        size = self.resized(picture.height, picture.width)
        interpolation = find_interpolation(self.interpolation)
        resized = functional.resize(picture, list(size), interpolation=interpolation)
        moved = {key: resize_target(value, size) for key, value in spatial.items()}
        valid = self.canvas
        if self.mode == "crop":
            resized = functional.center_crop(resized, list(self.canvas))
            moved = {key: functional.center_crop(value, list(self.canvas)) for key, value in moved.items()}
        elif self.mode == "pad":
            valid = size
            resized = self._padded(resized)
            moved = {key: _pad_target(value, self.canvas) for key, value in moved.items()}
        return Placed(functional.pil_to_tensor(resized), valid, {**_plain(moved), **_full(spatial)})

    def resized(self, height: int, width: int) -> Size:
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
        return pad_picture(picture, self.canvas, self.fill)


@dataclass(frozen=True)
class WindowTransform(Transform):
    """Overlapping windows of the picture, evenly spread, in its own pixels; a smaller picture is padded.

    Attributes:
        canvas: Height and width of a window.
        fill: The colour around smaller pictures.
    """

    canvas: Size
    fill: tuple[int, ...]

    @property
    def makes_windows(self) -> bool:
        """See the base class."""
        return True

    def place(self, picture: Image.Image, spatial: Spatial) -> Placed:
        """Return the windows, row by row."""
        size = (picture.height, picture.width)
        plane = (max(size[0], self.canvas[0]), max(size[1], self.canvas[1]))
        whole = functional.pil_to_tensor(pad_picture(picture, plane, self.fill))
        height, width = self.canvas
        corners = [(top, left) for top in _starts(plane[0], height) for left in _starts(plane[1], width)]
        windows = torch.stack([whole[:, top : top + height, left : left + width] for top, left in corners])
        return Placed(windows, size, {**_plain(spatial), **_full(spatial)}, torch.tensor(corners))


def _starts(side: int, window: int) -> list[int]:
    """Return where windows begin along a side, so that they cover it and overlap by at least a third."""
    count = 1 + math.ceil((side - window) / (window * (1 - _OVERLAP)))
    return [round(place * (side - window) / max(1, count - 1)) for place in range(count)]


def _full(spatial: Spatial) -> dict[str, Tensor]:
    """Return the targets as they are in the picture, under the names of those."""
    return _plain({f"full_{key}": value for key, value in spatial.items()})


def pixel_color(fill: Sequence[float]) -> tuple[int, ...]:
    """Return a colour of values between 0 and 1 as one of pixels, 0 to 255."""
    return tuple(round(255 * value) for value in fill)


def pad_picture(picture: Image.Image, size: Size, fill: tuple[int, ...]) -> Image.Image:
    """Return a picture in the top left corner of a larger one."""
    bands = len(picture.getbands())
    color = fill if len(fill) == bands else fill[:1] * bands
    padded = Image.new(picture.mode, (size[1], size[0]), color if bands > 1 else color[0])
    padded.paste(picture, (0, 0))
    return padded


def _pad_target(target: TVTensor, size: Size) -> TVTensor:
    """Return a mask with ``IGNORED`` around it; boxes stay where they are."""
    if not isinstance(target, Mask):
        return target
    height, width = target.shape[-2:]
    return Mask(functional.pad_mask(target, [0, 0, size[1] - width, size[0] - height], fill=IGNORED))


def find_interpolation(name: str) -> InterpolationMode:
    """Return torchvision's name of an interpolation.

    Raises:
        UserError: If there is none of that name.
    """
    if name not in ("bilinear", "bicubic", "nearest"):
        raise unknown("interpolation", name, ("bilinear", "bicubic", "nearest"))
    return _INTERPOLATIONS[name]


def _check_canvas(canvas: Size) -> Size:
    height, width = canvas
    if height < 1 or width < 1:
        raise UserError(f"The image size is a height and a width in pixels, 1 or more, not {height} x {width}.")
    return (height, width)
