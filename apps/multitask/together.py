"""Training heads of several apps together, from the options to the card."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from ...backbones import Backbone
from ...backbones.errors import UserError
from ..app_training import TrunkNeeds, build_seeded, build_trunk_of, make_inputs
from ..card import Card
from ..commands import prepare
from ..fit import Finished, fit_and_conclude
from ..model_file import describe_model, holds_model
from ..processes import is_first
from ..run_folder import RunFolder, open_run, read_config
from ..task import Task
from ..task_names import MULTITASK, TASKS
from ..trainer import describe_trained
from .alone import check_alone, compare_alone
from .card import MultiTaskCard, print_multitask_card
from .evaluation import Judging, judge, write_judged
from .learner import HeadPlan, MultiTaskLearner
from .options import TrainOptions
from .sources import JointData, Source, open_sources, read_sources
from .stored import SPLITS, HeadFacts, split_of, write_stored
from .task_options import TaskPlan, plan_tasks


def run_training(options: TrainOptions) -> MultiTaskCard:
    """Train heads of several apps on one trunk; return the card with a row for each.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    run = open_run(MULTITASK, _named(options), (*TASKS, SPLITS))
    if options.resume and run.holds_run:
        _refuse_other_task_options(run, options)
    if options.resume and run.is_finished:
        return _show_finished(run)
    plans = plan_tasks(options)
    check_alone(options.alone, options.tasks)
    torch.manual_seed(options.seed)
    backbone = build_trunk_of(options, _needs(plans, options))
    sources = open_sources(plans, options)
    tasks = {task: _build(task, plan, backbone, sources) for task, plan in plans.items()}
    data = read_sources(sources, plans, tasks, options)
    learner = _learner(backbone, tasks, plans, data, options)
    _announce(learner, plans, sources, data, options)
    return fit_and_conclude(
        learner, data, options, run, conclude=lambda finished: _conclude(learner, plans, data, finished)
    )


def _named(options: TrainOptions) -> TrainOptions:
    """Return options with which a run gets a folder of its own name where its tasks name their data."""
    if options.output is None and not options.data:
        return replace(options, output=f"runs/multitask/{'-'.join(options.tasks)}")
    return options


def _refuse_other_task_options(run: RunFolder, options: TrainOptions) -> None:
    """Refuse to go on with options of a task that the run was started without, or without some that it had.

    Those that it had with other values are refused as all options are.

    Raises:
        UserError: Naming them.
    """
    before, now = (set(_names(each["task_options"])) for each in (read_config(run), vars(options)))
    if before != now:
        changes = [f"task_options.{name} wasn't given and is now" for name in sorted(now - before)]
        changes += [f"task_options.{name} was given and isn't now" for name in sorted(before - now)]
        raise UserError(
            f"The run in '{run.path}' can't go on with other options: {'; '.join(changes)}. Use the run's own, or "
            "start another run: --output DIR."
        )


def _names(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _names(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _show_finished(run: RunFolder) -> MultiTaskCard:
    card = MultiTaskCard.read(run.card)
    print(f"the run in '{run.path}' is finished; nothing was left to do")
    print_multitask_card(card, run.card)
    return card


def _needs(plans: Mapping[str, TaskPlan], options: TrainOptions) -> TrunkNeeds:
    """Return what all heads together need of the trunk.

    Raises:
        UserError: If they need different strides of it, or one brings weights of its own for it.
    """
    needs = {task: plan.training.needs(plan.options) for task, plan in plans.items()}
    strides = {task: need.output_stride or 32 for task, need in needs.items()}
    if len(set(strides.values())) > 1:
        listed = ", ".join(f"{task} {stride}" for task, stride in strides.items())
        raise UserError(
            f"The heads need trunks of different output strides: {listed}. One pass can't serve both: give a head that "
            "reads every 32nd pixel, or its head_options the same output_stride."
        )
    if own := next((task for task, need in needs.items() if need.weights is not None), None):
        raise UserError(
            f"--weights {options.weights}: the head of {own} takes the weights of a whole model, and several heads "
            "start from those of a trunk alone. Give a trunk's weights, such as imagenet."
        )
    levels = dict.fromkeys(level for need in needs.values() for level in need.levels)
    return TrunkNeeds(tuple(levels), next(iter(strides.values())))


def _build(name: str, plan: TaskPlan, backbone: Backbone, sources: Sequence[Source]) -> Task:
    splits = next(source.splits[name] for source in sources if name in source.splits)
    task = build_seeded(plan.training, backbone, splits, make_inputs(backbone, plan.options), plan.options)
    if task.mixing is not None:
        raise UserError(
            f"task_options of {name}: mixup and cutmix mix the pictures of a batch, and with several tasks each would "
            "have to bear it. Leave them out."
        )
    task.learning_rate, task.optim = plan.options.learning_rate, plan.options.optim
    return task


def _learner(
    backbone: Backbone,
    tasks: Mapping[str, Task],
    plans: Mapping[str, TaskPlan],
    data: JointData,
    options: TrainOptions,
) -> MultiTaskLearner:
    of_source = {
        task: data.optimizer_steps(name, options.fit.accumulate)
        for name, source in data.sources.items()
        for task in _tasks_of(source.train)
    }
    heads = {
        task: HeadPlan(of_source[task], plan.options.fit.clip_norm, plan.options.fit.patience)
        for task, plan in plans.items()
    }
    return MultiTaskLearner(backbone, tasks, heads, options.balance, clip_norm=options.fit.clip_norm)


def _tasks_of(loader: Any) -> list[str]:
    return list(loader.dataset.encoder.encoders)


def _announce(
    learner: MultiTaskLearner,
    plans: Mapping[str, TaskPlan],
    sources: Sequence[Source],
    data: JointData,
    options: TrainOptions,
) -> None:
    """Print what is about to be trained, on what, and what an epoch is."""
    if holds_model(options.weights):
        print("the heads start anew: several heads take a model's trunk alone")
    print(
        f"{options.backbone} ({options.weights}, freeze {options.freeze}) + {len(plans)} heads: "
        f"{describe_trained(learner, options)}; canvas {'x'.join(map(str, learner.inputs.canvas))}"
    )
    for source in sources:
        for task, splits in source.splits.items():
            head, learned = plans[task].training.describe(learner.tasks[task], splits, plans[task].options)
            learned = learned or f"{len(splits['train'].classes)} classes"
            counts = ", ".join(f"{len(images):,} {split}" for split, images in splits.items())
            print(f"  {task} ({head}): {source.path}: {learned}, {counts} images")
            plans[task].training.note(learner.tasks[task], splits, plans[task].options)
    steps = len(data.train)
    if len(sources) == 1:
        print(f"an epoch is {steps:,} steps: each picture once, for all tasks that know it")
        return
    drawn = ", ".join(f"{count:,} with {name}" for name, count in data.counts.items())
    print(f"an epoch is {steps:,} steps: {drawn}, evenly spread (--mix {options.mix})")


def _conclude(
    learner: MultiTaskLearner, plans: Mapping[str, TaskPlan], data: JointData, finished: Finished
) -> MultiTaskCard:
    """Evaluate each head's best weights, write the model and the cards, and return the card of all."""
    options, run, read = finished.options, finished.run, finished.data
    assert isinstance(options, TrainOptions)
    if not any(source.stored for source in read.sources.values()):
        records = [record for source in data.sources.values() for record in source.val.dataset.records]
        options = replace(options, precision=prepare(learner, records, learner.inputs, options).precision)
    stored = sum(sum(source.stored_seconds.values()) for source in read.sources.values())
    judging = Judging("val", "val", options, finished.started, finished.parameters, stored)
    trunks, backbones = {}, {}
    for name, task in learner.tasks.items():
        trunks[name] = learner.backbone.cut_copy(task.head.levels)
        backbones[name] = {**finished.trunk, "fingerprint_after": trunks[name].fingerprint()}
    facts = {name: _data_facts(name, data, finished) for name in learner.tasks}
    judged = judge(learner, read.val, judging, data=facts, backbones=backbones, trunk=finished.trunk)
    for name, evaluation in judged.evaluations.items():
        part = f"heads.{name}." if learner.is_apart else ""
        evaluation.details["training"] = finished.trained.facts(part)
    card = judged.card()
    if is_first():
        _keep_facts(learner, judged.cards, run, {name: dict(trunk.recipe) for name, trunk in trunks.items()})
        write_stored(run.model, learner.stored())
        contents = {name: own["val"].contents for name, own in data.identities.items()}
        write_judged(run.path, judged, learner, contents)
        together = {name: run.path / name for name in learner.tasks}
        card = replace(card, alone=compare_alone(together, options.alone), details=_details(learner, finished))
        card.write(run.card)
        print_multitask_card(card, run.card)
    return card


def _keep_facts(
    learner: MultiTaskLearner, cards: Mapping[str, Card], run: RunFolder, recipes: Mapping[str, dict[str, Any]]
) -> None:
    """Give each head what its app's own model file would say of it, so that it can be taken out."""
    # a model file has the canvas as the size of pictures, whatever size the weights were made for
    backbone = learner.backbone
    backbone.preprocessing = replace(backbone.preprocessing, image_size=learner.inputs.canvas)
    for name, task in learner.tasks.items():
        split = split_of(run.path, name)
        description = describe_model(task, cards[name], recipe=recipes[name])
        learner.facts[name] = HeadFacts(description, split.read_bytes() if split.is_file() else None)


def _data_facts(name: str, data: JointData, finished: Finished) -> dict[str, Any]:
    """Return the card's facts about a task's data."""
    source = next(each for each in data.sources.values() if name in _tasks_of(each.train))
    own = data.identities[name]
    skipped = source.skipped_samples(finished.trained.bad_data)["skipped_files"]
    skipped = [row for row in skipped if row["file"] in own["train"].contents]
    used = len(own["train"].contents) - len(skipped)
    train = {"used": used, "skipped": len(skipped), "skipped_files": skipped}
    train["fingerprint"] = own["train"].fingerprint
    return {**source.facts, "fingerprint": own["val"].fingerprint, "train": train}


def _details(learner: MultiTaskLearner, finished: Finished) -> dict[str, Any]:
    """Return what else the card of all says of the training."""
    data = finished.data
    assert isinstance(data, JointData)
    return {
        "stored": {name: source.stored for name, source in data.sources.items() if source.stored is not None},
        "batches_an_epoch": dict(data.counts),
        "steps": dict(learner.steps),
        "loss_weights": learner.balance.describe(),
        "stopped": list(learner.stopped),
    }
