"""The options of the segmentation commands; what all apps share is in ``apps/config.py``."""

from dataclasses import dataclass, field
from typing import Literal

from ...backbones.errors import UserError
from .. import config
from ..config import CheckedOptions, ModelEvaluationOptions, PlacingOptions, PredictionOptions, TrainingOptions
from ..option_checks import check_effect, check_range
from ..views import ScaleOptions
from .names import DecoderName

LOSS_PARTS = ("cross_entropy", "dice", "focal", "lovasz", "tversky")
"""The losses that are added up, each with a weight of its own."""


@dataclass(kw_only=True)
class HeadOptions(CheckedOptions):
    """The segmentation head."""

    width: int | None = None
    """The decoder's channels: of the U-Nets and MA-Net in the deepest block, halved from block to block; unset: those
    of its paper. Not for fcn."""
    dropout: float | None = None
    """The probability of dropping a channel in front of the last layer, for heads that do so; unset: their own."""
    output_stride: int = 16
    """For deeplabv3, deeplabv3plus and pan: how many pixels a cell of the deepest map is wide, 16 or 8; ResNets and VGG
    are dilated for it, of other trunks the map is interpolated."""
    auxiliary: bool = False
    """In training a second, plain head reads c4, and its loss counts --loss.auxiliary (Zhao 2017, section 4)."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "width", least=1, group="head-options")
        check_range(self, "dropout", most=1, group="head-options")
        if self.output_stride not in (8, 16, 32):
            raise UserError(f"--head-options.output-stride takes 8, 16 or 32, not {self.output_stride}.")


@dataclass(kw_only=True)
class LossOptions(config.LossOptions):
    """The training loss: a sum of parts, each with its weight; 0 leaves a part out."""

    class_weights: Literal["none", "balanced"] = "none"
    """balanced: in the cross-entropy each class counts by the median of the classes' frequencies over its own (Eigen &
    Fergus 2015, section 6.3.2); where a pixel may be of several, each by the pixels without it over those with it."""
    cross_entropy: float = 1.0
    """Of the cross-entropy; binary for each class where a pixel may be of several."""
    dice: float = 0.0
    """Of the Dice loss (Milletari 2016)."""
    focal: float = 0.0
    """Of the focal loss (Lin 2017)."""
    lovasz: float = 0.0
    """Of the Lovasz loss, which stands for IoU (Berman 2018)."""
    tversky: float = 0.0
    """Of the Tversky loss (Salehi 2017)."""
    auxiliary: float = 0.4
    """Of the loss of --head-options.auxiliary."""
    label_smoothing: float = 0.0
    """For cross_entropy: the share of the target that is spread over all classes (Szegedy 2016)."""
    gamma: float = 2.0
    """For focal: how much less the easy pixels count; 0 for none."""
    alpha: float = 0.5
    """For tversky: how much pixels count that are wrongly taken for a class; those that are missed count 1 minus it."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, *LOSS_PARTS, "auxiliary", "gamma", group="loss")
        check_range(self, "label_smoothing", "alpha", most=1, group="loss")
        if not any(getattr(self, name) for name in LOSS_PARTS):
            flags = ", ".join(f"--loss.{name.replace('_', '-')}" for name in LOSS_PARTS)
            raise UserError(f"All parts of the loss have the weight 0; give one of {flags} a weight above 0.")


@dataclass(kw_only=True)
class AugmentOptions(PlacingOptions):
    """What training does to pictures and masks at random."""


@dataclass(kw_only=True)
class TrainOptions(TrainingOptions):
    """Fine-tune a trunk on images with masks."""

    head: DecoderName = "unet"
    """The head on the trunk; `onetrunk backbones support` says which trunks carry it."""
    resize: Literal["pad", "stretch", "window"] = "pad"
    """How a picture comes onto the canvas: fitted and padded, stretched, or, for pictures larger than the canvas, pixel
    by pixel in overlapping windows."""
    labels: Literal["auto", "single", "multi"] = "auto"
    """Whether each pixel has one class or any number of them; auto: any number where the masks lie in a folder for each
    class."""
    select: str | None = None
    """The metric of the validation split that chooses the checkpoint: mean_iou, dice or pixel_accuracy; unset:
    mean_iou, or dice of a foreground and its background."""
    head_options: HeadOptions = field(default_factory=HeadOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        has = {name: getattr(self.loss, name) > 0 for name in LOSS_PARTS}
        check_effect(self, "loss.gamma", has_effect=has["focal"], needs="--loss.focal")
        check_effect(self, "loss.alpha", has_effect=has["tversky"], needs="--loss.tversky")
        check_effect(self, "loss.label_smoothing", has_effect=has["cross_entropy"], needs="--loss.cross-entropy")
        check_effect(self, "loss.class_weights", has_effect=has["cross_entropy"], needs="--loss.cross-entropy")
        needs = "--head-options.auxiliary"
        check_effect(self, "loss.auxiliary", has_effect=self.head_options.auxiliary, needs=needs)
        dilates = self.head in ("deeplabv3", "deeplabv3plus", "pan")
        needs = "--head deeplabv3, deeplabv3plus or pan"
        check_effect(self, "head_options.output_stride", has_effect=dilates, needs=needs)
        if self.sampling == "balanced":
            raise UserError(
                "--sampling balanced draws images by their one class, and these have many. Weigh the classes in the "
                "loss: --loss.class-weights balanced."
            )


@dataclass(kw_only=True)
class EvaluateOptions(ScaleOptions, ModelEvaluationOptions):
    """Evaluate a trained model in the pixels of the files."""


@dataclass(kw_only=True)
class PredictOptions(ScaleOptions, PredictionOptions):
    """Write a mask and an overlay for each image."""

    opacity: float = 0.5
    """Of the colours over the picture in an overlay."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "opacity", most=1)
