"""The options of the detection commands; what all apps share is in ``apps/config.py``."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from ..config import CheckedOptions, ModelEvaluationOptions, PredictionOptions, TrainingOptions, ZoomOptions
from ..option_checks import check_effect, check_range

HeadName = Literal["faster_rcnn", "retinanet", "fcos", "ssd", "mask_rcnn"]
HEADS: tuple[HeadName, ...] = get_args(HeadName)

AnchorName = Literal["usual", "small", "data"]

TWO_STAGES = ("faster_rcnn", "mask_rcnn")
"""Heads that judge proposals."""
ANCHORED = ("faster_rcnn", "mask_rcnn", "retinanet")
"""Heads whose anchors can be chosen; SSD has default boxes of its own, FCOS none."""


@dataclass(kw_only=True)
class HeadOptions(CheckedOptions):
    """The detection head. Its defaults are light ones, for CPUs; torchvision's are named beside them."""

    levels: list[str] | None = None
    """What it reads of the trunk, without a gap; unset: c2 to c5, of retinanet and fcos c3 to c5, of ssd c3 and c4.
    Without c2 it is about four times as fast and finds no small objects."""
    width: int | None = None
    """Channels of the feature pyramid; unset: 128, or what --weights of a whole detector have (256)."""
    hidden: int | None = None
    """For faster_rcnn and mask_rcnn: the width of the two layers that judge a proposal; unset: 512, or what --weights
    of a whole detector have (1024)."""
    anchors: AnchorName = "usual"
    """For all but ssd and fcos: usual: 32 to 512 pixels in three proportions; small: half as large and hardly wider
    than high, for faces in crowds; data: clustered from the boxes of the training split."""
    proposals: int = 300
    """For faster_rcnn and mask_rcnn: how many proposals of an image are judged in use (torchvision: 1000)."""
    training_proposals: int = 500
    """For faster_rcnn and mask_rcnn: how many are kept in training, before some are drawn (torchvision: 2000)."""
    drawn_proposals: int = 128
    """For faster_rcnn and mask_rcnn: how many of them are trained on, a quarter with objects (torchvision: 512)."""
    score_threshold: float = 0.05
    """What is surer than this is kept."""
    nms_threshold: float = 0.5
    """Of two boxes of a class that overlap by more than this, the surer one is kept."""
    max_detections: int = 100
    """How many detections of an image are kept at most; COCO's figures look at 100."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        names = ("width", "hidden", "proposals", "training_proposals", "drawn_proposals", "max_detections")
        check_range(self, *names, least=1, group="head-options")
        check_range(self, "score_threshold", "nms_threshold", most=1, group="head-options")


@dataclass(kw_only=True)
class LossOptions(CheckedOptions):
    """The training loss: the weights of its parts."""

    classification: float = 1.0
    """The weight of the loss of classes."""
    box: float = 1.0
    """The weight of the loss of boxes."""
    objectness: float = 1.0
    """For faster_rcnn and mask_rcnn: the weight of telling objects from background in proposals."""
    proposal_box: float = 1.0
    """For faster_rcnn and mask_rcnn: the weight of the loss of the proposals' boxes."""
    centerness: float = 1.0
    """For fcos: the weight of how near to an object's middle a cell is (Tian 2019)."""
    mask: float = 1.0
    """For mask_rcnn: the weight of the loss of masks (He 2017)."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        names = ("classification", "box", "objectness", "proposal_box", "centerness", "mask")
        check_range(self, *names, group="loss")


@dataclass(kw_only=True)
class TrainOptions(TrainingOptions):
    """Fine-tune a trunk on images with objects."""

    head: HeadName = "faster_rcnn"
    """The head: faster_rcnn (Ren 2015, on a pyramid: Lin 2017), retinanet (Lin 2017), fcos (Tian 2019), ssd (Liu 2016),
    or mask_rcnn (He 2017), which needs COCO's regions."""
    weights: str = "imagenet"
    """Where the trunk's weights come from: imagenet, a named set, a file, a URL, a run's folder, or none. COCO_V1, or a
    file of torchvision's detectors: trunk and head, on resnet50 (ssd: on vgg16)."""
    batch_size: int = 4
    """Images a step."""
    resize: Literal["pad", "stretch"] = "pad"
    """How a picture comes onto the canvas: fit and pad, or stretch."""
    select: str | None = None
    """The metric of the validation split that chooses the checkpoint; unset: ap."""
    head_options: HeadOptions = field(default_factory=HeadOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    augment: ZoomOptions = field(default_factory=ZoomOptions)

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        names = ("hidden", "proposals", "training_proposals", "drawn_proposals")
        check_effect(
            self,
            *(f"head_options.{name}" for name in names),
            "loss.objectness",
            "loss.proposal_box",
            has_effect=self.head in TWO_STAGES,
            needs="--head faster_rcnn or mask_rcnn",
        )
        check_effect(
            self,
            "head_options.anchors",
            has_effect=self.head in ANCHORED,
            needs="--head faster_rcnn, mask_rcnn or retinanet",
        )
        check_effect(self, "loss.centerness", has_effect=self.head == "fcos", needs="--head fcos")
        check_effect(self, "loss.mask", has_effect=self.head == "mask_rcnn", needs="--head mask_rcnn")
        check_effect(self, "head_options.width", has_effect=self.head != "ssd", needs="a head with a feature pyramid")


@dataclass(kw_only=True)
class EvaluateOptions(ModelEvaluationOptions):
    """Evaluate a trained model."""

    batch_size: int = 4
    """Images a step."""


@dataclass(kw_only=True)
class PredictOptions(PredictionOptions):
    """Find objects in images, and draw them."""

    batch_size: int = 4
    """Images a step."""
    threshold: float = 0.5
    """What the model is surer of than this is written and drawn; evaluation takes everything that it gives."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "threshold", most=1)
