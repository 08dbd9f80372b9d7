"""LeNet-5 in its modern form, for small pictures such as digits."""

from collections import OrderedDict

from torch import nn

from .architecture import Architecture, Options, refuse_dilation
from .chain import Chain
from .errors import UserError
from .preprocessing import Preprocessing

ABOUT = (
    "LeNet-5 in its modern form. Unlike the network of 1998 (LeCun et al., Gradient-Based Learning Applied to Document"
    " Recognition): ReLU instead of scaled tanh, max pooling instead of trainable subsampling, every map of the second"
    " convolution reads all six maps before it, and a linear layer with cross-entropy instead of the radial basis"
    " functions. 61,706 parameters on 32x32 pictures of one channel."
)
STEPS = (
    *("conv1", "relu1", "pool1", "conv2", "relu2", "pool2"),
    *("flatten", "fc1", "relu3", "fc2", "relu4", "fc3"),
)
LEVELS = {"c0": "relu1", "c1": "relu2", "c2": "pool2", "embedding": "relu4", "logits": "fc3"}
SMALLEST = 16
DEFAULT_SIZE = (32, 32)


def build_lenet(options: Options) -> Architecture:
    """Return LeNet-5 for pictures of ``options.image_size`` (32x32 if not given), ten classes.

    Raises:
        UserError: The pictures are so small that nothing is left to pool.
    """
    refuse_dilation("lenet", options, "its deepest map has a stride of 4 anyway")
    height, width = options.image_size or DEFAULT_SIZE
    if min(height, width) < SMALLEST:
        raise UserError(f"lenet needs pictures of at least {SMALLEST}x{SMALLEST}, not {height}x{width}.")
    network = lenet5(options.in_channels, (height, width))
    half = (0.5,) * options.in_channels
    return Architecture(
        network=network,
        flow=Chain.of(network, STEPS, levels=LEVELS),
        stem=("conv1",),
        preprocessing=Preprocessing(mean=half, std=half, image_size=(height, width), crop_fraction=1.0),
        is_fixed_size=True,
        about=ABOUT,
    )


def lenet5(in_channels: int, image_size: tuple[int, int], num_classes: int = 10) -> nn.Sequential:
    """Return the layers of LeNet-5 by name."""
    rows, columns = (((side - 4) // 2 - 4) // 2 for side in image_size)
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(in_channels, 6, kernel_size=5),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, kernel_size=5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(16 * rows * columns, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=nn.Linear(84, num_classes),
        )
    )
