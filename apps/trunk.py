"""The trunk as a training command's options ask for it."""

from collections.abc import Sequence

from ..backbones import Backbone, build_backbone
from ..backbones.architecture import Options
from ..backbones.assembly import on_meta
from ..backbones.catalog import find_builder
from ..backbones.spec import sorted_levels
from ..backbones.weights import WeightSource
from .config import TrainingOptions, canvas_of
from .option_checks import frozen_epochs


def deepest_level(options: TrainingOptions) -> str:
    """Return the deepest map of a trunk, known before it is built; ``embedding`` of one without maps.

    Raises:
        UserError: If there is no such trunk.
    """
    structure = Options(options.channels, 32, canvas_of(options.image_size))
    offered = on_meta(find_builder(options.backbone), structure).flow.offered()
    return ([*sorted_levels(offered)] or ["embedding"])[-1]


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
