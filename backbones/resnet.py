"""ResNet, wide ResNet and ResNeXt (He et al., 2015; Zagoruyko and Komodakis, 2016; Xie et al., 2016).

The networks are torchvision's: the stride of a bottleneck stands at its 3x3 convolution ("v1.5").
"""

import torchvision
from torch import nn

from .architecture import Architecture, Options
from .chain import Chain
from .preprocessing import Preprocessing

STEPS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "flatten", "fc")
LEVELS = {
    "c1": "relu",
    "c2": "layer1",
    "c3": "layer2",
    "c4": "layer3",
    "c5": "layer4",
    "embedding": "flatten",
    "logits": "fc",
}
DILATED_STAGES = {32: (), 16: ("layer4",), 8: ("layer3", "layer4")}


def build_resnet(name: str, options: Options) -> Architecture:
    """Return torchvision's network ``name``, dilated as ``options.output_stride`` asks."""
    network = torchvision.models.get_model(name, weights=None)
    if options.in_channels != network.conv1.in_channels:
        network.conv1 = nn.Conv2d(options.in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    dilation = 1
    for stage in DILATED_STAGES[options.output_stride]:
        dilate_stage(network.get_submodule(stage), dilation)
        dilation *= 2
    return Architecture(
        network=network,
        flow=Chain.of(network, STEPS, levels=LEVELS),
        stem=("conv1",),
        preprocessing=Preprocessing().for_channels(options.in_channels),
    )


def dilate_stage(stage: nn.Module, dilation: int) -> None:
    """Take the stride of 2 out of a stage and dilate what follows, so that the same weights see the same context.

    The convolution that had the stride still reads the grid of ``dilation`` before it; everything after it reads one
    twice as coarse (the scheme of DeepLab and of torchvision's ``replace_stride_with_dilation``). Every second cell
    equals the strided stage's output.

    Args:
        stage: Holds convolutions in the order they are applied; shortcuts are 1x1.
        dilation: Dilation that earlier dilated stages have left.
    """
    for module in stage.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        had_stride = module.stride == (2, 2)
        module.stride = (1, 1)
        if module.kernel_size == (3, 3):
            current = dilation if had_stride else 2 * dilation
            module.dilation = module.padding = (current, current)
