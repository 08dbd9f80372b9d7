"""Training heads of several apps together, from the options to the card."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ...backbones import Backbone
from ...backbones.errors import UserError
from ...datasets import of_task
from ...datasets.findings import count
from ..app_training import TrunkNeeds, build_seeded, build_trunk_of, make_inputs
from ..card import Card
from ..commands import prepare
from ..fit import Finished, fit_and_conclude
from ..model_file import describe_model, holds_model
from ..option_checks import frozen_epochs
from ..processes import is_first
from ..run_folder import RunFolder, open_run, read_config
from ..task import Task
from ..task_names import MULTITASK, TASKS
from ..trainer import describe_trained
from .alone import check_alone, check_judged, compare_alone
from .card import MultiTaskCard, print_multitask_card
from .evaluation import Judging, Spent, judge, write_judged
from .learner import HeadPlan, MultiTaskLearner
from .options import JointAugmentOptions, TrainOptions, refuse_balance_of_frozen
from .sources import JointData, Source, open_sources, read_sources
from .step_counts import count_steps
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
        return _show_finished(run, options)
    plans = plan_tasks(options)
    alone = check_alone(options.alone, options.tasks)
    torch.manual_seed(options.seed)
    backbone = build_trunk_of(options, _needs(plans, options))
    if _stays_frozen(backbone, options):
        refuse_balance_of_frozen(options)
    sources = open_sources(plans, options)
    tasks = {task: _build(task, plan, backbone, sources) for task, plan in plans.items()}
    data = read_sources(sources, plans, tasks, options)
    check_judged(alone, {task: own["val"].contents for task, own in data.identities.items()})
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


def _show_finished(run: RunFolder, options: TrainOptions) -> MultiTaskCard:
    """Print and return the card of a finished run, after comparing it with what it wasn't compared with yet."""
    card = MultiTaskCard.read(run.card)
    print(f"the run in '{run.path}' is finished; nothing was left to do")
    if options.alone:
        card = _compare(card, run, options)
    print_multitask_card(card, run.card)
    return card


def _compare(card: MultiTaskCard, run: RunFolder, options: TrainOptions) -> MultiTaskCard:
    """Return the card of a finished run with how its heads compare with models that were trained alone.

    Raises:
        UserError: If that can't be said; the card stays as it is.
    """
    try:
        compared = compare_alone({name: run.path / name for name in card.tasks}, options.alone)
    except UserError as error:
        raise UserError(
            f"{error} The run in '{run.path}' is finished all the same; it is compared anew by its command with "
            "--resume and other runs after --alone."
        ) from error
    card = replace(card, alone=compared)
    card.write(run.card)
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
    task.learning_rate, task.optim = plan.options.learning_rate, plan.options.optim
    return task


def _learner(
    backbone: Backbone,
    tasks: Mapping[str, Task],
    plans: Mapping[str, TaskPlan],
    data: JointData,
    options: TrainOptions,
) -> MultiTaskLearner:
    is_apart = _stays_frozen(backbone, options)
    thaw, accumulate = frozen_epochs(options.freeze), options.fit.accumulate
    steps = count_steps(data.train, epochs=options.epochs, frozen_epochs=thaw, accumulate=accumulate)
    heads: dict[str, HeadPlan] = {}
    for task, plan in plans.items():
        fit = plan.options.fit
        # on a trunk that is trained, that of the command is for the mean of all
        is_own = is_apart or "patience" in options.task_options.get(task, {}).get("fit", {})
        heads[task] = HeadPlan(
            steps[task].whole, steps[task].before_thaw, fit.clip_norm, fit.patience if is_own else None
        )
    return MultiTaskLearner(backbone, tasks, heads, options.balance, is_apart=is_apart, clip_norm=options.fit.clip_norm)


def _stays_frozen(backbone: Backbone, options: TrainOptions) -> bool:
    """Whether nothing of the trunk is trained in the whole run: all of it is frozen, or all that is read of it."""
    return backbone.is_frozen and not frozen_epochs(options.freeze)


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
        f"{options.backbone} ({options.weights}, freeze {options.freeze}) + {count(len(plans), 'head')}: "
        f"{describe_trained(learner, options)}; canvas {'x'.join(map(str, learner.inputs.canvas))}"
    )
    for source in sources:
        for task, splits in source.splits.items():
            head, learned = plans[task].training.describe(learner.tasks[task], splits, plans[task].options)
            learned = learned or f"{len(splits['train'].classes)} classes"
            counts = ", ".join(f"{len(images):,} {split}" for split, images in splits.items())
            print(f"  {task} ({head}): {source.path}: {learned}, {counts} images")
            plans[task].training.note(learner.tasks[task], splits, plans[task].options)
        if len(source.splits) > 1 and options.augment == JointAugmentOptions():
            shared = " and ".join(source.splits)
            print(f"  {source.path}: its pictures are the same in each epoch, for {shared} share them; see --augment")
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
    in_all, by_task = _spent(learner, data, finished)
    judging = Judging("val", "val", options, finished.started, in_all, by_task)
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
        card = replace(card, details=_details(learner, finished))
        card.write(run.card)  # it stays, whatever a comparison says
        if options.alone:
            card = _compare(card, run, options)
        print_multitask_card(card, run.card)
    return card


def _spent(learner: MultiTaskLearner, data: JointData, finished: Finished) -> tuple[Spent, dict[str, Spent]]:
    """Return what was spent on all heads together, and on each: what is trained of the trunk is trained for each."""
    heads = {name: _count_trained(head) for name, head in learner.heads.items()}
    trunk = finished.parameters - sum(heads.values()) - _count_trained(learner.balance)
    seconds = {name: source.stored_seconds for name, source in finished.data.sources.items()}
    by_task = {
        task: Spent(trunk + heads[task], sum(seconds[name].values()), seconds[name].get("val", 0.0))
        for name, source in data.sources.items()
        for task in _tasks_of(source.train)
    }
    storing = sum(sum(each.values()) for each in seconds.values())
    return Spent(finished.parameters, storing, sum(each.get("val", 0.0) for each in seconds.values())), by_task


def _count_trained(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


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
    path, source = next((path, each) for path, each in data.sources.items() if name in _tasks_of(each.train))
    own = data.identities[name]
    known = {record.name for record in source.train.dataset.records if of_task(record, name).targets}
    skipped = source.skipped_samples(finished.trained.bad_data.all_skipped().get(path, {}))["skipped_files"]
    skipped = [row for row in skipped if row["file"] in known]
    train: dict[str, Any] = {"used": len(known) - len(skipped), "skipped": len(skipped), "skipped_files": skipped}
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
