"""What a detection head asks of a trunk and of the canvas, known from specs before anything is built."""

from collections.abc import Mapping, Sequence

from ...backbones.errors import UserError, unknown
from ...backbones.spec import LEVELS, FeatureSpec, sorted_levels
from .options import HEADS, HeadName

CANVAS_STEP = 32
"""Sides of a canvas are multiples of it, so that every level has a whole number of cells."""

USUAL_LEVELS: Mapping[HeadName, tuple[str, ...]] = {
    "faster_rcnn": ("c2", "c3", "c4", "c5"),
    "mask_rcnn": ("c2", "c3", "c4", "c5"),
    "retinanet": ("c3", "c4", "c5"),
    "fcos": ("c3", "c4", "c5"),
    "ssd": ("c3", "c4"),
}
"""What each head reads of a trunk that has it; torchvision's detectors the same."""


def levels_read(name: HeadName, specs: Mapping[str, FeatureSpec], wanted: Sequence[str] | None = None) -> list[str]:
    """Return the levels of the trunk that a head reads, shallow to deep.

    Args:
        name: Of the head.
        specs: Of the trunk.
        wanted: Those that were asked for; unset: the head's usual ones that the trunk has.

    Raises:
        UserError: Naming what was asked for and isn't there, or has a gap.
    """
    if wanted is None:
        return [level for level in USUAL_LEVELS[name] if level in specs]
    for level in wanted:
        if level not in specs:
            raise unknown("level in --head-options.levels", level, specs)
    if name == "ssd" and tuple(wanted) != USUAL_LEVELS["ssd"]:
        raise UserError("--head ssd reads c3 and c4 and makes the deeper maps itself; leave --head-options.levels out.")
    places = [LEVELS.index(level) for level in wanted]
    if not wanted or places != list(range(places[0], places[0] + len(places))):
        raise UserError(
            f"--head-options.levels takes levels one after the other, such as c3 c4 c5, not {' '.join(wanted)}."
        )
    return list(wanted)


def refusal(
    name: HeadName,
    specs: Mapping[str, FeatureSpec],
    canvas: tuple[int, int] | None = None,
    wanted: Sequence[str] | None = None,
) -> str | None:
    """Return why a head doesn't go with a trunk or a canvas, in full sentences; None if it does.

    Args:
        name: Of the head.
        specs: Of the trunk.
        canvas: Height and width of the pictures; None to ask about the trunk alone.
        wanted: The levels that were asked for, where they were.

    Raises:
        UserError: There is no such head, or the levels that were asked for can't be read.
    """
    if name not in HEADS:
        raise unknown("head", name, HEADS)
    offered = ", ".join(sorted_levels(tuple(specs))) or "none with a stride of 2**K"
    if len(specs) <= 1:
        return (
            f"detectors need maps of several sizes, and this trunk has {offered}. It still classifies from its "
            "embedding; for detection take e.g. resnet50 or efficientnet_lite0."
        )
    read = levels_read(name, specs, wanted)
    if name == "ssd" and read != list(USUAL_LEVELS["ssd"]):
        return f"ssd reads c3 and c4, and this trunk has {offered}. Take another trunk, e.g. vgg16."
    if not wanted and (len(read) < 2 or read[-1] < "c4"):
        return f"{name} reads {', '.join(USUAL_LEVELS[name])}, and this trunk has {offered}. Take another trunk."
    if canvas is not None and any(side % CANVAS_STEP for side in canvas):
        nearest = "x".join(str(max(1, round(side / CANVAS_STEP)) * CANVAS_STEP) for side in canvas)
        given = "x".join(map(str, canvas))
        return f"{name} needs a canvas whose sides are multiples of {CANVAS_STEP}, not {given}. Nearest: {nearest}."
    return None
