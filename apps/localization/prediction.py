"""Locating what images show, with a trained model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...datasets import Record, list_pictures, read_image
from ..commands import predict_pictures
from ..drawing import PICTURES, Mark, draw
from ..model_file import load_model
from ..outputs import PREDICTIONS, output_folder, picture_stems, save_png
from ..processes import is_first
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
        draw_boxes(where / PICTURES, records, rows)
        print(f"the pictures with their boxes are in {where / PICTURES}")
    return rows


def draw_boxes(folder: Path, records: Sequence[Record], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write each picture with its box, class and probability as PNG; those with an error are passed over."""
    stems = picture_stems([record.name for record in records])
    for record, row in zip(records, rows, strict=True):
        if "error" not in row:
            mark = Mark(row["box"], f"{row['predicted']} {row['probability']:.2f}")
            save_png(draw(read_image(record.path), [mark]), folder / f"{stems[record.name]}.png")
