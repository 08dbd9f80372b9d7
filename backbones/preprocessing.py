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
        """Return what ``to_dict`` wrote."""
        values: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in fields.items()}
        return cls(**values)

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


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[index % len(values)] for index in range(channels))
