"""What a dense head asks of a trunk and of the canvas, known from specs before anything is built."""

import functools
from collections.abc import Mapping, Sequence

from ...backbones.architecture import Options
from ...backbones.assembly import on_meta
from ...backbones.catalog import find_builder
from ...backbones.errors import UserError, unknown
from ...backbones.spec import LEVELS, FeatureSpec, sorted_levels
from .names import DECODERS, DecoderName

CANVAS_STEP = 32
"""Sides of a canvas are multiples of it: decoders double the deepest map five times."""

PYRAMID: tuple[str, ...] = ("c2", "c3", "c4", "c5")
READS: dict[DecoderName, tuple[str, ...]] = {
    "fcn32s": ("c5",),
    "fcn16s": ("c4", "c5"),
    "fcn8s": ("c3", "c4", "c5"),
    "fpn": PYRAMID,
    "deeplabv3": ("c5",),
    "deeplabv3plus": ("c2", "c5"),
    "upernet": PYRAMID,
    "pan": PYRAMID,
}
"""Levels without which a head can't be built; the others take what the trunk has, see ``levels_read``."""

TAKES_ALL: tuple[DecoderName, ...] = ("unet", "unetplusplus", "linknet", "manet")
"""Heads that have a block for each level down to the trunk's deepest; one that is missing has no skip connection."""

DEEP_ENOUGH = "c2"
"""The deepest level must be at least this for them: U-Net++ has no dense connections above."""

PSPNET_GRIDS = 4
"""PSPNet gives each of its four grids a quarter of the channels it reads."""

OUTPUT_STRIDES: dict[DecoderName, tuple[int, ...]] = {
    "deeplabv3": (8, 16),
    "deeplabv3plus": (8, 16),
    "pan": (16, 32),
}
"""Strides of ``c5`` that a head can be built for, where it isn't 32 anyway."""

PAN_CELLS = 8
"""PAN halves ``c5`` three times (its feature pyramid attention); below 8x8 cells nothing is left."""


def levels_read(name: DecoderName, specs: Mapping[str, FeatureSpec]) -> tuple[str, ...]:
    """Return the levels of the trunk that a head reads, shallow to deep.

    U-Net, U-Net++, LinkNet and MA-Net read everything from ``c1`` on; of them U-Net++, whose skip connections make
    maps of the width of each level, can do without ``c1`` only. PSPNet reads ``c3``, or the level nearest to it of a
    trunk that ends before.
    """
    if name in READS:
        return READS[name]
    levels = tuple(level for level in sorted_levels(tuple(specs)) if level != "c0")
    if name == "unetplusplus" and levels:
        return tuple(level for level in LEVELS if level in levels or "c2" <= level <= levels[-1])
    if name in TAKES_ALL:
        return levels
    return tuple(level for level in levels if level <= "c3")[-1:]


def uses_dilation(name: DecoderName) -> bool:
    """Return whether a head wants ``c5`` at a smaller stride than 32."""
    return name in OUTPUT_STRIDES


def check_output_stride(name: DecoderName, output_stride: int) -> None:
    """Refuse a stride of ``c5`` that a head can't be built for; heads that read it at 32 take any.

    Raises:
        UserError: Naming those it can.
    """
    allowed = OUTPUT_STRIDES.get(name)
    if allowed and output_stride not in allowed:
        text = " or ".join(str(stride) for stride in allowed)
        raise UserError(f"{name} takes c5 at an output stride of {text}, not {output_stride}.")


def choose_output_stride(head_name: DecoderName, backbone_name: str, wanted: int) -> int:
    """Return the output stride to build a trunk with: ``wanted`` if head and trunk go with it, else 32.

    With 32, a head that wants less interpolates ``c5``.

    Raises:
        UserError: The head can't be built for ``wanted``, or there is no such trunk.
    """
    if not uses_dilation(head_name):
        return CANVAS_STEP
    check_output_stride(head_name, wanted)
    return wanted if can_be_dilated(backbone_name, wanted) else CANVAS_STEP


@functools.cache
def can_be_dilated(backbone_name: str, output_stride: int) -> bool:
    """Return whether a trunk can be built with an output stride; tried on the meta device, where it costs little.

    Raises:
        UserError: There is no such trunk.
    """
    builder = find_builder(backbone_name)
    try:
        on_meta(builder, Options(output_stride=output_stride))
    except UserError:
        return False
    return True


def refusal(
    name: DecoderName,
    specs: Mapping[str, FeatureSpec],
    canvas: tuple[int, int] | None = None,
    *,
    output_stride: int = 16,
) -> str | None:
    """Return why a head doesn't go with a trunk or a canvas, in full sentences; None if it does.

    Args:
        name: Of the head.
        specs: Of the trunk.
        canvas: Height and width of the pictures; None to ask about the trunk alone.
        output_stride: Stride of ``c5`` that the head is built for, where it isn't 32 anyway.

    Raises:
        UserError: There is no such head.
    """
    if name not in DECODERS:
        raise unknown("head", name, DECODERS)
    reason = _refuse_trunk(name, specs)
    if reason or canvas is None:
        return reason
    return _refuse_canvas(name, canvas, output_stride)


def _refuse_trunk(name: DecoderName, specs: Mapping[str, FeatureSpec]) -> str | None:
    if len(specs) <= 1:
        return _refuse_single(specs)
    read, offered = levels_read(name, specs), _listed(tuple(specs))
    if missing := [level for level in read if level not in specs]:
        return (
            f"{name} reads {_listed(read)}, and this trunk has no {_listed(missing)}, only {offered}. {_advice(specs)}"
        )
    if name in TAKES_ALL and read[-1] < DEEP_ENOUGH:
        return f"{name} reads down to {DEEP_ENOUGH} at least, and this trunk has only {offered}. {_advice(specs)}"
    if not read:
        return f"{name} reads c3 or a shallower map, and this trunk has only {offered}. {_advice(specs)}"
    channels = specs[read[-1]].channels
    if name == "pspnet" and channels % PSPNET_GRIDS:
        return (
            f"pspnet shares the channels of {read[-1]} out among {PSPNET_GRIDS} grids, and this trunk's {channels}"
            f" can't be divided by that. {_advice(specs)}"
        )
    return None


def _refuse_single(specs: Mapping[str, FeatureSpec]) -> str:
    sizes = [f"one size only ({level}, stride {spec.stride})" for level, spec in specs.items()]
    return (
        "dense heads need maps of several sizes, and this trunk has "
        f"{sizes[0] if sizes else 'none with a stride of 2**K'}. It still classifies from its embedding; for "
        "dense tasks take e.g. resnet50 or efficientnet_lite0."
    )


def _advice(specs: Mapping[str, FeatureSpec]) -> str:
    head = ", or the head unet" if sorted_levels(tuple(specs))[-1] >= DEEP_ENOUGH else ""
    return f"Take another trunk, e.g. resnet50{head}."


def _listed(levels: Sequence[str]) -> str:
    return " and ".join([", ".join(levels[:-1]), levels[-1]] if len(levels) > 1 else levels)


def smallest_side(name: DecoderName, output_stride: int = 16) -> int:
    """Return the smallest side of a canvas that a head works on, in pixels."""
    return PAN_CELLS * output_stride if name == "pan" else CANVAS_STEP


def _refuse_canvas(name: DecoderName, canvas: tuple[int, int], output_stride: int) -> str | None:
    given, least = _size(canvas), smallest_side(name, output_stride)
    if any(side % CANVAS_STEP for side in canvas):
        below = [side // CANVAS_STEP * CANVAS_STEP for side in canvas]
        above = [-(-side // CANVAS_STEP) * CANVAS_STEP for side in canvas]
        nearest = " or ".join(_size(sides) for sides in (below, above) if min(sides) >= least) or _size((least, least))
        return f"{name} needs a canvas whose sides are multiples of {CANVAS_STEP}, not {given}. Nearest: {nearest}."
    if min(canvas) < least:
        enough = _size([max(side, least) for side in canvas])
        return (
            f"{name} needs a canvas of at least {least}x{least}, not {given}: it halves c5 three times."
            f" Take {enough}, or another head such as fpn."
        )
    return None


def _size(sides: Sequence[int]) -> str:
    return "x".join(str(side) for side in sides)
