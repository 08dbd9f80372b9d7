"""The names of the dense heads; nothing heavy is imported here, options files read it."""

from typing import Literal, get_args

DecoderName = Literal[
    "fcn32s",
    "fcn16s",
    "fcn8s",
    "unet",
    "unetplusplus",
    "fpn",
    "pspnet",
    "deeplabv3",
    "deeplabv3plus",
    "upernet",
    "linknet",
    "manet",
    "pan",
]

DECODERS: tuple[DecoderName, ...] = get_args(DecoderName)
"""All of them, in the order to print them."""
