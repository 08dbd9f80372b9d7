"""Training a classifier, from the options to the card."""

from collections.abc import Mapping
from dataclasses import replace

from ...backbones import Backbone
from ...backbones.errors import UserError
from ...datasets import AnnotatedImages, DataError, Mixing, class_weights, positive_weights
from .. import app_training
from ..app_training import AppTraining, Splits, TrunkNeeds
from ..card import Card
from ..data_check import Identity
from ..fit import Finish
from ..inputs import InputRecipe
from ..model_file import holds_model
from ..task import Task
from .binary import choose_positive
from .calibration import calibrate
from .losses import ClassLoss, readout_of
from .metrics import ClassEvaluator, make_evaluator
from .opening import gives_label_sets, refuse_one_class, require_kind
from .options import TrainOptions
from .subjects import SubjectEvaluator, judge_by_subject
from .task import build_task, keep_matching_rows


class ClassTraining(AppTraining[TrainOptions]):
    """The pieces of a classifier's training."""

    app = "classification"
    kind = "labels"

    def needs(self, options: TrainOptions) -> TrunkNeeds:
        """Return the one level that the head reads."""
        return TrunkNeeds((options.head_options.level,))

    def require(self, images: AnnotatedImages, options: TrainOptions) -> AnnotatedImages:
        """Return the split with the kind of labels that the options or the data say."""
        return require_kind(images, options.labels)

    def check(self, splits: Splits, options: TrainOptions) -> None:
        """Refuse data with nothing to tell apart."""
        refuse_one_class(splits["train"], options.data)

    def build(self, backbone: Backbone, splits: Splits, inputs: InputRecipe, options: TrainOptions) -> Task:
        """Return the task; print how subjects are judged and which rows of a model's head are kept."""
        train = splits["train"]
        task = _build(backbone, splits, inputs, options)
        if options.by_subject:
            judge_by_subject(task, train, splits["val"])
        augment = options.augment
        if augment.mixup or augment.cutmix:
            task.mixing = Mixing(augment.mixup, augment.cutmix, num_classes=len(train.classes), seed=options.seed)
        if holds_model(options.weights):
            print(keep_matching_rows(task, options.weights))
        return task

    def describe(self, task: Task, splits: Splits, options: TrainOptions) -> tuple[str, str | None]:
        """Return the head's name; classes are what is learned."""
        return options.head, None

    def check_readable(
        self, task: Task, splits: Splits, identities: Mapping[str, Identity], options: TrainOptions
    ) -> None:
        """Refuse a metric that has no value on the images of the validation split that can be read."""
        val, unreadable = splits["val"], identities["val"].unreadable
        evaluator = task.evaluator.inner if isinstance(task.evaluator, SubjectEvaluator) else task.evaluator
        assert isinstance(evaluator, ClassEvaluator)
        records = tuple(record for record in val.records if record.name not in unreadable)
        counts = replace(val, splits={**val.splits, val.split: records}).class_counts()
        if reason := evaluator.undefined(list(counts.values()), len(records)).get(evaluator.primary):
            left_out = len(val) - len(records)
            unread = f", and {left_out} of its images can't be read" if left_out else ""
            raise DataError(
                f"{options.data}: '{evaluator.primary}' can't choose the checkpoint: the split 'val' doesn't hold "
                f"images both with and without a class ({reason}{unread}). Choose another metric with --select, or "
                "another split."
            )

    def finish(self, options: TrainOptions) -> Finish | None:
        """Return the calibration, where one is asked for."""
        return calibrate if options.calibrate else None


TRAINING = ClassTraining()


def run_training(options: TrainOptions) -> Card:
    """Fine-tune a trunk on a labelled data set; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    return app_training.run_training(TRAINING, options)


def _build(backbone: Backbone, splits: Splits, inputs: InputRecipe, options: TrainOptions) -> Task:
    """Return the task that the options and the data ask for.

    Raises:
        UserError: For a loss, a positive class or a metric that these data don't go with.
    """
    train, val = splits["train"], splits["val"]
    is_multi_label = gives_label_sets(train)
    if is_multi_label and options.positive is not None:
        raise UserError("--positive is for one label an image, and these have any number. Leave it out.")
    weights = None
    if options.loss.class_weights == "balanced":
        weights = positive_weights(train) if is_multi_label else class_weights(train)
    readout = readout_of(options.loss, is_multi_label=is_multi_label)
    positive = None if is_multi_label else choose_positive(_deciding_counts(train, val, options), options.positive)
    evaluator = make_evaluator(train.classes, readout=readout, positive=positive, select=options.select)
    return build_task(
        backbone,
        train.classes,
        inputs=inputs,
        head=options.head,
        head_options=options.head_options,
        criterion=ClassLoss(readout, options.loss, weights),
        evaluator=evaluator,
    )


def _deciding_counts(train: AnnotatedImages, val: AnnotatedImages, options: TrainOptions) -> dict[str, int]:
    """Return the images of each class that say which of two is the rarer one.

    Those of the training split; of a fold also those it validates on, together all that were cut into folds: nearly
    balanced classes would otherwise be the rarer one in turns, and the folds' figures could not be put together.
    """
    counts = train.class_counts()
    if options.fold is None:
        return counts
    return {name: count + val.class_counts()[name] for name, count in counts.items()}
