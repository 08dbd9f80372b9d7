"""From the options of a train command to its card, the same way whatever the app, which brings the pieces."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar, cast

import torch

from ..backbones import Backbone
from ..backbones.weights import WeightSource
from ..datasets import AnnotatedImages, FitMode, Kind, balanced_weights
from .card import Card
from .config import PlacingOptions, TrainingOptions, ZoomOptions, canvas_of
from .data_check import Identity, check_data
from .fit import Finish, fit, show_finished
from .fit_data import FitData
from .inputs import InputRecipe, make_recipe
from .opening import open_training_splits
from .run_folder import open_run
from .task import Task
from .trainer import describe_training
from .training_data import make_fit_data
from .trunk import build_trunk

Options = TypeVar("Options", bound=TrainingOptions)
Splits = Mapping[str, AnnotatedImages]
"""``train`` and ``val``."""


class _PictureOptions(Protocol):
    """What the options of every app have besides ``TrainingOptions``, each with choices of its own."""

    @property
    def resize(self) -> FitMode: ...

    @property
    def augment(self) -> PlacingOptions | ZoomOptions: ...


@dataclass(frozen=True)
class TrunkNeeds:
    """What a head needs of its trunk.

    Attributes:
        levels: What it reads.
        output_stride: Of the deepest map; None for a head that doesn't ask for one.
        weights: In place of what the options say, where the file that they name holds more than a trunk.
    """

    levels: tuple[str, ...]
    output_stride: int | None = None
    weights: WeightSource | None = None


class AppTraining(ABC, Generic[Options]):
    """What an app brings to a training: what its head needs, what it asks of the data, and the task itself.

    It keeps nothing between calls: each of them follows from the options and what else is given.
    """

    app: str
    """Its name in commands and folders."""
    kind: Kind
    """What is annotated."""

    @abstractmethod
    def needs(self, options: Options) -> TrunkNeeds:
        """Return what the head that is asked for needs of its trunk.

        Raises:
            UserError: The trunk can't carry the head, and no weights were looked for; or those of a whole detector
                don't go with the head.
        """

    @abstractmethod
    def require(self, images: AnnotatedImages, options: Options) -> AnnotatedImages:
        """Return a split with the targets that the task needs.

        Raises:
            DataError: Naming what lacks them.
        """

    def check(self, splits: Splits, options: Options) -> None:
        """Refuse data from which nothing can be learned, though each of their images is as ``require`` wants it.

        Raises:
            DataError: Saying why.
        """
        return

    @abstractmethod
    def build(self, backbone: Backbone, splits: Splits, inputs: InputRecipe, options: Options) -> Task:
        """Return the task that the options and the data ask for; print how its head begins, where that is news.

        Args:
            backbone: A trunk that gives at least the levels that ``needs`` says; others change nothing.
            splits: What is trained and measured on.
            inputs: How images come onto the canvas.
            options: The command's.

        Raises:
            UserError: For options that don't go with the trunk or with these data.
        """

    @abstractmethod
    def describe(self, task: Task, splits: Splits, options: Options) -> tuple[str, str | None]:
        """Return what the head is called, and what the data have where that isn't classes; see ``announce``."""

    def note(self, task: Task, splits: Splits, options: Options) -> None:
        """Print what of the data can't be learned or read as it is."""
        return

    def check_readable(self, task: Task, splits: Splits, identities: Mapping[str, Identity], options: Options) -> None:
        """Refuse data from whose readable images nothing can be measured.

        Args:
            task: The task.
            splits: What is trained and measured on.
            identities: What ``check_data`` found of them.
            options: The command's.

        Raises:
            DataError: Saying why.
        """
        return

    def sample_weights(self, splits: Splits, options: Options) -> Sequence[float] | None:
        """Return how often each training image is drawn, in proportion to the others; None for each once an epoch."""
        return balanced_weights(splits["train"].records) if options.sampling == "balanced" else None

    def finish(self, options: Options) -> Finish | None:
        """Return what is left to do with the best weights, if anything is."""
        return None


def run_training(training: AppTraining[Options], options: Options) -> Card:
    """Train a head, with the trunk or on it; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    run = open_run(training.app, options)
    if options.resume and run.is_finished:
        return show_finished(run)
    torch.manual_seed(options.seed)
    backbone = build_trunk_of(options, training.needs(options))
    splits = open_splits(training, options, run.split)
    inputs = make_inputs(backbone, options)
    identities = check_data(splits, options)
    task = build_seeded(training, backbone, splits, inputs, options)
    announce(training, task, splits, options)
    data = make_data(training, task, splits, identities, inputs, options)
    return fit(task, data, options, run, finish=training.finish(options))


def build_trunk_of(options: TrainingOptions, needs: TrunkNeeds) -> Backbone:
    """Return the trunk that the options ask for, as a head needs it.

    Raises:
        UserError: As ``build_trunk``.
    """
    stride = {} if needs.output_stride is None else {"output_stride": needs.output_stride}
    return build_trunk(options, needs.levels, weights=needs.weights, **stride)


def open_splits(training: AppTraining[Options], options: Options, split_file: Path) -> dict[str, AnnotatedImages]:
    """Return the training and the validation split with the targets that a task needs.

    Args:
        training: The app's.
        options: The command's.
        split_file: Where a run keeps a split that was cut for it.

    Raises:
        DataError: Naming what lacks such targets, or saying why nothing can be learned.
    """
    require = partial(training.require, options=options)
    splits = open_training_splits(options, split_file, kind=training.kind, require=require)
    training.check(splits, options)
    return splits


def make_inputs(backbone: Backbone, options: TrainingOptions) -> InputRecipe:
    """Return how images come onto the canvas: as the weights and the options say."""
    resize = cast(_PictureOptions, options).resize
    return make_recipe(backbone.preprocessing, canvas_of(options.image_size), resize)


def build_seeded(
    training: AppTraining[Options], backbone: Backbone, splits: Splits, inputs: InputRecipe, options: Options
) -> Task:
    """Return ``training.build``'s task, whose head's first weights follow from the seed alone.

    What building the trunk drew doesn't count: a head begins the same beside others, on a trunk with more levels.

    Raises:
        UserError: As ``AppTraining.build``.
    """
    torch.manual_seed(options.seed)
    return training.build(backbone, splits, inputs, options)


def announce(training: AppTraining[Options], task: Task, splits: Splits, options: Options) -> None:
    """Print what is about to be trained, and what the app has to say of the data."""
    head, learned = training.describe(task, splits, options)
    print(describe_training(task, splits, options, head=head, learned=learned))
    training.note(task, splits, options)


def make_data(
    training: AppTraining[Options],
    task: Task,
    splits: Splits,
    identities: Mapping[str, Identity],
    inputs: InputRecipe,
    options: Options,
) -> FitData:
    """Return the loaders of a training with what the run keeps of its data.

    Args:
        training: The app's.
        task: What ``training`` built.
        splits: What is trained and measured on.
        identities: What ``check_data`` found of them.
        inputs: How images come onto the canvas.
        options: The command's.

    Raises:
        DataError: If the images that can be read leave nothing to measure.
    """
    training.check_readable(task, splits, identities, options)
    augment = cast(_PictureOptions, options).augment
    weights = training.sample_weights(splits, options)
    return make_fit_data(splits, identities, inputs, options, augment=augment, sample_weights=weights)
