"""Saying what images show, with a trained model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...datasets import Record, list_pictures, read_image
from ..attention_pictures import Panel, attention_sheet, picture_part
from ..commands import predict_pictures
from ..drawing import PICTURES
from ..inputs import InputRecipe
from ..model_file import load_model
from ..outputs import PREDICTIONS, output_folder, picture_stems, save_png
from ..processes import is_first
from .head import CaptionHead
from .options import PredictOptions


def run_prediction(options: PredictOptions) -> list[dict[str, Any]]:
    """Say what images show; return a row for each with its caption, in sorted order.

    With an output folder a picture is written of each, with where the decoder looked at each word if it looks around.

    Raises:
        UserError: For a model or images that can't be used.
    """
    where = output_folder(options.output, *PREDICTIONS, PICTURES, overwrite=options.overwrite)
    task = load_model(options.model, task="captioning")
    head = task.head
    assert isinstance(head, CaptionHead)
    head.say_with(options)
    records = list_pictures(options.images)
    if where is not None:
        head.shows_attention = head.has_attention
        task.keep_prediction = CaptionPictures(where, records, InputRecipe.from_dict(task.description["inputs"])).write
    rows = predict_pictures(task, records, options, where=where)
    if where is not None and is_first():
        print(f"the pictures with their captions are in {where / PICTURES}")
    return rows


class CaptionPictures:
    """Writes the pictures of captions as they come, so that never more than a batch of them is held."""

    def __init__(self, folder: Path, records: Sequence[Record], inputs: InputRecipe) -> None:
        """Take the folder to write below, the images, and how they come onto the canvas that attention is over."""
        self._folder = folder
        self._inputs = inputs
        self._paths = {record.name: record.path for record in records}
        self._stems = picture_stems([record.name for record in records])

    def write(self, name: str, row: dict[str, Any]) -> dict[str, Any]:
        """Write the picture of a caption; return the row without the attention, and with the picture's path."""
        picture = read_image(self._paths[name])
        panels, heading = [Panel("")], row["caption"]
        if "attention" in row:
            heading += " (bright: where it looked)"
            shown = picture_part(row["attention"], self._inputs, (picture.height, picture.width))
            panels += [Panel(word, weights) for word, weights in zip(row["words"], shown, strict=True)]
        path = f"{PICTURES}/{self._stems[name]}.png"
        save_png(attention_sheet(picture, panels, heading=heading), self._folder / path)
        return {**{key: value for key, value in row.items() if key not in ("words", "attention")}, "picture": path}
