"""GoogLeNet (Szegedy et al., 2014) as torchvision has it: with batch norm and without the auxiliary classifiers."""

import torchvision
from torch import Tensor, nn

from .architecture import Architecture, Options, refuse_dilation
from .chain import Chain
from .preprocessing import Preprocessing

STEPS = (
    *("conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b", "maxpool3"),
    *("inception4a", "inception4b", "inception4c", "inception4d", "inception4e", "maxpool4"),
    *("inception5a", "inception5b", "avgpool", "flatten", "dropout", "fc"),
)
LEVELS = {
    "c1": "conv1",
    "c2": "conv3",
    "c3": "inception3b",
    "c4": "inception4e",
    "c5": "inception5b",
    "embedding": "flatten",
    "logits": "fc",
}
RGB = 3


def transform_input(network: nn.Module, images: Tensor) -> Tensor:
    """Turn ImageNet-normalised RGB into what the ported weights expect: mean and deviation of 0.5."""
    transformed: Tensor = network._transform_input(images)  # type: ignore[operator]
    return transformed


def build_googlenet(options: Options) -> Architecture:
    """Return torchvision's GoogLeNet.

    For other channels than RGB the input transform, which is written for three, is replaced with a preprocessing of
    mean and deviation 0.5: the convolution then sees the same values.
    """
    refuse_dilation("googlenet", options, "its Inception blocks have no dilated form")
    is_rgb = options.in_channels == RGB
    network = torchvision.models.GoogLeNet(aux_logits=False, transform_input=is_rgb, init_weights=True)
    preprocessing = Preprocessing()
    if not is_rgb:
        network.conv1.conv = nn.Conv2d(options.in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.trunc_normal_(network.conv1.conv.weight, std=0.01)
        half = (0.5,) * options.in_channels
        preprocessing = Preprocessing(mean=half, std=half)
    steps = ("transform_input", *STEPS) if is_rgb else STEPS
    return Architecture(
        network=network,
        flow=Chain.of(network, steps, levels=LEVELS, functions={"transform_input": transform_input}),
        stem=("conv1.conv",),
        preprocessing=preprocessing,
        keeps_normalization=not is_rgb,
        spare=("aux1.", "aux2."),
    )
