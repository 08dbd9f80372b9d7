"""What there is to know about a trunk before it is used; nothing is downloaded and no values are made."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.utils.flop_counter import FlopCounterMode

from .architecture import Architecture, Options
from .assembly import assemble, measure_specs, measure_vectors, on_meta
from .catalog import backbone_names, default_levels, find_builder
from .shapes_only import ShapesOnly
from .spec import FeatureSpec
from .weight_sets import WeightSet, available_weights

WEIGHTED = ("ConvolutionBackward0", "AddmmBackward0", "MmBackward0", "LinearBackward0")
"""What autograd calls convolutions and linear layers."""


@dataclass(frozen=True)
class BackboneDescription:
    """One row of ``backbones list``.

    Attributes:
        name: As in ``build_backbone``.
        parameters: Of the complete network with its classifier.
        gmacs: Multiply-adds of one picture of ``image_size`` through the complete network, in thousand millions.
        depth: Convolutions and linear layers on the longest path, as in the names of ResNet-50 and VGG-16.
        image_size: Height and width that ``gmacs`` holds for.
        specs: The maps it offers, shallow to deep.
        embedding_dim: Length of ``embedding``.
        num_logits: Length of ``logits``, 0 without a classifier.
        weight_sets: Published weights, the best known first.
        about: What a person should know about it.
    """

    name: str
    parameters: int
    gmacs: float
    depth: int
    image_size: tuple[int, int]
    specs: Mapping[str, FeatureSpec]
    embedding_dim: int
    num_logits: int
    weight_sets: tuple[WeightSet, ...]
    about: str

    @property
    def offline_weights(self) -> tuple[str, ...]:
        """Names of the weight sets that are on this machine."""
        return tuple(each.name for each in self.weight_sets if each.is_local)


def list_rows() -> list[BackboneDescription]:
    """Describe every trunk of the catalogue."""
    return [describe(name) for name in backbone_names()]


def describe(name: str) -> BackboneDescription:
    """Describe a trunk of the catalogue, or ``timm/<name>``.

    Raises:
        UserError: There is none of that name.
    """
    builder = find_builder(name)
    options = Options(in_channels=1) if name == "lenet" else Options()
    architecture = on_meta(builder, options)
    parameters = sum(parameter.numel() for parameter in architecture.network.parameters())
    macs, depth = _count(name, architecture, options)
    embedding_dim, num_logits = measure_vectors(name, builder, options)
    return BackboneDescription(
        name=name,
        parameters=parameters,
        gmacs=macs / 1e9,
        depth=depth,
        image_size=architecture.preprocessing.image_size,
        specs=measure_specs(name, builder, options)[0],
        embedding_dim=embedding_dim,
        num_logits=num_logits,
        weight_sets=tuple(available_weights(name)),
        about=architecture.about,
    )


def _count(name: str, architecture: Architecture, options: Options) -> tuple[int, int]:
    """Return multiply-adds and depth of the complete network."""
    offered = architecture.flow.offered()
    last = "logits" if "logits" in offered else default_levels(architecture)[-1]
    backbone = assemble(name, architecture, [last], options).eval()
    images = torch.empty(1, options.in_channels, *architecture.preprocessing.image_size, device="meta")
    with FlopCounterMode(display=False) as counter, ShapesOnly():
        output = backbone(images)[last]
    return counter.get_total_flops() // 2, longest_path(output)


def longest_path(output: Tensor) -> int:
    """Return the number of convolutions and linear layers on the longest path that leads to ``output``."""
    depths: dict[Node, int] = {}
    waiting = [output.grad_fn] if output.grad_fn else []
    while waiting:
        node = waiting[-1]
        before = [each for each, _ in node.next_functions if each is not None]
        unknown = [each for each in before if each not in depths]
        if unknown:
            waiting.extend(unknown)
            continue
        waiting.pop()
        depths[node] = max((depths[each] for each in before), default=0) + (node.name() in WEIGHTED)
    return depths[output.grad_fn] if output.grad_fn else 0
