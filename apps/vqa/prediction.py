"""Answering questions about images with a trained model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...datasets import Question, Record, clean_text, list_pictures, open_dataset, read_image
from ..commands import predict_pictures
from ..drawing import PICTURES
from ..inputs import InputRecipe
from ..model_file import load_model
from ..outputs import PREDICTIONS, output_folder, picture_stems, save_png
from ..processes import is_first
from .answer_file import ANSWERS, write_answers
from .head import AnswerHead
from .opening import note_cut
from .options import PredictOptions
from .pictures import draw_answers


def run_prediction(options: PredictOptions) -> list[dict[str, Any]]:
    """Answer every question about every image, or those of a data set; return a row for each image.

    With an output folder there is a picture of each image too, with the answers below it, and the answers by the
    questions' numbers where they have any.

    Raises:
        UserError: For a model, images or data that can't be used.
    """
    where = output_folder(options.output, *PREDICTIONS, PICTURES, ANSWERS, overwrite=options.overwrite)
    task = load_model(options.model, task="vqa")
    assert isinstance(task.head, AnswerHead)
    records = _asked(options)
    texts = [question.text for record in records for question in record.targets["questions"]]
    note_cut(texts, task.head.encoder.vocabulary, task.head.encoder.max_tokens)
    if where is None:
        return predict_pictures(task, records, options, where=None)
    task.head.shows_attention = True
    inputs = InputRecipe.from_dict(task.description["inputs"])
    task.keep_prediction = AnswerPictures(where / PICTURES, records, inputs).write
    rows = predict_pictures(task, records, options, where=where)
    if is_first():
        write_answers(where, rows, records)
        print(f"the pictures with their answers are in {where / PICTURES}")
    return rows


def _asked(options: PredictOptions) -> Sequence[Record]:
    """Return the images with what is asked about them."""
    if options.data is not None:
        return open_dataset(options.data, options.split, kind="questions").records
    questions = tuple(dict.fromkeys(Question(clean_text(text)) for text in options.question))
    return [replace(record, targets={"questions": questions}) for record in list_pictures(options.images)]


class AnswerPictures:
    """Draws predictions as they come, so that where a head looked is never held for more than a batch."""

    def __init__(self, folder: Path, records: Sequence[Record], inputs: InputRecipe) -> None:
        """Take the folder to write to, the images, and how they come onto the canvas that attention is over."""
        self._folder, self._inputs = folder, inputs
        self._paths = {record.name: record.path for record in records}
        self._stems = picture_stems([record.name for record in records])

    def write(self, name: str, row: dict[str, Any]) -> dict[str, Any]:
        """Write the picture of an image; return its row without what was only for that."""
        drawn = draw_answers(read_image(self._paths[name]), row["answers"], self._inputs)
        save_png(drawn, self._folder / f"{self._stems[name]}.png")
        plain = [{key: value for key, value in answer.items() if key != "attention"} for answer in row["answers"]]
        return {**row, "answers": plain}
