"""The options of the classification commands; what all apps share is in ``apps/config.py``."""

from dataclasses import dataclass, field
from typing import Literal

from ...backbones.errors import UserError
from .. import config
from ..config import CheckedOptions, EvaluationOptions, PredictionOptions, TrainingOptions
from ..option_checks import check_image_size, check_range


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
        check_range(self, "dropout", most=1)
        check_range(self, "hidden", least=1)


@dataclass(kw_only=True)
class LossOptions(config.LossOptions):
    """The training loss."""

    label_smoothing: float = 0.0
    """The share of the target that is spread over all classes (Szegedy 2016)."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "label_smoothing", most=1)


@dataclass(kw_only=True)
class AugmentOptions(CheckedOptions):
    """What training does to the pictures at random."""

    min_scale: float = 0.35
    """The smallest share of the picture that a random crop shows; 1 for no crop."""
    flip: float = 0.5
    """The probability of a mirror image; 0 for digits and text."""
    color_jitter: float = 0.0
    """The strength of random brightness, contrast and saturation."""


@dataclass(kw_only=True)
class TrainOptions(TrainingOptions):
    """Fine-tune a trunk on labelled images."""

    head: Literal["linear", "mlp"] = "linear"
    """The head on the trunk."""
    resize: Literal["crop", "pad", "stretch"] = "crop"
    """How evaluation brings a picture onto the canvas: fill it and crop, fit and pad, or stretch."""
    head_options: HeadOptions = field(default_factory=HeadOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)


@dataclass(kw_only=True)
class EvaluateOptions(EvaluationOptions):
    """Evaluate a trained model, or the ImageNet classifier that comes with a trunk's weights."""

    backbone: str | None = None
    """Instead of --model: the trunk whose own ImageNet classifier is evaluated."""
    weights: str | None = None
    """With --backbone: where its weights come from; unset: imagenet."""
    image_size: list[int] | None = None
    """With --backbone: another canvas than the weights' own."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_image_size(self.image_size)
        if (self.model is None) == (self.backbone is None):
            raise UserError("Give either --model RUN, or --backbone NAME for the classifier of its ImageNet weights.")
        if self.model is not None and (self.weights is not None or self.image_size is not None):
            raise UserError("--weights and --image-size go with --backbone; a model has its own.")


@dataclass(kw_only=True)
class PredictOptions(PredictionOptions):
    """Label images with a trained model."""
