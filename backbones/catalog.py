"""The trunks by name, and building one."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from .alexnet import build_alexnet
from .architecture import Architecture, Builder, Options, check_options
from .assembly import assemble, has_hidden_buffers, measure, measure_specs, on_meta
from .base import Backbone
from .efficientnet import build_efficientnet_lite0
from .errors import UserError, unknown
from .googlenet import build_googlenet
from .lenet import build_lenet
from .preprocessing import Preprocessing
from .resnet import build_resnet
from .spec import FeatureSpec
from .strict_loading import LoadReport, load_strict
from .timm_net import PREFIX, build_timm, check_timm_name, read_timm_file
from .vgg import build_vgg
from .weights import WeightSource, read_state, resolve_weights

VGGS = ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d")

BACKBONES: dict[str, Builder] = {
    "lenet": build_lenet,
    "alexnet": build_alexnet,
    **{name: partial(build_vgg, name) for name in VGGS},
    "googlenet": build_googlenet,
    **{name: partial(build_resnet, name) for name in RESNETS},
    "efficientnet_lite0": build_efficientnet_lite0,
}


def backbone_names() -> list[str]:
    """Return the names of the trunks; ``timm/<name>`` comes on top."""
    return list(BACKBONES)


def build_backbone(
    name: str,
    *,
    weights: str | WeightSource = "imagenet",
    levels: Sequence[str] | None = None,
    in_channels: int = 3,
    output_stride: int = 32,
    image_size: tuple[int, int] | None = None,
    progress: bool = True,
) -> Backbone:
    """Build a trunk and fill it with weights.

    Args:
        name: One of ``backbone_names()``, or ``timm/<name>`` for any network of timm.
        weights: ``imagenet`` for the best-known set, a set's name, ``timm/<network>.<tag>``, a file, a run or model
            folder, an address, or ``none``; or what ``resolve_weights`` makes of it.
        levels: What ``forward`` returns; None for every ``cK`` and ``embedding``. What none of them needs is left out.
        in_channels: Channels of the pictures; other than 3 the pretrained first convolution is adapted.
        output_stride: Stride of the deepest map: 32, or 16 or 8 for ResNets and VGG.
        image_size: Height and width, for networks that take one size only (LeNet, many transformers).
        progress: Whether a download shows its progress.

    Raises:
        UserError: A name, a size or the weights can't be had; the message says what can.
    """
    builder = find_builder(name)
    options = Options(in_channels, output_stride, None if image_size is None else (image_size[0], image_size[1]))
    check_options(name, options)
    source = resolve_weights(name, weights) if isinstance(weights, str) else weights
    twin = on_meta(builder, options)
    complete = twin.network.state_dict()
    asked = default_levels(twin) if levels is None else list(levels)
    facts = measure(name, builder, options, tuple(asked))
    backbone = assemble(name, twin, asked, options, facts=facts)
    if source.is_none or has_hidden_buffers(backbone.network):
        backbone = assemble(name, builder(options), asked, options, facts=facts)
    else:
        backbone.to_empty(device="cpu")  # every value comes from the file: no time is spent on random ones
    if not source.is_none:
        path = source.fetch(progress=progress)
        backbone.notes = load_into(backbone, twin, complete, read_values(name, source, path, options), str(path)).notes
        backbone.preprocessing = preprocessing_of(source, twin, options)
    backbone.weights = source.text
    backbone.recipe = {
        "name": name,
        "levels": list(backbone.levels),
        "in_channels": in_channels,
        "output_stride": output_stride,
        "image_size": None if image_size is None else list(image_size),
    }
    return backbone


def find_specs(
    name: str, *, in_channels: int = 3, output_stride: int = 32, image_size: Sequence[int] | None = None
) -> Mapping[str, FeatureSpec]:
    """Return the ``specs`` of the trunk that ``build_backbone`` would build with these arguments, without values.

    Raises:
        UserError: As ``build_backbone``, but for weights.
    """
    options = Options(in_channels, output_stride, None if image_size is None else (image_size[0], image_size[1]))
    builder = find_builder(name)
    check_options(name, options)
    return measure_specs(name, builder, options)[0]


def default_levels(architecture: Architecture) -> list[str]:
    """Return every ``cK`` and ``embedding``."""
    return [level for level in architecture.flow.offered() if level != "logits"]


def read_values(name: str, source: WeightSource, path: Path, options: Options) -> Mapping[str, Tensor]:
    """Return a file's tensors; what timm publishes for its own networks goes through timm's conversion.

    Raises:
        UserError: The file is damaged or of another network.
    """
    if source.state is not None:
        return source.state
    if name.startswith(PREFIX) and source.published is not None and source.published.name.startswith(PREFIX):
        return read_timm_file(source.published.name, path, options)
    return read_state(path)


def load_into(
    backbone: Backbone, twin: Architecture, complete: Mapping[str, Tensor], state: Mapping[str, Tensor], origin: str
) -> LoadReport:
    """Fill a trunk from a file's tensors, strictly.

    Args:
        backbone: What is filled.
        twin: What it was built from.
        complete: State of the complete network, before anything was left out.
        state: The file's tensors.
        origin: The file, for messages.

    Raises:
        UserError: Names or shapes differ.
    """
    if twin.convert is not None:
        state = twin.convert(state, complete)
    kept = backbone.network.state_dict()
    unused = {key: tensor for key, tensor in complete.items() if key not in kept}
    return load_strict(backbone.network, state, origin=origin, unused=unused, spare=twin.spare, stem=twin.stem)


def preprocessing_of(source: WeightSource, architecture: Architecture, options: Options) -> Preprocessing:
    """Return what the weights expect of pictures, for the channels and the size that the network was built for."""
    own = architecture.preprocessing
    if source.preprocessing is None:
        return own
    result = source.preprocessing.for_channels(options.in_channels)
    if architecture.keeps_normalization:
        result = replace(result, mean=own.mean, std=own.std)
    return replace(result, image_size=own.image_size) if architecture.is_fixed_size else result


@functools.cache
def find_builder(name: str) -> Builder:
    """Return the builder of a trunk.

    Raises:
        UserError: There is none of that name.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if name.startswith(PREFIX):
        check_timm_name(name)
        return partial(build_timm, name)
    import timm

    if timm.is_model(name.partition(".")[0]):
        raise UserError(f"Unknown backbone '{name}'. timm has a network of that name: ask for '{PREFIX}{name}'.")
    raise unknown("backbone", name, [*BACKBONES, f"{PREFIX}<name>"])
