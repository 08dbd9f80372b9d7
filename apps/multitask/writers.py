"""What the predict commands of the apps write besides their rows: pictures, masks, COCO's JSON."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...datasets import Record
from ..inputs import InputRecipe
from ..task import Task
from .options import PredictOptions

Row = dict[str, Any]
Finish = Callable[[list[Row]], None]
"""Writes what takes the rows of all images."""
Prepare = Callable[[Task, Sequence[Record], PredictOptions, Path | None], Finish | None]
"""Sets what a task keeps of each prediction and what it writes meanwhile.

Called with the task, the images, the options, and the folder for the task's files if there is one.
"""


def _segmentation(task: Task, records: Sequence[Record], options: PredictOptions, where: Path | None) -> Finish | None:
    from ..segmentation.options import PredictOptions as AppOptions
    from ..segmentation.prediction import MaskPictures, without_mask

    if where is None:
        task.keep_prediction = without_mask
        return None
    own = AppOptions(model=options.model, images=options.images, opacity=options.opacity)
    pictures = MaskPictures(where, tuple(records), task.description, own)
    task.keep_prediction = pictures.write
    return lambda rows: pictures.write_legend()


def _detection(task: Task, records: Sequence[Record], options: PredictOptions, where: Path | None) -> Finish | None:
    from ...datasets.coco_numbers import number_classes
    from ..detection.coco_results import write_data_set
    from ..detection.prediction import draw_objects
    from ..drawing import PICTURES
    from ..palette import colors_of

    least = task.description["head"]["options"]["score_threshold"]
    if options.threshold < least:
        print(f"--threshold {options.threshold:g}: the model was trained to give nothing below {least:g}")

    def keep(name: str, row: Row) -> Row:
        return {**row, "objects": [one for one in row["objects"] if one["score"] >= options.threshold]}

    task.keep_prediction = keep
    if where is None:
        return None
    classes, folder = task.description["classes"], where

    def finish(rows: list[Row]) -> None:
        write_data_set(folder, rows, records, number_classes(classes, task.description["numbers"]))
        draw_objects(folder / PICTURES, records, rows, dict(zip(classes, colors_of(classes, None), strict=True)))

    return finish


def _localization(task: Task, records: Sequence[Record], options: PredictOptions, where: Path | None) -> Finish | None:
    from ..drawing import PICTURES
    from ..localization.prediction import draw_boxes

    if where is None:
        return None
    folder = where / PICTURES
    return lambda rows: draw_boxes(folder, records, rows)


def _captioning(task: Task, records: Sequence[Record], options: PredictOptions, where: Path | None) -> Finish | None:
    from ..captioning.head import CaptionHead
    from ..captioning.prediction import CaptionPictures

    if where is not None:
        assert isinstance(task.head, CaptionHead)
        task.head.shows_attention = task.head.has_attention
        task.keep_prediction = CaptionPictures(where, records, InputRecipe.from_dict(task.description["inputs"])).write
    return None


def _vqa(task: Task, records: Sequence[Record], options: PredictOptions, where: Path | None) -> Finish | None:
    from ..drawing import PICTURES
    from ..vqa.head import AnswerHead
    from ..vqa.opening import note_cut
    from ..vqa.prediction import AnswerPictures

    assert isinstance(task.head, AnswerHead)
    texts = [question.text for record in records for question in record.targets["questions"]]
    note_cut(texts, task.head.encoder.vocabulary, task.head.encoder.max_tokens)
    if where is not None:
        task.head.shows_attention = True
        inputs = InputRecipe.from_dict(task.description["inputs"])
        task.keep_prediction = AnswerPictures(where / PICTURES, records, inputs).write
    return None


#: The apps that write more than rows.
WRITERS: Mapping[str, Prepare] = {
    "captioning": _captioning,
    "detection": _detection,
    "localization": _localization,
    "segmentation": _segmentation,
    "vqa": _vqa,
}
