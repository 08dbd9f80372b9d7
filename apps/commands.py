"""The evaluate and predict commands, whatever the app."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ..datasets import AnnotatedImages, Record, TargetEncoder
from ..datasets.findings import count
from .card import Card, make_card, print_card
from .config import EvaluationOptions, PredictionOptions, RuntimeOptions
from .data_check import Identity, identify
from .evaluation import Evaluation, Evaluator
from .extraction import settle_trunk
from .inputs import InputRecipe, check_images, make_loader
from .on_trunk import OnTrunk
from .outputs import PREDICTIONS, RESULTS, write_evaluation, write_predictions
from .processes import is_first
from .task import Task
from .trainer import evaluate, measure_cost, predict, predict_outputs

Row = dict[str, Any]
Runtime = TypeVar("Runtime", bound=RuntimeOptions)


@dataclass(frozen=True)
class OpenedSplit:
    """A split that a task is evaluated on.

    Attributes:
        images: The split.
        records: In place of the split's, where the task names its classes otherwise.
        write: Writes what an app has besides into the folder of an evaluation.
    """

    images: AnnotatedImages
    records: Sequence[Record] | None = None
    write: Callable[[Path, Evaluation], None] | None = None

    @property
    def judged(self) -> Sequence[Record]:
        """The records that the task is evaluated on."""
        return self.images.records if self.records is None else self.records

    def encoder(self, task: Task) -> TargetEncoder:
        """Return what makes targets of the records, in the order of a task's classes."""
        return TargetEncoder.fitting(self.judged, task.description["classes"])

    def facts(self, path: str, identity: Identity) -> dict[str, Any]:
        """Return the card's facts about the data.

        Args:
            path: Where they are, as it was given.
            identity: Of ``images``.
        """
        return {"path": path, "fingerprint": identity.fingerprint, "split_origin": self.images.split_origin}


def evaluate_split(
    task: Task, opened: OpenedSplit, options: EvaluationOptions, *, where: Path | None, backbone: dict[str, Any]
) -> Card:
    """Evaluate a task on a split, write card and predictions into ``where``, print the card and return it.

    Args:
        task: The task.
        opened: The split.
        options: How it runs, and what the split is called.
        where: The folder for the files.
        backbone: The card's facts about the trunk.

    Raises:
        DataError: Naming every image that can't be used, unless such are to be skipped.
    """
    records = opened.judged
    check_images(records, options)
    started = time.monotonic()
    inputs = InputRecipe.from_dict(task.description["inputs"])
    loader = make_loader(records, inputs.transform(), options, channels=inputs.channels, targets=opened.encoder(task))
    identity = identify(opened.images)
    evaluation, seconds = evaluate(task, loader, prepare(task, records, inputs, options))
    assert task.fast is not None
    evaluation.details["inference"] = task.fast.facts()
    card = make_card(
        evaluation,
        task=str(task.description["task"]),
        split=options.split,
        selected_on=None,
        cost=measure_cost(
            task, evaluation, seconds=seconds, total=time.monotonic() - started, trained=0, options=options
        ),
        backbone=backbone,
        data=opened.facts(options.data, identity),
    )
    if is_first():
        if where is not None:
            write_evaluated(where, task.evaluator, evaluation, card, identity.contents, write=opened.write)
        print_card(card, where=where / RESULTS if where else None)
    return card


def write_evaluated(
    folder: Path,
    evaluator: Evaluator,
    evaluation: Evaluation,
    card: Card,
    contents: Mapping[str, int],
    *,
    write: Callable[[Path, Evaluation], None] | None = None,
) -> None:
    """Write all that is kept of a task's evaluation, the card last.

    Args:
        folder: Where to.
        evaluator: Made the figures.
        evaluation: What came out.
        card: Its card.
        contents: A short hash of each image's file, by the image's name.
        write: Writes what an app has besides.
    """
    write_evaluation(folder, evaluator, evaluation, contents)
    if write is not None:
        write(folder, evaluation)
    card.write(folder / RESULTS)


def predict_pictures(
    task: Task,
    records: Sequence[Record],
    options: PredictionOptions,
    *,
    where: Path | None,
    summarize: Callable[[list[Row]], list[Row]] | None = None,
) -> list[Row]:
    """Run a task over pictures, write the predictions into ``where`` or print them, and return them.

    Args:
        task: The task.
        records: The pictures.
        options: How it runs.
        where: The folder for the files.
        summarize: Makes the final predictions from those of images with their raw ``output``.

    Raises:
        DataError: Naming every image that can't be read, unless such are to be skipped.
    """
    check_images(records, options)
    inputs = InputRecipe.from_dict(task.description["inputs"])
    loader = make_loader(records, inputs.transform(), options, channels=inputs.channels)
    settled = prepare(task, records, inputs, options)
    rows = summarize(predict_outputs(task, loader, settled)) if summarize else predict(task, loader, settled)
    if not is_first():
        return rows
    if where is None:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    else:
        write_predictions(where, rows)
        skipped = sum("error" in row for row in rows)
        note = f" ({count(skipped, 'more image')} can't be read; the rows say why)" if skipped else ""
        files = " and ".join(str(where / name) for name in PREDICTIONS)
        print(f"{count(len(rows) - skipped, 'prediction')}{note} in {files}")
    return rows


def prepare(task: OnTrunk, records: Sequence[Record], inputs: InputRecipe, options: Runtime) -> Runtime:
    """Bring a task into the form it runs in, and return the options with what ``auto`` stands for here.

    Args:
        task: The task; its trunk is seen through its inference form from then on.
        records: What it will look at.
        inputs: How a picture comes onto the canvas.
        options: How it runs.
    """
    task.use_channels_last()
    task.fast = settle_trunk(task.backbone, records, inputs.transform(), options, canvas=inputs.canvas)
    return replace(options, precision=task.fast.form.precision)
