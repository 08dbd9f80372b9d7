"""Training a detector, from the options to the card."""

from dataclasses import replace

from ...backbones import Backbone, find_specs
from ...backbones.errors import UserError
from ...datasets import AnnotatedImages
from .. import app_training
from ..app_training import AppTraining, Splits, TrunkNeeds
from ..card import Card
from ..config import canvas_of
from ..inputs import InputRecipe
from ..task import Task
from .anchors import Anchors, fitted_anchors, usual_anchors
from .box_sides import box_sides
from .detector_weights import DetectorWeights, find_detector
from .head import DetectionHead
from .metrics import make_evaluator
from .opening import prepare
from .options import ANCHORED, HeadOptions, TrainOptions
from .requirements import levels_read, refusal
from .task import build_task, pyramid_strides


class ObjectTraining(AppTraining[TrainOptions]):
    """The pieces of a detector's training."""

    app = "detection"
    kind = "objects"

    def needs(self, options: TrainOptions) -> TrunkNeeds:
        """Return the levels that the head reads, and the trunk's part of the weights of a whole detector."""
        canvas = canvas_of(options.image_size)
        specs = find_specs(options.backbone, in_channels=options.channels, image_size=canvas)
        if reason := refusal(options.head, specs, canvas, options.head_options.levels):
            raise UserError(f"--head {options.head} on {options.backbone}: {reason}")
        levels = levels_read(options.head, specs, options.head_options.levels)
        detector = find_detector(options)
        if detector is None:
            return TrunkNeeds(tuple(levels))
        detector.settle(options.head_options)
        return TrunkNeeds(tuple(levels), weights=detector.trunk)

    def require(self, images: AnnotatedImages, options: TrainOptions) -> AnnotatedImages:
        """Return the split with regions only where the head learns masks."""
        return prepare(images, with_regions=options.head == "mask_rcnn")

    def build(self, backbone: Backbone, splits: Splits, inputs: InputRecipe, options: TrainOptions) -> Task:
        """Return the task; print anchors that were fitted to the data, and which rows of a detector's are kept."""
        train, detector = splits["train"], find_detector(options)
        head_options = settle_options(backbone, options, detector)
        task = build_task(
            backbone,
            make_evaluator(
                train.classes,
                numbers=train.numbers,
                max_detections=head_options.max_detections,
                measures_wider=any(record.targets["objects"].sets for record in train.everything),
                measures_masks=options.head == "mask_rcnn",
                select=options.select,
            ),
            inputs=inputs,
            head=options.head,
            head_options=head_options,
            anchors=choose_anchors(train, inputs, head_options, options),
            loss_weights=vars(options.loss),
        )
        if detector is not None:
            assert isinstance(task.head, DetectionHead)
            print(detector.load(task.head))
        return task

    def describe(self, task: Task, splits: Splits, options: TrainOptions) -> tuple[str, str | None]:
        """Return the head's name; classes are what is learned."""
        return options.head, None


TRAINING = ObjectTraining()


def run_training(options: TrainOptions) -> Card:
    """Fine-tune a trunk on images with objects; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    return app_training.run_training(TRAINING, options)


def settle_options(backbone: Backbone, options: TrainOptions, detector: DetectorWeights | None) -> HeadOptions:
    """Return the head's options with all of them set: as given, as a detector's weights have them, or the usual ones.

    Raises:
        UserError: An option asks for what the weights don't have.
    """
    given = options.head_options
    levels = levels_read(options.head, backbone.specs, given.levels)
    if detector is not None:
        given = detector.settle(given)
    return replace(given, levels=levels, width=given.width or 128, hidden=given.hidden or 512)


def choose_anchors(
    train: AnnotatedImages, inputs: InputRecipe, head_options: HeadOptions, options: TrainOptions
) -> Anchors | None:
    """Return the anchors of a head that has any; print those that were fitted to the training split.

    Raises:
        DataError: If there is no box that they could be fitted to.
    """
    if options.head not in ANCHORED:
        return None
    assert head_options.levels is not None
    strides = pyramid_strides(options.head, head_options.levels)
    if head_options.anchors == "data":
        octaves = 2 if options.head == "retinanet" else 1
        anchors = fitted_anchors(box_sides(train.records, inputs), strides, octaves=octaves)
        sizes = ", ".join(f"{size:g}" for level in anchors.sizes for size in level)
        ratios = ", ".join(f"{ratio:g}" for ratio in anchors.ratios)
        print(f"anchors    {sizes} pixels; heights over widths {ratios}")
        return anchors
    return usual_anchors(head_options.anchors, strides, octaves=3 if options.head == "retinanet" else 1)
