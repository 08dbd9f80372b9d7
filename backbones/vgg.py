"""VGG (Simonyan and Zisserman, 2014), with and without batch norm; the networks are torchvision's."""

import torchvision
from torch import nn

from .architecture import Architecture, Options
from .chain import Chain
from .preprocessing import Preprocessing

CLASSIFIER = {"fc6": 0, "relu6": 1, "fc7": 3, "relu7": 4, "fc8": 6}
KINDS: dict[type[nn.Module], str] = {nn.Conv2d: "conv", nn.BatchNorm2d: "bn", nn.ReLU: "relu"}


def build_vgg(name: str, options: Options) -> Architecture:
    """Return torchvision's network ``name``; below stride 32 the last pools are left out and what follows dilated."""
    network = torchvision.models.get_model(name, weights=None, init_weights=True)
    if options.in_channels != network.features[0].in_channels:
        network.features[0] = nn.Conv2d(options.in_channels, 64, kernel_size=3, padding=1)
        nn.init.kaiming_normal_(network.features[0].weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(network.features[0].bias)
    aliases = name_layers(network.features)
    drop_pools(network.features, options.output_stride)
    levels = {f"c{block - 1}": _last_relu(aliases, block) for block in range(1, 6)}
    levels |= {"c5": aliases["pool5"], "embedding": "classifier.4", "logits": "classifier.6"}
    aliases |= {alias: f"classifier.{index}" for alias, index in CLASSIFIER.items()}
    return Architecture(
        network=network,
        flow=Chain.of(network, ("features", "avgpool", "flatten", "classifier"), levels=levels, aliases=aliases),
        stem=("features.0",),
        preprocessing=Preprocessing().for_channels(options.in_channels),
    )


def name_layers(features: nn.Sequential) -> dict[str, str]:
    """Return the paper's names: ``conv5_3`` (before the ReLU), ``relu5_3``, ``bn5_3``, ``pool5`` to module paths."""
    names: dict[str, str] = {}
    block, layer = 1, 0
    for index, module in enumerate(features):
        if isinstance(module, nn.MaxPool2d):
            names[f"pool{block}"] = f"features.{index}"
            block, layer = block + 1, 0
            continue
        layer += isinstance(module, nn.Conv2d)
        names[f"{KINDS[type(module)]}{block}_{layer}"] = f"features.{index}"
    return names


def drop_pools(features: nn.Sequential, output_stride: int) -> None:
    """Replace the pools past ``output_stride`` with nothing and dilate the convolutions after them.

    A pool leaves an ``nn.Identity`` in its place, so state-dict names stay as they are.
    """
    stride, dilation = 1, 1
    for index, module in enumerate(features):
        if isinstance(module, nn.MaxPool2d) and stride == output_stride:
            features[index] = nn.Identity()
            dilation *= 2
        elif isinstance(module, nn.MaxPool2d):
            stride *= 2
        elif isinstance(module, nn.Conv2d):
            module.dilation = module.padding = (dilation, dilation)


def _last_relu(names: dict[str, str], block: int) -> str:
    return [path for name, path in names.items() if name.startswith(f"relu{block}_")][-1]
