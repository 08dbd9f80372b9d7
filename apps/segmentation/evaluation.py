"""Evaluating a trained segmentation model."""

from ..card import Card
from ..commands import evaluate_command
from ..data_check import identify
from ..inputs import InputRecipe, check_images, make_loader
from ..model_file import load_trained
from ..outputs import IMAGES, PREDICTIONS, RESULTS, output_folder
from ..views import make_views
from .opening import open_for_model
from .options import EvaluateOptions


def run_evaluation(options: EvaluateOptions) -> Card:
    """Evaluate a model on a split, in the pixels of the files; return its card.

    Raises:
        UserError: For a model or data that can't be used.
    """
    assert options.model is not None
    where = output_folder(options.output, RESULTS, IMAGES, *PREDICTIONS, overwrite=options.overwrite)
    task, backbone = load_trained(options.model)
    description = task.description
    images = open_for_model(options.model, options, is_multi_label=description["readout"] == "sigmoid")
    task.views = make_views(options)
    check_images(images.records, options)
    inputs = InputRecipe.from_dict(description["inputs"])
    loader = make_loader(
        images.records, inputs.transform(), options, channels=inputs.channels, classes=description["classes"]
    )
    identity = identify(images)
    facts = {"path": options.data, "fingerprint": identity.fingerprint, "split_origin": images.split_origin}
    return evaluate_command(
        task, loader, options, where=where, backbone=backbone, data=facts, contents=identity.contents
    )
