"""Training a localizer, from the options to the card."""

import torch

from ...backbones import Backbone
from ...datasets import AnnotatedImages, balanced_weights, class_weights
from ..card import Card
from ..classification.losses import ClassLoss
from ..classification.options import LossOptions as ClassLossOptions
from ..config import canvas_of
from ..data_check import check_data
from ..fit import fit, show_finished
from ..inputs import InputRecipe, make_recipe
from ..run_folder import open_run
from ..task import Task
from ..trainer import describe_training
from ..training_data import make_fit_data
from ..trunk import build_trunk
from .baselines import mean_box
from .metrics import make_evaluator
from .opening import open_for_training
from .options import HeadOptions, TrainOptions
from .task import build_task, settle_level


def run_training(options: TrainOptions) -> Card:
    """Fine-tune a trunk on images with boxes; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    run = open_run("localization", options)
    if options.resume and run.is_finished:
        return show_finished(run)
    torch.manual_seed(options.seed)
    head_options = settle_level(options.head_options, options)
    assert head_options.level is not None
    backbone = build_trunk(options, (head_options.level,))
    splits = open_for_training(options, run.split)
    inputs = make_recipe(backbone.preprocessing, canvas_of(options.image_size), options.resize)
    identities = check_data(splits, options)
    task = _build(backbone, splits["train"], inputs, head_options, options)
    print(describe_training(task, splits, options, head=f"{options.head} ({head_options.level})"))
    weights = balanced_weights(splits["train"].records) if options.sampling == "balanced" else None
    data = make_fit_data(splits, identities, inputs, options, augment=options.augment, sample_weights=weights)
    return fit(task, data, options, run)


def _build(
    backbone: Backbone,
    train: AnnotatedImages,
    inputs: InputRecipe,
    head_options: HeadOptions,
    options: TrainOptions,
) -> Task:
    """Return the task that the options and the data ask for.

    Raises:
        UserError: For a metric that there isn't with these classes, or a level that the head can't read.
    """
    loss = options.loss
    weights = class_weights(train) if loss.class_weights == "balanced" else None
    criterion = ClassLoss(
        "softmax", ClassLossOptions(name="cross_entropy", label_smoothing=loss.label_smoothing), weights
    )
    return build_task(
        backbone,
        make_evaluator(train.classes, mean_box(train), select=options.select),
        inputs=inputs,
        head=options.head,
        head_options=head_options,
        criterion=criterion,
        loss_weights={
            "classification": loss.classification,
            "smooth_l1": loss.smooth_l1,
            "giou": loss.giou,
        },
    )
