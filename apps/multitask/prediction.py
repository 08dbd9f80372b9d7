"""Running all heads of a model over images, each of which the trunk sees once."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...backbones.errors import UserError
from ...datasets import Question, Record, clean_text, list_pictures
from ...datasets.findings import count
from ..commands import prepare
from ..inputs import check_images, make_loader
from ..outputs import output_folder, write_predictions
from ..processes import is_first
from ..run_folder import make_folder, replace_json
from ..trainer import predict
from .model import MultiTaskModel, load_multitask
from .options import PredictOptions
from .writers import WRITERS

JOINED = "predictions.json"
Row = dict[str, Any]


def run_prediction(options: PredictOptions) -> list[Row]:
    """Run all heads over images; return a row for each with what every task says, in the order of the sorted paths.

    With an output folder each task's rows and files are written into a folder of its name below it, as the app's own
    predict command does, and one file joins the rows by image.

    Raises:
        UserError: For a model or images that can't be used.
    """
    model = load_multitask(options.model)
    where = output_folder(options.output, JOINED, *model.tasks, overwrite=options.overwrite)
    model.active = _answering(model, options)
    records = _asked(options)
    finish = {}
    for name in model.active:
        if name in WRITERS:
            finish[name] = WRITERS[name](model.tasks[name], records, options, where and where / name)
    rows = _look(model, records, options)
    joined = [_join(row) for row in rows]
    if not is_first():
        return joined
    if where is None:
        for row in joined:
            print(json.dumps(row, ensure_ascii=False))
        return joined
    for name in model.active:
        own = [row[name] for row in rows]
        write_predictions(where / name, own)
        if write := finish.get(name):
            write(own)
    replace_json(make_folder(where) / JOINED, joined)
    _report(model, joined, where)
    return joined


def _answering(model: MultiTaskModel, options: PredictOptions) -> tuple[str, ...]:
    """Return the tasks whose heads run; vqa only where something is asked.

    Raises:
        UserError: If none is left, or questions are asked of a model that can't answer.
    """
    if options.questions and "vqa" not in model.tasks:
        raise UserError(
            f"'{options.model}' can't answer --questions: it has heads of {', '.join(model.tasks)}, none of vqa. Leave "
            "the questions out, or put a head of vqa in: onetrunk multitask add."
        )
    if options.questions or "vqa" not in model.tasks:
        return tuple(model.tasks)
    active = tuple(name for name in model.tasks if name != "vqa")
    if not active:
        raise UserError('The only head is one of vqa, and nothing is asked. Ask something: --questions "How many?"')
    print('vqa is left out: nothing is asked; with --questions "How many?" it answers')
    return active


def _asked(options: PredictOptions) -> Sequence[Record]:
    """Return the images, with what is asked about them."""
    records = list_pictures(options.images)
    questions = tuple(dict.fromkeys(Question(clean_text(text)) for text in options.questions))
    return [replace(record, targets={"questions": questions}) for record in records] if questions else records


def _look(model: MultiTaskModel, records: Sequence[Record], options: PredictOptions) -> list[Row]:
    """Return for each image the rows of the active tasks, from one pass over the images."""
    check_images(records, options)
    inputs = model.inputs
    loader = make_loader(records, inputs.transform(), options, channels=inputs.channels)
    return predict(model, loader, prepare(model, records, inputs, options))


def _join(row: Row) -> Row:
    """Return what all tasks say of an image; of one that can't be read, why."""
    first: Row = next(iter(row.values()))
    if "error" in first:
        return first
    return {
        "image": first["image"],
        **{task: {key: value for key, value in own.items() if key != "image"} for task, own in row.items()},
    }


def _report(model: MultiTaskModel, rows: Sequence[Row], where: Path) -> None:
    skipped = sum("error" in row for row in rows)
    note = f" ({count(skipped, 'more image')} can't be read; the rows say why)" if skipped else ""
    print(
        f"{count(len(rows) - skipped, 'image')}, seen once by the trunk for {', '.join(model.active)}{note}; the rows "
        f"are in {where / JOINED}, each task's files in {where}/TASK"
    )
