"""Dense heads on the maps of any trunk: FCN, and the decoders of segmentation-models-pytorch.

Widths, kernels, defaults and initial values are those of that library's models; its encoders aren't used. What is put
together here depends on the trunk's specs alone.

==============  ======================  =====================================================================
head            reads                   paper
==============  ======================  =====================================================================
fcn32s/16s/8s   c5; c4, c5; c3 to c5    Long, Shelhamer and Darrell, 2015
unet            c1 to the deepest       Ronneberger et al., 2015
unetplusplus    c1 to the deepest       Zhou et al., 2018
fpn             c2 to c5                Kirillov et al., 2017, on the pyramid of Lin et al., 2017
pspnet          c3                      Zhao et al., 2017; the library reads no deeper unless told
deeplabv3       c5 at stride 16 or 8    Chen et al., 2017
deeplabv3plus   c2, c5 at 16 or 8       Chen et al., 2018
upernet         c2 to c5                Xiao et al., 2018
linknet         c1 to the deepest       Chaurasia and Culurciello, 2017
manet           c1 to the deepest       Fan et al., 2020; its attention is quadratic in the cells of the deepest map
pan             c2 to c5, c5 at 16      Li et al., 2018
==============  ======================  =====================================================================
"""

from collections.abc import Mapping, Sequence

from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
from torch import Tensor, nn

from ...backbones.errors import UserError
from ...backbones.resampling import resample, resize
from ...backbones.spec import LEVELS, FeatureSpec
from .families import FAMILIES, Plan
from .names import DECODERS, DecoderName
from .requirements import check_output_stride, levels_read, refusal, uses_dilation

NORMALIZES_POOLED = ("deeplabv3", "deeplabv3plus", "upernet", "pan")
"""Heads with batch norm on one cell a picture: with a single picture there is nothing to normalise."""

NORMALIZES_DEEPEST = ("linknet", "manet")
"""Heads with batch norm on the deepest map before it is doubled: the same holds where that has one cell."""

UNTOUCHED = ("deeplabv3", "deeplabv3plus")
"""Heads that the library leaves at PyTorch's initial values."""


class Decoder(nn.Module):
    """A dense head from the maps of a trunk to logits.

    Attributes:
        name: As in ``build_decoder``.
        levels: What it reads of the trunk, shallow to deep; all of them exist there.
        decoder: Takes the maps of ``c0`` down to the deepest level, without channels where it reads none.
        classifier: Makes logits of what the decoder gives.
    """

    def __init__(self, name: DecoderName, specs: Mapping[str, FeatureSpec], plan: Plan, levels: Sequence[str]) -> None:
        """Build the layers; see ``build_decoder``, which checks first."""
        super().__init__()
        self.name = name
        self.levels = tuple(levels)
        self._inputs = LEVELS[: plan.depth + 1]
        self._specs = {level: specs[level] for level in self.levels}
        self._strides = {"c5": plan.output_stride} if uses_dilation(name) else {}
        family = FAMILIES[name]
        self.decoder, width = family.build(plan)
        self.classifier: nn.Module = nn.Identity()
        if family.kernel:
            self.classifier = nn.Conv2d(width, plan.num_outputs, family.kernel, padding=family.kernel // 2)
        if family.kernel and name not in UNTOUCHED:
            initialize_decoder(self.decoder)
            initialize_head(self.classifier)

    def forward(self, features: Mapping[str, Tensor], canvas: tuple[int, int]) -> Tensor:
        """Return logits ``[B, num_outputs, H, W]`` of maps ``[B, C, h, w]``, which stay as they are.

        Args:
            features: At least ``levels``.
            canvas: Height and width of the pictures, in pixels; ``refusal`` tells which ones do.

        Raises:
            UserError: In training, for a single picture, where a batch norm has nothing to normalise.
        """
        maps = resample(features, self._specs, self._inputs, canvas, strides=self._strides)
        inputs = [maps[level] for level in self._inputs]
        self._check_batch(inputs[-1])
        return resize(self.classifier(self.decoder(inputs)), canvas)

    def _check_batch(self, deepest: Tensor) -> None:
        if not self.training or deepest.shape[0] > 1:
            return
        is_one_cell = deepest.shape[-2:].numel() == 1 and self.name in NORMALIZES_DEEPEST
        if is_one_cell or self.name in NORMALIZES_POOLED:
            raise UserError(
                f"{self.name} can't be trained on a batch of 1: its batch norms take statistics of one cell a picture."
                " Take a batch size of at least 2 that leaves no single picture over, or a head such as fpn."
            )


def build_decoder(
    name: DecoderName,
    specs: Mapping[str, FeatureSpec],
    num_outputs: int,
    *,
    width: int | None = None,
    dropout: float | None = None,
    output_stride: int = 16,
) -> Decoder:
    """Build a dense head for a trunk; what it reads and its paper stand at the top of this file.

    Args:
        name: One of ``DECODERS``.
        specs: Of the trunk.
        num_outputs: Channels of the logits.
        width: Channels of the decoder; for ``unet``, ``unetplusplus`` and ``manet`` those of the deepest block, and
            each block after it has half. None for the library's.
        dropout: Probability of dropping a channel (``fpn``, ``pspnet``) or a value. None for the library's, for FCN
            that of the classifiers it was made from.
        output_stride: Stride of ``c5`` for the heads that ``uses_dilation`` names; ``choose_output_stride`` gives that
            of the trunk.

    Raises:
        UserError: The trunk can't carry the head, or a value doesn't go with it.
    """
    if reason := refusal(name, specs):
        raise UserError(reason)
    check_output_stride(name, output_stride)
    family = FAMILIES[name]
    levels = levels_read(name, specs)
    plan = Plan(
        channels=[specs[level].channels if level in levels else 0 for level in LEVELS[: int(levels[-1][1:]) + 1]],
        num_outputs=num_outputs,
        width=family.width if width is None else _checked_width(name, width),
        dropout=(family.dropout or 0.0) if dropout is None else _checked_dropout(name, dropout),
        output_stride=output_stride,
    )
    return Decoder(name, specs, plan, levels)


def _checked_width(name: DecoderName, width: int) -> int:
    family = FAMILIES[name]
    if not family.width:
        others = ", ".join(each for each in DECODERS if FAMILIES[each].width)
        raise UserError(f"The width of {name} can't be chosen: leave it unset, or take one of {others}.")
    step = family.width_step
    if width < 1 or width % step:
        near = max(round(width / step), 1) * step
        allowed = f"a multiple of {step}" if step > 1 else "at least 1"
        raise UserError(f"The width of {name} is {allowed}, not {width}. Take e.g. {near}.")
    return width


def _checked_dropout(name: DecoderName, dropout: float) -> float:
    if FAMILIES[name].dropout is None:
        others = ", ".join(each for each in DECODERS if FAMILIES[each].dropout is not None)
        raise UserError(f"{name} has no dropout: leave it unset, or take one of {others}.")
    if not 0 <= dropout <= 1:
        raise UserError(f"A dropout is a probability from 0 to 1, not {dropout}.")
    return dropout
