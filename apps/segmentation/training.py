"""Training a segmentation model, from the options to the card."""

from torch import Tensor

from ...backbones import Backbone, find_specs
from ...backbones.errors import UserError
from ...datasets import AnnotatedImages, median_frequency_weights, positive_pixel_weights
from .. import app_training
from ..app_training import AppTraining, Splits, TrunkNeeds
from ..card import Card
from ..config import canvas_of
from ..inputs import InputRecipe
from ..task import Task
from .losses import MaskLoss
from .metrics import SegmentationEvaluator
from .opening import gives_class_masks, refuse_one_class, require_kind
from .options import TrainOptions
from .readout import readout_of
from .requirements import CANVAS_STEP, choose_output_stride, levels_read, refusal
from .task import auxiliary_level, build_task


class MaskTraining(AppTraining[TrainOptions]):
    """The pieces of a segmentation model's training."""

    app = "segmentation"
    kind = "masks"

    def needs(self, options: TrainOptions) -> TrunkNeeds:
        """Return the levels that the head reads, dilated where that is asked for and can be done."""
        canvas, name = canvas_of(options.image_size), options.head
        stride = choose_output_stride(name, options.backbone, options.head_options.output_stride)
        specs = find_specs(options.backbone, in_channels=options.channels, output_stride=stride, image_size=canvas)
        if reason := refusal(name, specs, canvas, output_stride=options.head_options.output_stride):
            raise UserError(f"--head {name} on {options.backbone}: {reason}")
        levels = dict.fromkeys(levels_read(name, specs))
        if options.head_options.auxiliary:
            levels[auxiliary_level(specs)] = None
        return TrunkNeeds(tuple(levels), output_stride=stride if stride < CANVAS_STEP else None)

    def require(self, images: AnnotatedImages, options: TrainOptions) -> AnnotatedImages:
        """Return the split with masks of the kind that the options or the data say."""
        return require_kind(images, options.labels)

    def check(self, splits: Splits, options: TrainOptions) -> None:
        """Refuse data with nothing to tell apart."""
        refuse_one_class(splits["train"], options.data)

    def build(self, backbone: Backbone, splits: Splits, inputs: InputRecipe, options: TrainOptions) -> Task:
        """Return the task."""
        train = splits["train"]
        readout = readout_of(train.classes, is_multi_label=gives_class_masks(train))
        weights: Tensor | None = None
        if options.loss.class_weights == "balanced":
            weights = positive_pixel_weights(train) if readout == "sigmoid" else median_frequency_weights(train)
        return build_task(
            backbone,
            inputs=inputs,
            head=options.head,
            head_options=options.head_options,
            evaluator=SegmentationEvaluator(train.classes, readout=readout, primary=options.select),
            criterion=MaskLoss(readout, options.loss, weights),
        )

    def describe(self, task: Task, splits: Splits, options: TrainOptions) -> tuple[str, str | None]:
        """Return the head's name; classes are what is learned."""
        return options.head, None


TRAINING = MaskTraining()


def run_training(options: TrainOptions) -> Card:
    """Fine-tune a trunk on images with masks; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    return app_training.run_training(TRAINING, options)
