"""Test-time views: a network sees each image several times, mirrored and cropped, and its outputs are merged.

A view changes what is on the canvas, and keeps the canvas unless other scales are asked for, so the trunk sees the
shape that it was trained on. Every app has views whose head knows how to merge outputs (``Head.merge_views``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..backbones.errors import UserError
from .config import CheckedOptions

if TYPE_CHECKING:  # the options are read before anything heavy is imported
    from torch import Tensor

#: The side of a crop, as a share of the canvas: 224 of 256 pixels (Krizhevsky 2012, section 4.1).
_CROP_SIDE = 7 / 8
#: Sides of a canvas are multiples of it: the stride of the deepest map.
_STEP = 32
_WHOLE = (0.0, 0.0, 1.0)


@dataclass(kw_only=True)
class FlipOptions(CheckedOptions):
    """Whether a network looks at the mirror image too."""

    flips: bool = False
    """Look at each image and its mirror image, and take the mean of the probabilities: twice the time."""


@dataclass(kw_only=True)
class ViewOptions(FlipOptions):
    """How often a network looks at an image."""

    crops: int = 1
    """5: look at four corners and the centre of the canvas, each 7/8 of its height and width and enlarged to all of it,
    and take the mean of the probabilities (Krizhevsky 2012; with --flips their ten views). 1: the whole canvas."""

    def __post_init__(self) -> None:
        """Refuse a number of crops that has no layout."""
        super().__post_init__()
        if self.crops not in (1, 5):
            raise UserError(f"--crops takes 1 for the whole picture, or 5 for corners and centre, not {self.crops}.")


@dataclass(kw_only=True)
class ScaleOptions(FlipOptions):
    """How often a network looks at an image whose pixels it labels."""

    scales: list[float] | None = None
    """Look at the canvas in these sizes, such as 0.75 1 1.25, and take the mean of the probabilities; unset: as it
    is."""

    def __post_init__(self) -> None:
        """Refuse sizes that mean nothing."""
        super().__post_init__()
        given = self.scales
        if given is not None and (not given or len(set(given)) < len(given) or min(given) < 0.25 or max(given) > 4):
            raise UserError(f"--scales takes different numbers from 0.25 to 4, not {given}.")


@dataclass(frozen=True)
class View:
    """One way to look at the canvas.

    Attributes:
        name: For the card.
        region: Top, left and side of the part that is enlarged to the canvas, as shares of its height and width.
        is_mirrored: Whether left and right change places.
        scale: How many times as large the canvas is.
    """

    name: str
    region: tuple[float, float, float] = _WHOLE
    is_mirrored: bool = False
    scale: float = 1.0

    def canvas(self, canvas: tuple[int, int]) -> tuple[int, int]:
        """Return the canvas of the view for that of the batch: multiples of 32 again, as every head can take."""
        if self.scale == 1:
            return canvas
        height, width = (max(_STEP, round(side * self.scale / _STEP) * _STEP) for side in canvas)
        return height, width

    def __call__(self, images: Tensor) -> Tensor:
        """Return normalised images ``[B, C, H, W]`` as the view shows them, in the shape of its canvas."""
        from torch.nn.functional import interpolate

        shown = images
        if self.region != _WHOLE:
            height, width = images.shape[-2:]
            top, left, side = self.region
            rows, columns = max(1, round(side * height)), max(1, round(side * width))
            first_row, first_column = round(top * height), round(left * width)
            part = images[..., first_row : first_row + rows, first_column : first_column + columns]
            shown = interpolate(part, size=(height, width), mode="bilinear", align_corners=False)
        if self.scale != 1:
            size = self.canvas((shown.shape[-2], shown.shape[-1]))
            shown = interpolate(shown, size=size, mode="bilinear", align_corners=False, antialias=True)
        return shown.flip(-1) if self.is_mirrored else shown


def make_views(options: FlipOptions) -> tuple[View, ...]:
    """Return the views that the options ask for; none where the whole canvas, as it is, is all."""
    views = [View("whole canvas")]
    if isinstance(options, ViewOptions) and options.crops == 5:
        rest = 1 - _CROP_SIDE
        corners = {"top left": (0, 0), "top right": (0, rest), "bottom left": (rest, 0), "bottom right": (rest, rest)}
        places = {**corners, "centre": (rest / 2, rest / 2)}
        views = [View(name, (top, left, _CROP_SIDE)) for name, (top, left) in places.items()]
    if isinstance(options, ScaleOptions) and options.scales is not None:
        views = [View(f"canvas times {scale:g}", scale=scale) for scale in options.scales]
    if options.flips:
        views += [replace(view, name=f"{view.name}, mirrored", is_mirrored=True) for view in views]
    return tuple(views) if len(views) > 1 or views[0].scale != 1 else ()
