"""What the builder of a family hands over."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from .errors import UserError
from .flow import Flow
from .preprocessing import Preprocessing

OUTPUT_STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Options:
    """What a builder may be asked for.

    Attributes:
        in_channels: Channels of the pictures.
        output_stride: Stride of ``c5``: 32, or 16 or 8 where the family can be dilated.
        image_size: Height and width, for networks that take one size only.
    """

    in_channels: int = 3
    output_stride: int = 32
    image_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Architecture:
    """A complete network and how to walk it.

    Attributes:
        network: With its original state-dict names.
        flow: How it is walked.
        stem: Paths of the first convolutions: their weights are adapted if the pictures have other channels.
        preprocessing: What it expects of pictures unless its weights say otherwise.
        is_fixed_size: Whether it takes pictures of ``preprocessing.image_size`` only.
        keeps_normalization: Whether its mean and deviation hold whatever its weights say.
        spare: Prefixes of names that files of this network hold and that a trunk never needs.
        convert: Gives a file's tensors this network's names: takes the file's state and the complete network's.
        about: What a person should know about it.
    """

    network: nn.Module
    flow: Flow
    stem: tuple[str, ...]
    preprocessing: Preprocessing
    is_fixed_size: bool = False
    keeps_normalization: bool = False
    spare: tuple[str, ...] = ()
    convert: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Mapping[str, Tensor]] | None = None
    about: str = ""


Builder = Callable[[Options], Architecture]


def check_options(name: str, options: Options) -> None:
    """Refuse values that no network can take.

    Raises:
        UserError: Naming the value and what is allowed.
    """
    if options.in_channels < 1:
        raise UserError(f"{name} needs at least 1 input channel, not {options.in_channels}.")
    if options.output_stride not in OUTPUT_STRIDES:
        raise UserError(f"The output stride is one of {OUTPUT_STRIDES}, not {options.output_stride}.")


def refuse_dilation(name: str, options: Options, reason: str) -> None:
    """Refuse an output stride below 32 for a network that can't be dilated.

    Raises:
        UserError: With ``reason`` and the networks that can.
    """
    if options.output_stride != OUTPUT_STRIDES[-1]:
        raise UserError(
            f"{name} can't have an output stride of {options.output_stride}: {reason}."
            " ResNets and VGG can be dilated; otherwise leave it at 32."
        )
