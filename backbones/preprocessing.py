"""Mean, deviation, size and interpolation: they belong to a set of weights and travel with it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """How pictures must look for the weights they are fed to.

    Attributes:
        mean: Per channel, for values in [0, 1].
        std: Per channel, for values in [0, 1].
        image_size: Height and width the weights were evaluated at.
        interpolation: ``"bilinear"``, ``"bicubic"`` or ``"nearest"``.
        crop_fraction: Part of the resized picture that the centre crop keeps, e.g. 224 of 256 is 0.875.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    image_size: tuple[int, int] = (224, 224)
    interpolation: str = "bilinear"
    crop_fraction: float = 0.875

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.mean)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers for JSON."""
        fields = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Preprocessing":
        """Return what ``to_dict`` wrote.

        Raises:
            TypeError: A key is none of these.
            ValueError: A value is of another type.
        """
        values: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in fields.items()}
        found = cls(**values)
        for key, numbers in (("mean", found.mean), ("std", found.std)):
            if not isinstance(numbers, tuple) or not numbers or not all(map(_is_number, numbers)):
                raise ValueError(f"{key} is {fields[key]!r} in place of a number for each channel")
        if len(found.mean) != len(found.std):
            raise ValueError(f"mean has {len(found.mean)} channels and std {len(found.std)}")
        if not is_size(found.image_size):
            raise ValueError(f"image_size is {fields['image_size']!r} in place of a height and a width")
        if not isinstance(found.interpolation, str) or not _is_number(found.crop_fraction):
            raise ValueError("interpolation takes a name and crop_fraction a number")
        return found

    def for_channels(self, channels: int) -> "Preprocessing":
        """Return the same for pictures of another number of channels: the mean for one, else the values in turn."""
        if channels == self.channels:
            return self
        return replace(self, mean=_spread(self.mean, channels), std=_spread(self.std, channels))

    def normalize(self, images: Tensor) -> Tensor:
        """Normalise pictures.

        Args:
            images: ``[B, C, H, W]``, uint8 in [0, 255] or float in [0, 1].

        Returns:
            float32 of the same shape.
        """
        values = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(-1, 1, 1)
        return (values - mean) / std


def is_size(sides: object) -> bool:
    """Whether this is a height and a width: two whole numbers from 1 on."""
    if not isinstance(sides, list | tuple) or len(sides) != 2:
        return False
    return all(type(side) is int and side >= 1 for side in sides)


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[index % len(values)] for index in range(channels))
