"""Training a localizer, from the options to the card."""

from ...backbones import Backbone
from ...datasets import AnnotatedImages, class_weights
from .. import app_training
from ..app_training import AppTraining, Splits, TrunkNeeds
from ..card import Card
from ..classification.losses import ClassLoss
from ..classification.options import LossOptions as ClassLossOptions
from ..inputs import InputRecipe
from ..task import Task
from .baselines import mean_box
from .metrics import make_evaluator
from .opening import refuse_one_class, require_boxes
from .options import TrainOptions
from .task import build_task, settle_level


class BoxTraining(AppTraining[TrainOptions]):
    """The pieces of a localizer's training."""

    app = "localization"
    kind = "boxes"

    def needs(self, options: TrainOptions) -> TrunkNeeds:
        """Return the one level that the head reads."""
        return TrunkNeeds((self._level(options),))

    def _level(self, options: TrainOptions) -> str:
        level = settle_level(options.head_options, options).level
        assert level is not None
        return level

    def require(self, images: AnnotatedImages, options: TrainOptions) -> AnnotatedImages:
        """Return the split after a check that every image has one class and at least one box."""
        return require_boxes(images)

    def check(self, splits: Splits, options: TrainOptions) -> None:
        """Refuse data with nothing to tell apart where the head learns from that alone."""
        refuse_one_class(splits["train"], options)

    def build(self, backbone: Backbone, splits: Splits, inputs: InputRecipe, options: TrainOptions) -> Task:
        """Return the task."""
        train, loss = splits["train"], options.loss
        weights = class_weights(train) if loss.class_weights == "balanced" else None
        criterion = ClassLoss(
            "softmax", ClassLossOptions(name="cross_entropy", label_smoothing=loss.label_smoothing), weights
        )
        return build_task(
            backbone,
            make_evaluator(train.classes, mean_box(train), select=options.select),
            inputs=inputs,
            head=options.head,
            head_options=settle_level(options.head_options, options),
            criterion=criterion,
            loss_weights={
                "classification": loss.classification,
                "smooth_l1": loss.smooth_l1,
                "giou": loss.giou,
            },
        )

    def describe(self, task: Task, splits: Splits, options: TrainOptions) -> tuple[str, str | None]:
        """Return the head's name and level; classes are what is learned."""
        return f"{options.head} ({self._level(options)})", None


TRAINING = BoxTraining()


def run_training(options: TrainOptions) -> Card:
    """Fine-tune a trunk on images with boxes; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    return app_training.run_training(TRAINING, options)
