"""Labelling images with a trained classifier."""

from functools import partial
from typing import Any

from ...datasets import list_pictures
from ..commands import predict_pictures
from ..model_file import load_model
from ..outputs import PREDICTIONS, output_folder
from ..views import make_views
from .options import PredictOptions
from .subjects import predict_folders


def run_prediction(options: PredictOptions) -> list[dict[str, Any]]:
    """Label images; return a row for each with its most probable classes, in the order of the sorted paths.

    Raises:
        UserError: For a model or images that can't be used.
    """
    where = output_folder(options.output, *PREDICTIONS, overwrite=options.overwrite)
    task = load_model(options.model, task="classification")
    task.views = make_views(options)
    summarize = partial(predict_folders, task.head) if options.by_folder else None
    return predict_pictures(task, list_pictures(options.images), options, where=where, summarize=summarize)
