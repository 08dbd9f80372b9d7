"""Answering questions about images with a trained model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...datasets import Question, Record, clean_text, list_pictures, read_image
from ..commands import predict_pictures
from ..drawing import PICTURES
from ..inputs import InputRecipe
from ..model_file import load_model
from ..outputs import PREDICTIONS, output_folder, picture_stems, save_png
from ..processes import is_first
from .head import AnswerHead
from .opening import note_cut
from .options import PredictOptions
from .pictures import draw_answers


def run_prediction(options: PredictOptions) -> list[dict[str, Any]]:
    """Answer every question about every image; return a row for each image, in sorted order.

    With an output folder there is a picture of each image too, with the answers below it.

    Raises:
        UserError: For a model or images that can't be used.
    """
    where = output_folder(options.output, *PREDICTIONS, PICTURES, overwrite=options.overwrite)
    task = load_model(options.model, task="vqa")
    assert isinstance(task.head, AnswerHead)
    texts = [clean_text(text) for text in options.question]
    note_cut(texts, task.head.encoder.vocabulary, task.head.encoder.max_tokens)
    questions = tuple(Question(text) for text in texts)
    records = [replace(record, targets={"questions": questions}) for record in list_pictures(options.images)]
    if where is None:
        return predict_pictures(task, records, options, where=None)
    task.head.shows_attention = True
    inputs = InputRecipe.from_dict(task.description["inputs"])
    task.keep_prediction = _Pictures(where / PICTURES, records, inputs).write
    rows = predict_pictures(task, records, options, where=where)
    if is_first():
        print(f"the pictures with their answers are in {where / PICTURES}")
    return rows


class _Pictures:
    """Draws predictions as they come, so that where a head looked is never held for more than a batch."""

    def __init__(self, folder: Path, records: Sequence[Record], inputs: InputRecipe) -> None:
        self._folder, self._inputs = folder, inputs
        self._paths = {record.name: record.path for record in records}
        self._stems = picture_stems([record.name for record in records])

    def write(self, name: str, row: dict[str, Any]) -> dict[str, Any]:
        """Write the picture of an image; return its row without what was only for that."""
        drawn = draw_answers(read_image(self._paths[name]), row["answers"], self._inputs)
        save_png(drawn, self._folder / f"{self._stems[name]}.png")
        plain = [{key: value for key, value in answer.items() if key != "attention"} for answer in row["answers"]]
        return {**row, "answers": plain}
