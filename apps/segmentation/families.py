"""How the decoder of each dense head is made; what they read and their papers stand in ``decoders.py``."""

from collections.abc import Callable
from dataclasses import dataclass

from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3Decoder, DeepLabV3PlusDecoder
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.linknet.decoder import LinknetDecoder
from segmentation_models_pytorch.decoders.manet.decoder import MAnetDecoder
from segmentation_models_pytorch.decoders.pan.decoder import PANDecoder
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.decoders.unetplusplus.decoder import UnetPlusPlusDecoder
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from torch import nn

from .fcn import FCN
from .names import DecoderName

ATROUS_RATES = (12, 24, 36)
"""Of DeepLab's pyramid, in cells; the library takes those of stride 8 at 16 too."""


@dataclass(frozen=True)
class Plan:
    """What a decoder is built from.

    Attributes:
        channels: Of ``c0``, ``c1`` ... down to the deepest level that is read; 0 for those that aren't.
        num_outputs: Channels of the logits.
        width: Of the decoder, 0 if it has none.
        dropout: Probability, 0 if the decoder has none.
        output_stride: Of ``c5``, for heads that use dilation.
    """

    channels: list[int]
    num_outputs: int
    width: int
    dropout: float
    output_stride: int

    @property
    def depth(self) -> int:
        """How often the deepest map is doubled to get back to the canvas."""
        return len(self.channels) - 1

    @property
    def halving(self) -> list[int]:
        """The width of each block of a U-Net, deep to shallow."""
        return [self.width >> block for block in range(self.depth)]


@dataclass(frozen=True)
class Family:
    """How a decoder is made, and what may be chosen.

    Attributes:
        build: Returns the decoder and how many channels come out of it.
        kernel: Of the convolution that makes logits of them; 0 if the decoder gives logits itself.
        width: The default; 0 for a decoder whose width can't be chosen.
        width_step: What a width must be a multiple of.
        dropout: The default, None for a decoder without.
    """

    build: Callable[[Plan], tuple[nn.Module, int]]
    kernel: int
    width: int = 0
    width_step: int = 1
    dropout: float | None = None


def _fcn(plan: Plan) -> tuple[nn.Module, int]:
    return FCN([each for each in plan.channels if each], plan.num_outputs, dropout=plan.dropout), plan.num_outputs


def _unet(plan: Plan) -> tuple[nn.Module, int]:
    return UnetDecoder(plan.channels, plan.halving, n_blocks=plan.depth), plan.halving[-1]


def _unetplusplus(plan: Plan) -> tuple[nn.Module, int]:
    return UnetPlusPlusDecoder(plan.channels, plan.halving, n_blocks=plan.depth), plan.halving[-1]


def _manet(plan: Plan) -> tuple[nn.Module, int]:
    return MAnetDecoder(plan.channels, plan.halving, n_blocks=plan.depth), plan.halving[-1]


def _linknet(plan: Plan) -> tuple[nn.Module, int]:
    return LinknetDecoder(plan.channels, prefinal_channels=plan.width, n_blocks=plan.depth), plan.width


def _fpn(plan: Plan) -> tuple[nn.Module, int]:
    width = plan.width // 2  # 256 for the pyramid and 128 for what is made of it
    return FPNDecoder(
        plan.channels, pyramid_channels=plan.width, segmentation_channels=width, dropout=plan.dropout
    ), width


def _pspnet(plan: Plan) -> tuple[nn.Module, int]:
    return PSPDecoder(plan.channels, out_channels=plan.width, dropout=plan.dropout), plan.width


def _deeplabv3(plan: Plan) -> tuple[nn.Module, int]:
    decoder = DeepLabV3Decoder(
        plan.channels[-1], plan.width, ATROUS_RATES, aspp_separable=False, aspp_dropout=plan.dropout
    )
    return decoder, plan.width


def _deeplabv3plus(plan: Plan) -> tuple[nn.Module, int]:
    decoder = DeepLabV3PlusDecoder(
        plan.channels,
        encoder_depth=5,
        out_channels=plan.width,
        atrous_rates=ATROUS_RATES,
        output_stride=plan.output_stride,
        aspp_separable=True,
        aspp_dropout=plan.dropout,
    )
    return decoder, plan.width


def _upernet(plan: Plan) -> tuple[nn.Module, int]:
    return UPerNetDecoder(plan.channels, decoder_channels=plan.width), plan.width


def _pan(plan: Plan) -> tuple[nn.Module, int]:
    return PANDecoder(plan.channels, encoder_depth=5, decoder_channels=plan.width), plan.width


FAMILIES: dict[DecoderName, Family] = {
    "fcn32s": Family(_fcn, kernel=0, dropout=0.5),
    "fcn16s": Family(_fcn, kernel=0, dropout=0.5),
    "fcn8s": Family(_fcn, kernel=0, dropout=0.5),
    "unet": Family(_unet, kernel=3, width=256, width_step=16),
    "unetplusplus": Family(_unetplusplus, kernel=3, width=256, width_step=16),
    "fpn": Family(_fpn, kernel=1, width=256, width_step=64, dropout=0.2),  # group norm with 32 groups on half of it
    "pspnet": Family(_pspnet, kernel=3, width=512, dropout=0.2),
    "deeplabv3": Family(_deeplabv3, kernel=1, width=256, dropout=0.5),
    "deeplabv3plus": Family(_deeplabv3plus, kernel=1, width=256, dropout=0.5),
    "upernet": Family(_upernet, kernel=1, width=256),
    "linknet": Family(_linknet, kernel=1, width=32),
    "manet": Family(_manet, kernel=3, width=256, width_step=16),
    "pan": Family(_pan, kernel=3, width=32),
}
