"""Evaluating all heads of a model in one pass over each data set, each as its app's own evaluate command does."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...backbones.errors import UserError
from ...datasets import MixedLoader
from ..card import Card, make_card
from ..commands import prepare, write_evaluated
from ..config import RuntimeOptions
from ..evaluation import Evaluation
from ..inputs import check_images, make_loader
from ..model_file import read_description
from ..outputs import RESULTS, output_folder
from ..processes import is_first
from ..trainer import Loader, look_at_all, measure_cost, print_undefined
from .alone import check_alone, compare_alone
from .card import MultiTaskCard, print_multitask_card
from .model import MultiTaskModel, load_multitask
from .opening import SharedSplit, open_shared_splits
from .options import EvaluateOptions

Write = Callable[[Path, Evaluation], None]
"""Writes what an app has besides into the folder of an evaluation."""


@dataclass(frozen=True)
class Spent:
    """What a model, or one of its heads, had cost before it was evaluated.

    Attributes:
        trained: How many parameters were trained.
        storing_seconds: How long features took that were stored before.
        val_seconds: How long those of the evaluated pictures took of it, which an evaluation of its own spends as well.
    """

    trained: int = 0
    storing_seconds: float = 0.0
    val_seconds: float = 0.0


@dataclass(frozen=True)
class Judging:
    """What is evaluated, and what it costs besides.

    Attributes:
        split: The split's name.
        selected_on: The split that chose the checkpoint, if one did.
        options: Where and how it runs.
        started: When the command did, by ``time.monotonic``.
        in_all: What the whole model had cost before.
        by_task: What each head had; nothing where that is no part of it.
    """

    split: str
    selected_on: str | None
    options: RuntimeOptions
    started: float
    in_all: Spent = field(default_factory=Spent)
    by_task: Mapping[str, Spent] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """Evaluations of all heads from one pass.

    Attributes:
        judging: What was evaluated.
        evaluations: By task.
        cards: By task, as its app's own command would write it.
        backbone: The facts about the trunk.
        cost: Of all together.
    """

    judging: Judging
    evaluations: Mapping[str, Evaluation]
    cards: Mapping[str, Card]
    backbone: dict[str, Any]
    cost: dict[str, Any]

    def card(self) -> MultiTaskCard:
        """Return the card of all tasks."""
        tasks = {name: asdict(card) for name, card in self.cards.items()}
        return MultiTaskCard(split=self.judging.split, tasks=tasks, backbone=self.backbone, cost=self.cost)


def run_evaluation(options: EvaluateOptions) -> MultiTaskCard:
    """Evaluate the heads of a model, each data set in one pass; return the card with a row for each.

    Raises:
        UserError: For a model or data that can't be used.
    """
    assert options.model is not None
    model = load_multitask(options.model)
    where = output_folder(options.output, RESULTS, *(options.tasks or model.tasks), overwrite=options.overwrite)
    alone = check_alone(options.alone, model.tasks)
    splits = open_shared_splits(model, options)
    model.active = tuple(task for task in model.tasks if any(task in split.opened for split in splits))
    if idle := [task for task in alone if task not in model.active]:
        raise UserError(
            f"--alone: '{alone[idle[0]]}' is of {idle[0]}, which isn't evaluated here. Leave it out, or evaluate that "
            "task too."
        )
    judged = _judge_splits(model, splits, options)
    card = judged.card()
    if is_first():
        if where is not None:
            contents = {task: own.contents for split in splits for task, own in split.identities.items()}
            writers = {task: opened.write for split in splits for task, opened in split.opened.items()}
            write_judged(where, judged, model, contents, writers)
            card.write(where / RESULTS)  # it stays, whatever the comparison says
            together = {task: where / task for task in model.active}
            card = replace(card, alone=compare_alone(together, options.alone))
            card.write(where / RESULTS)
        print_multitask_card(card, where / RESULTS if where else None)
    return card


def _judge_splits(model: MultiTaskModel, splits: Sequence[SharedSplit], options: EvaluateOptions) -> Judged:
    """Look at all data sets, one after another, and return what each task's evaluation is.

    Raises:
        DataError: Naming every image that can't be used, unless such are to be skipped.
    """
    records = [record for split in splits for record in split.records]
    check_images(records, options)
    started = time.monotonic()
    inputs = model.inputs
    loaders = {
        split.path: make_loader(
            split.records, inputs.transform(), options, channels=inputs.channels, targets=split.encoder(model.tasks)
        )
        for split in splits
    }
    assert options.model is not None
    shared = read_description(options.model)[1]["backbone"]
    return judge(
        model,
        MixedLoader(loaders, counts=None),
        Judging(options.split, None, prepare(model, records, inputs, options), started),
        data={
            task: split.opened[task].facts(split.path, own)
            for split in splits
            for task, own in split.identities.items()
        },
        backbones={task: _trunk_facts(model, task) for task in model.active},
        trunk=_describe_trunk(shared, model.backbone.fingerprint()),
    )


def _trunk_facts(model: MultiTaskModel, task: str) -> dict[str, Any]:
    """Return the facts about what of the trunk a head reads, as its app's own card has them."""
    part = model.backbone.cut_copy(model.tasks[task].head.levels)
    return _describe_trunk(model.facts[task].description["backbone"], part.fingerprint())


def _describe_trunk(saved: Mapping[str, Any], fingerprint: str) -> dict[str, Any]:
    return {
        "name": saved["name"],
        "weights": saved["weights"],
        "fingerprint_before": saved["fingerprint_after"],
        "fingerprint_after": fingerprint,
    }


def judge(
    model: MultiTaskModel,
    loader: Loader,
    judging: Judging,
    *,
    data: Mapping[str, dict[str, Any]],
    backbones: Mapping[str, dict[str, Any]],
    trunk: dict[str, Any],
) -> Judged:
    """Evaluate the active heads of a model in one pass over its pictures.

    Args:
        model: In the form in which it runs.
        loader: Of joint records.
        judging: What is evaluated.
        data: By task, its card's facts about the data.
        backbones: By task, its card's facts about the trunk.
        trunk: The facts about the trunk that all share.
    """
    seconds = look_at_all(model, loader, judging.options)
    evaluations: dict[str, Evaluation] = {}
    cards: dict[str, Card] = {}
    for name in model.active:
        evaluation = model.tasks[name].evaluation
        assert evaluation is not None
        print_undefined(evaluation, of=name)
        if model.fast is not None:
            evaluation.details["inference"] = model.fast.facts()
        spent = judging.by_task.get(name, Spent())
        cost = measure_cost(
            model.tasks[name],
            evaluation,
            seconds=seconds + spent.val_seconds,
            total=time.monotonic() - judging.started,
            trained=spent.trained,
            options=judging.options,
        )
        evaluations[name] = evaluation
        cards[name] = make_card(
            evaluation,
            task=name,
            split=judging.split,
            selected_on=judging.selected_on,
            cost=replace(cost, storing_seconds=spent.storing_seconds),
            backbone=dict(backbones[name]),
            data=data[name],
        )
    # names of pictures tell them apart within a data set
    pictures = {
        (data[name].get("path"), row["image"])
        for name, each in evaluations.items()
        for row in each.predictions
        if "error" not in row
    }
    cost_of_all = {
        **next(iter(cards.values())).cost,
        "images_per_second": len(pictures) / (seconds + judging.in_all.val_seconds),
        "trained_parameters": judging.in_all.trained,
        "storing_seconds": judging.in_all.storing_seconds,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    return Judged(judging, evaluations, cards, trunk, cost_of_all)


def write_judged(
    folder: Path,
    judged: Judged,
    model: MultiTaskModel,
    contents: Mapping[str, Mapping[str, int]],
    writers: Mapping[str, Write | None] | None = None,
) -> None:
    """Write of each task what its app's own evaluate command writes, into a folder of its name.

    Args:
        folder: Where to.
        judged: What came out.
        model: What was evaluated.
        contents: By task, a short hash of each image's file, by the image's name.
        writers: By task, what writes what its app has besides.
    """
    for name, evaluation in judged.evaluations.items():
        write_evaluated(
            folder / name,
            model.tasks[name].evaluator,
            evaluation,
            judged.cards[name],
            contents[name],
            write=(writers or {}).get(name),
        )
