"""Locating what images show, with a trained model."""

from typing import Any

from ...datasets import list_pictures
from ..commands import predict_pictures
from ..model_file import load_model
from ..outputs import PREDICTIONS, output_folder
from ..processes import is_first
from .drawing import PICTURES, draw_predictions
from .flips import use_flips
from .options import PredictOptions


def run_prediction(options: PredictOptions) -> list[dict[str, Any]]:
    """Locate what images show; return a row for each with its most probable class and its box, in sorted order.

    With an output folder the pictures are drawn too.

    Raises:
        UserError: For a model or images that can't be used.
    """
    where = output_folder(options.output, *PREDICTIONS, PICTURES, overwrite=options.overwrite)
    task = load_model(options.model, task="localization")
    use_flips(task, options)
    records = list_pictures(options.images)
    rows = predict_pictures(task, records, options, where=where)
    if where is not None and is_first():
        draw_predictions(where / PICTURES, records, rows)
        print(f"the pictures with their boxes are in {where / PICTURES}")
    return rows
