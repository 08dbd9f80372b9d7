"""The trunk as a training command's options ask for it."""

from collections.abc import Sequence

from ..backbones import Backbone, build_backbone
from ..backbones.architecture import Options
from ..backbones.assembly import on_meta
from ..backbones.catalog import find_builder
from ..backbones.errors import UserError
from ..backbones.spec import PREPOOL, sorted_levels
from ..backbones.weights import WeightSource
from .config import TrainingOptions, canvas_of
from .option_checks import frozen_epochs

_DIMENSIONS_OF_A_MAP = 3


def deepest_level(options: TrainingOptions) -> str:
    """Return the deepest map of a trunk, known before it is built; ``embedding`` of one without maps.

    Raises:
        UserError: If there is no such trunk.
    """
    structure = Options(options.channels, 32, canvas_of(options.image_size))
    offered = on_meta(find_builder(options.backbone), structure).flow.offered()
    return ([*sorted_levels(offered)] or ["embedding"])[-1]


def level_channels(backbone: Backbone, levels: Sequence[str], *, head: str, reads_vectors: bool) -> list[int]:
    """Return the channels of the levels that a head reads, any that the trunk was built to give.

    Args:
        backbone: The trunk.
        levels: Among them maybe the path of a module.
        head: Its name, for the message.
        reads_vectors: Whether it reads vectors as well as maps.

    Raises:
        UserError: If one is no map, and the head needs maps.
    """
    shapes = {level: backbone.facts.shapes[level] for level in levels}
    for level, shape in shapes.items():
        if not reads_vectors and len(shape) != _DIMENSIONS_OF_A_MAP:
            maps = ", ".join([*backbone.specs, PREPOOL]) if backbone.specs else "none"
            raise UserError(
                f"--head {head} looks around in a map, and '{level}' of {backbone.name} is a vector of {shape[0]} "
                f"numbers. Maps of {backbone.name}: {maps}."
            )
    return [shape[0] for shape in shapes.values()]


def build_trunk(
    options: TrainingOptions, levels: Sequence[str], *, output_stride: int = 32, weights: WeightSource | None = None
) -> Backbone:
    """Return a trunk with its weights, of which only what the options say will be trained.

    Args:
        options: Network, weights, channels, canvas, and what is frozen and tuned.
        levels: What the head reads.
        output_stride: Of the deepest map; below 32 the trunk is dilated.
        weights: In place of what the options say, where a file that they name holds more than a trunk.

    Raises:
        UserError: For a network, weights, or a part to freeze or tune that isn't there.
    """
    backbone = build_backbone(
        options.backbone,
        weights=weights or options.weights,
        levels=levels,
        in_channels=options.channels,
        output_stride=output_stride,
        image_size=canvas_of(options.image_size),
    )
    for note in backbone.notes:
        print(note)
    backbone.freeze("all" if frozen_epochs(options.freeze) else options.freeze)
    if options.tune != "full":
        backbone.tune(options.tune, rank=options.lora.rank, alpha=options.lora.alpha)
    if options.fit.checkpoint_activations:
        backbone.checkpoint_activations()
    return backbone
