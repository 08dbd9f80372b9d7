"""From an architecture to a measured trunk. Shapes are measured on the meta device, never typed in."""

import functools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .architecture import Architecture, Builder, Options
from .base import Backbone
from .flow import Facts
from .parts import watch_calls
from .shapes_only import ShapesOnly
from .spec import LEVELS, FeatureSpec, sorted_levels
from .taps import disable_in_place
from .timm_net import TimmFlow

CANVASES = (224, 256, 320)
STEPS = (1, 2, 4, 8, 16, 32)


def run_on_meta(backbone: Backbone, image_size: tuple[int, int]) -> dict[str, Tensor]:
    """Return the levels of one picture of ``image_size`` for a backbone on the meta device: shapes, no values."""
    training = backbone.training
    backbone.eval()  # batch norm in training mode refuses a single value, whatever the size of the picture
    try:
        with torch.no_grad(), ShapesOnly():
            return dict(backbone(torch.empty(1, backbone.in_channels, *image_size, device="meta")))
    finally:
        backbone.train(training)


@functools.cache
def measure_specs(name: str, builder: Builder, options: Options) -> tuple[Mapping[str, FeatureSpec], tuple[float, ...]]:
    """Return the spec of every ``cK`` and the stride of every map, shallow to deep.

    A stride is how many more pixels make one more cell, so that unpadded layers don't blur it.
    """
    architecture = on_meta(builder, options)
    flow = architecture.flow
    levels = sorted_levels(flow.offered())
    if not levels:
        return {}, flow.strides if isinstance(flow, TimmFlow) else ()
    backbone = assemble(name, architecture, levels, options)
    if isinstance(flow, TimmFlow) and architecture.is_fixed_size:
        specs = _specs_of_one_size(backbone, architecture.preprocessing.image_size, flow)
        return specs, flow.strides
    shapes = {side: run_on_meta(backbone, (side, side)) for side in CANVASES}
    specs = {level: _spec({side: shapes[side][level].shape for side in CANVASES}) for level in levels}
    strides = flow.strides if isinstance(flow, TimmFlow) else tuple(spec.stride for spec in specs.values())
    return specs, strides


def _spec(shapes: Mapping[int, torch.Size]) -> FeatureSpec:
    near, far = CANVASES[-2:]
    stride = (far - near) // (shapes[far][-1] - shapes[near][-1])
    is_exact = all(shape[-1] * stride == side for side, shape in shapes.items())
    return FeatureSpec(channels=shapes[far][1], stride=stride, is_exact=is_exact)


def _specs_of_one_size(backbone: Backbone, size: tuple[int, int], flow: TimmFlow) -> dict[str, FeatureSpec]:
    shapes = {level: tensor.shape for level, tensor in run_on_meta(backbone, size).items()}
    strides = {level: int(flow.strides[flow.indices[level]]) for level in shapes}
    return {level: FeatureSpec(channels=shape[1], stride=strides[level]) for level, shape in shapes.items()}


def on_meta(builder: Builder, options: Options) -> Architecture:
    """Return the architecture with a network that has shapes and no values; it draws no random numbers."""
    with torch.device("meta"), ShapesOnly():
        return builder(options)


def assemble(
    name: str, architecture: Architecture, levels: Sequence[str], options: Options, *, facts: Facts | None = None
) -> Backbone:
    """Return a trunk that returns ``levels``; without ``facts`` it is only there to be measured."""
    disable_in_place(architecture.network)
    backbone = Backbone(
        name=name,
        network=architecture.network,
        flow=architecture.flow,
        levels=levels,
        in_channels=options.in_channels,
        facts=facts,
    )
    backbone.preprocessing = architecture.preprocessing
    return backbone


@functools.lru_cache(maxsize=128)  # several trunks of a kind in a process: seeds, folds, a loaded model
def measure(name: str, builder: Builder, options: Options, levels: tuple[str, ...]) -> Facts:
    """Return what a trunk tells about itself on the meta device; measured once for each kind of trunk.

    Raises:
        UserError: No level or module has one of the names.
    """
    architecture = on_meta(builder, options)
    backbone = assemble(name, architecture, levels, options)
    size = architecture.preprocessing.image_size
    specs, map_strides = measure_specs(name, builder, options)
    embedding_dim, num_logits = measure_vectors(name, builder, options)
    images = torch.empty(1, backbone.in_channels, *size, device="meta")
    with watch_calls(backbone.network) as called:
        maps = run_on_meta(backbone, size)
    return Facts(
        specs=specs,
        map_strides=map_strides,
        embedding_dim=embedding_dim,
        num_logits=num_logits,
        shapes={level: tuple(tensor.shape[1:]) for level, tensor in maps.items()},
        parts=backbone.flow.parts(backbone.network, images),
        called=frozenset(called),
        image_size=size,
        is_fixed_size=architecture.is_fixed_size,
        min_size=min(size) if architecture.is_fixed_size else _smallest_size(backbone),
    )


def _smallest_size(backbone: Backbone) -> int:
    """Return the smallest side of a square picture that the trunk takes, by bisection over the sides it can take."""
    if _takes(backbone, 1):
        return 1
    side = CANVASES[1]
    step = next((step for step in STEPS if _takes(backbone, side + step)), STEPS[-1])  # patches: not every side
    low, high = 0, side // step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _takes(backbone, middle * step) else (middle, high)
    return high * step


def _takes(backbone: Backbone, side: int) -> bool:
    try:
        run_on_meta(backbone, (side, side))
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True


@functools.cache
def measure_vectors(name: str, builder: Builder, options: Options) -> tuple[int, int]:
    """Return the lengths of the embedding and of the logits, 0 where the network has none."""
    architecture = on_meta(builder, options)
    levels = [level for level in architecture.flow.offered() if level not in LEVELS]
    backbone = assemble(name, architecture, levels, options)
    found = run_on_meta(backbone, architecture.preprocessing.image_size)
    return tuple(found[level].shape[1] if level in found else 0 for level in ("embedding", "logits"))  # type: ignore[return-value]


def has_hidden_buffers(network: nn.Module) -> bool:
    """Return whether the network has buffers that no file holds, so that only a real build fills them."""
    return any(name not in network.state_dict() for name, _ in network.named_buffers())
