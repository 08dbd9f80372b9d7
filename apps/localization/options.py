"""The options of the localization commands; what all apps share is in ``apps/config.py``."""

from dataclasses import dataclass, field
from typing import Literal

from ...backbones.errors import UserError
from .. import config
from ..config import CheckedOptions, ModelEvaluationOptions, PlacingOptions, PredictionOptions, TrainingOptions
from ..option_checks import check_balance, check_effect, check_range
from ..views import FlipOptions

HeadName = Literal["regression", "cam"]


@dataclass(kw_only=True)
class HeadOptions(CheckedOptions):
    """The localization head."""

    level: str | None = None
    """What it reads: a level such as c4, or for regression also embedding, which keeps positions in AlexNet and VGG;
    unset: the trunk's deepest map."""
    grid: int = 7
    """For regression: the cells a side into which the map is averaged; with 1 positions would be lost."""
    width: int = 128
    """For regression: the channels to which a 1x1 convolution brings the map before that."""
    hidden: int = 512
    """For regression: the width of the hidden layer between the cells and the box."""
    dropout: float = 0.0
    """For regression: the probability of dropping an input of the layer that gives the box."""
    threshold: float = 0.2
    """For cam: the share of a class map's maximum above which a cell belongs to the object (Zhou 2016)."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "grid", "width", "hidden", least=1, group="head-options")
        check_range(self, "dropout", "threshold", most=1, group="head-options")
        if self.threshold == 1:
            raise UserError("--head-options.threshold takes a number below 1: no cell is above the maximum.")


@dataclass(kw_only=True)
class LossOptions(config.LossOptions):
    """The training loss: the weights of its parts."""

    classification: float = 1.0
    """The weight of the cross-entropy of the label."""
    smooth_l1: float = 1.0
    """For regression: the weight of the smooth L1 distance of the box's sides, in shares of the picture (Girshick
    2015)."""
    giou: float = 1.0
    """For regression: the weight of 1 minus the generalized IoU of the box (Rezatofighi 2019)."""
    label_smoothing: float = 0.0
    """The share of the label that is spread over all classes (Szegedy 2016)."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "classification", "smooth_l1", "giou", group="loss")
        check_range(self, "label_smoothing", most=1, group="loss")


@dataclass(kw_only=True)
class TrainOptions(TrainingOptions):
    """Fine-tune a trunk on images with a label and boxes."""

    head: HeadName = "regression"
    """regression: learns boxes from boxes. cam: learns labels only, and takes for the box where the class's activation
    map is bright (Zhou 2016)."""
    resize: Literal["stretch", "pad"] = "stretch"
    """How evaluation brings a picture onto the canvas: stretch, or fit and pad. Both show all of it; a crop could cut
    the object off."""
    select: str | None = None
    """The metric of the validation split that chooses the checkpoint; unset: localization_top1."""
    head_options: HeadOptions = field(default_factory=HeadOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    augment: PlacingOptions = field(default_factory=PlacingOptions)

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_balance(self.sampling, self.loss.class_weights)
        regression, maps = self.head == "regression", self.head == "cam"
        names = ("head_options.grid", "head_options.width", "head_options.hidden", "head_options.dropout")
        check_effect(self, *names, "loss.smooth_l1", "loss.giou", has_effect=regression, needs="--head regression")
        check_effect(self, "head_options.threshold", has_effect=maps, needs="--head cam")
        reads_map = self.head_options.level != "embedding"
        check_effect(
            self,
            "head_options.grid",
            "head_options.width",
            has_effect=reads_map,
            needs="a map, such as c5, as the level",
        )
        if regression and not (self.loss.smooth_l1 or self.loss.giou):
            raise UserError("--loss.smooth-l1 and --loss.giou are both 0: nothing would teach the head its box.")
        if maps and not self.loss.classification:
            raise UserError("--loss.classification is 0, and --head cam learns nothing else. Leave it out.")


@dataclass(kw_only=True)
class EvaluateOptions(FlipOptions, ModelEvaluationOptions):
    """Evaluate a trained model."""


@dataclass(kw_only=True)
class PredictOptions(FlipOptions, PredictionOptions):
    """Say what is in images and where, and draw it."""
