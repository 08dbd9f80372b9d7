"""The options of the classification commands; what all apps share is in ``apps/config.py``."""

from dataclasses import dataclass, field
from typing import Literal

from ...backbones.errors import UserError
from .. import config
from ..config import CheckedOptions, EvaluationOptions, PredictionOptions, TrainingOptions
from ..option_checks import check_balance, check_effect, check_image_size, check_range
from ..views import ViewOptions

LossName = Literal["cross_entropy", "bce", "focal"]


@dataclass(kw_only=True)
class HeadOptions(CheckedOptions):
    """The classification head."""

    level: str = "embedding"
    """What it reads: embedding (what the ImageNet classifier reads), or a level such as c4, averaged over its cells."""
    dropout: float = 0.0
    """The probability of dropping an input of the last layer."""
    hidden: int = 512
    """The width of the mlp head's hidden layer."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "dropout", most=1, group="head-options")
        check_range(self, "hidden", least=1, group="head-options")


@dataclass(kw_only=True)
class LossOptions(config.LossOptions):
    """The training loss."""

    name: Literal["auto", "cross_entropy", "bce", "focal"] = "auto"
    """cross_entropy over the classes; or each class against the rest: bce, binary cross-entropy (Wightman 2021), or
    focal (Lin 2017). auto: cross_entropy for one label an image, bce for any number."""
    label_smoothing: float = 0.0
    """For cross_entropy and bce: the share of the target that is spread over all classes (Szegedy 2016)."""
    gamma: float = 2.0
    """For focal: how much less the easy ones count; 0 for none."""
    alpha: float = 0.25
    """For focal: the weight where a class holds, 1 minus it where it doesn't; 0.5 for both alike."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "label_smoothing", "alpha", most=1, group="loss")
        check_range(self, "gamma", group="loss")
        if self.name == "focal" and self.label_smoothing:
            raise UserError("--loss.label-smoothing goes with cross_entropy and bce, not with focal. Set it to 0.")


@dataclass(kw_only=True)
class AugmentOptions(config.AugmentOptions):
    """What training does to the pictures at random."""

    mixup: float = 0.0
    """Mixes each picture and its label with another's; the alpha of Zhang 2018, such as 0.2; 0: none."""
    cutmix: float = 0.0
    """Pastes a rectangle of another picture into each; the alpha of Yun 2019, such as 1. With mixup: one or the other,
    batch by batch."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "mixup", "cutmix", group="augment")


@dataclass(kw_only=True)
class TrainOptions(TrainingOptions):
    """Fine-tune a trunk on labelled images."""

    head: Literal["linear", "mlp"] = "linear"
    """The head on the trunk."""
    resize: Literal["crop", "pad", "stretch"] = "crop"
    """How evaluation brings a picture onto the canvas: fill it and crop, fit and pad, or stretch."""
    labels: Literal["auto", "single", "multi"] = "auto"
    """Whether each image has one label or any number of them; auto: any number if the data have a column labels, or
    are in the VOC layout."""
    positive: str | None = None
    """Of two classes, the one that is looked for; unset: the one with fewer training images, or with
    --folds fewer images in all folds together."""
    select: str | None = None
    """The metric of the validation split that chooses the checkpoint; unset: top1, or average_precision for any number
    of labels."""
    by_subject: bool = False
    """Judge subjects, not images: each by the mean of its images' probabilities, all figures and intervals too. For
    tables with a column subject."""
    calibrate: bool = False
    """Fit a temperature to the validation split after training, so that probabilities mean what they say (Guo 2017)."""
    head_options: HeadOptions = field(default_factory=HeadOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        is_focal = self.loss.name == "focal"
        check_effect(self, "loss.gamma", "loss.alpha", has_effect=is_focal, needs="--loss.name focal")
        check_balance(self.sampling, self.loss.class_weights)
        check_effect(self, "head_options.hidden", has_effect=self.head == "mlp", needs="--head mlp")


@dataclass(kw_only=True)
class EvaluateOptions(ViewOptions, EvaluationOptions):
    """Evaluate a trained model, or the ImageNet classifier that comes with a trunk's weights."""

    backbone: str | None = None
    """Instead of --model: the trunk whose own ImageNet classifier is evaluated."""
    weights: str | None = None
    """With --backbone: where its weights come from; unset: imagenet."""
    image_size: list[int] | None = None
    """With --backbone: another canvas than the weights' own."""
    by_subject: bool = False
    """Judge subjects, not images, each by the mean of its images' probabilities; for tables with a column subject."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_image_size(self.image_size)
        if (self.model is None) == (self.backbone is None):
            raise UserError("Give either --model RUN, or --backbone NAME for the classifier of its ImageNet weights.")
        if self.model is not None and (self.weights is not None or self.image_size is not None):
            raise UserError("--weights and --image-size go with --backbone; a model has its own.")


@dataclass(kw_only=True)
class PredictOptions(ViewOptions, PredictionOptions):
    """Label images with a trained model."""

    by_folder: bool = False
    """Give each folder of pictures a prediction too: the mean of its pictures' probabilities."""
