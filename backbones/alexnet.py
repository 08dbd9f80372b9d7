"""AlexNet as torchvision has it: the one-tower variant of Krizhevsky, 2014 ("One weird trick")."""

import torchvision
from torch import nn

from .architecture import Architecture, Options, refuse_dilation
from .chain import Chain
from .preprocessing import Preprocessing

LEVELS = {
    "c2": "features.1",
    "c3": "features.4",
    "c4": "features.11",
    "c5": "features.12",
    "embedding": "classifier.5",
    "logits": "classifier.6",
}
FEATURES = {
    **{f"conv{number}": index for number, index in zip(range(1, 6), (0, 3, 6, 8, 10), strict=True)},
    **{f"relu{number}": index for number, index in zip(range(1, 6), (1, 4, 7, 9, 11), strict=True)},
    **{"pool1": 2, "pool2": 5, "pool5": 12},
}
CLASSIFIER = {"fc6": 1, "relu6": 2, "fc7": 4, "relu7": 5, "fc8": 6}


def build_alexnet(options: Options) -> Architecture:
    """Return torchvision's AlexNet. Its layers are not padded to whole strides: 6x6 cells at 224, 37 pixels each."""
    refuse_dilation("alexnet", options, "its first layers are not padded to whole strides")
    network = torchvision.models.alexnet(weights=None)
    if options.in_channels != network.features[0].in_channels:
        network.features[0] = nn.Conv2d(options.in_channels, 64, kernel_size=11, stride=4, padding=2)
    aliases = {name: f"features.{index}" for name, index in FEATURES.items()}
    aliases |= {name: f"classifier.{index}" for name, index in CLASSIFIER.items()}
    return Architecture(
        network=network,
        flow=Chain.of(network, ("features", "avgpool", "flatten", "classifier"), levels=LEVELS, aliases=aliases),
        stem=("features.0",),
        preprocessing=Preprocessing().for_channels(options.in_channels),
    )
