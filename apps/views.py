"""Test-time views: a network sees each image several times, mirrored and cropped, and its outputs are merged.

A view changes what is on the canvas and keeps the canvas, so the trunk sees the shape that it was trained on, and every
app has views whose head knows how to merge outputs (``Head.merge_views``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backbones.errors import UserError
from .config import CheckedOptions

if TYPE_CHECKING:  # the options are read before anything heavy is imported
    from torch import Tensor

#: The side of a crop, as a share of the canvas: 224 of 256 pixels (Krizhevsky 2012, section 4.1).
_CROP_SIDE = 7 / 8
_WHOLE = (0.0, 0.0, 1.0)


@dataclass(kw_only=True)
class ViewOptions(CheckedOptions):
    """How often a network looks at an image."""

    flips: bool = False
    """Look at each image and its mirror image, and take the mean of the probabilities: twice the time."""
    crops: int = 1
    """5: look at four corners and the centre of the canvas, each 7/8 of its height and width and enlarged to all of it,
    and take the mean of the probabilities (Krizhevsky 2012; with --flips their ten views). 1: the whole canvas."""

    def __post_init__(self) -> None:
        """Refuse a number of crops that has no layout."""
        super().__post_init__()
        if self.crops not in (1, 5):
            raise UserError(f"--crops takes 1 for the whole picture, or 5 for corners and centre, not {self.crops}.")


@dataclass(frozen=True)
class View:
    """One way to look at the canvas.

    Attributes:
        name: For the card.
        region: Top, left and side of the part that is enlarged to the canvas, as shares of its height and width.
        is_mirrored: Whether left and right change places.
    """

    name: str
    region: tuple[float, float, float] = _WHOLE
    is_mirrored: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        """Return normalised images ``[B, C, H, W]`` as the view shows them, in the same shape."""
        from torch.nn.functional import interpolate

        shown = images
        if self.region != _WHOLE:
            height, width = images.shape[-2:]
            top, left, side = self.region
            rows, columns = max(1, round(side * height)), max(1, round(side * width))
            first_row, first_column = round(top * height), round(left * width)
            part = images[..., first_row : first_row + rows, first_column : first_column + columns]
            shown = interpolate(part, size=(height, width), mode="bilinear", align_corners=False)
        return shown.flip(-1) if self.is_mirrored else shown


def make_views(options: ViewOptions) -> tuple[View, ...]:
    """Return the views that the options ask for; none where the whole canvas, as it is, is all."""
    views = [View("whole canvas")]
    if options.crops == 5:
        rest = 1 - _CROP_SIDE
        corners = {"top left": (0, 0), "top right": (0, rest), "bottom left": (rest, 0), "bottom right": (rest, rest)}
        places = {**corners, "centre": (rest / 2, rest / 2)}
        views = [View(name, (top, left, _CROP_SIDE)) for name, (top, left) in places.items()]
    if options.flips:
        views += [View(f"{view.name}, mirrored", view.region, is_mirrored=True) for view in views]
    return tuple(views) if len(views) > 1 else ()
