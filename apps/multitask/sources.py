"""The data sets of several tasks: one that all of them share, or several side by side, each for some of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Any

from ...backbones.errors import UserError
from ...datasets import (
    AllAnnotations,
    AnnotatedImages,
    DataError,
    Excerpt,
    JointEncoder,
    MixedLoader,
    Record,
    ResumableLoader,
    TargetEncoder,
    Transform,
    batch_counts,
    find_duplicates,
    identify_contents,
    join_records,
    open_annotated,
    write_split,
)
from ...datasets.duplicates import ACROSS
from ..data_check import Ends, Identity, check_data, identify, read_ends
from ..fit_data import FitData
from ..inputs import InputRecipe, make_loader
from ..option_checks import check_effect, frozen_epochs, note_unused_cut
from ..run_folder import RunFolder, make_folder
from ..task import Task
from .options import TrainOptions
from .stored import split_of
from .task_options import TaskPlan

Splits = Mapping[str, AnnotatedImages]
"""``train`` and ``val``."""


@dataclass(frozen=True)
class Source:
    """A data set of a training.

    Attributes:
        path: Where it is.
        pictures: All of its pictures, in its training split, whichever task knows them.
        splits: Of each task that learns from it the two splits, with the targets that the task needs.
        chosen: The tasks whose splits the data set doesn't have for each by itself; they are kept with the run.
    """

    path: str
    pictures: AnnotatedImages
    splits: Mapping[str, Splits]
    chosen: tuple[str, ...] = ()

    def records(self, split: str) -> tuple[Record, ...]:
        """Return the pictures of a split with what all tasks know of them."""
        by_task = {task: splits[split].records for task, splits in self.splits.items()}
        return join_records(by_task, self.pictures.select(split).records)

    def encoder(self) -> JointEncoder:
        """Return what makes targets of its records."""
        return JointEncoder(
            {
                task: TargetEncoder.fitting(
                    [record for split in splits.values() for record in split.records], splits["train"].classes
                )
                for task, splits in self.splits.items()
            }
        )


def first_spelling(path: str, known: Iterable[str]) -> str:
    """Return how a data set's path was spelt before, if it was: it is one data set, and each picture has one path."""
    return next((one for one in known if Path(one).resolve() == Path(path).resolve()), path)


def open_sources(plans: Mapping[str, TaskPlan], options: TrainOptions) -> list[Source]:
    """Open the data sets of all tasks, those that several name once.

    Raises:
        DataError: For data that can't be used, or from which a task can learn nothing.
        UserError: For a task that changes pictures at random in its own way, and shares them; or changes for shared
            pictures where there are none.
    """
    by_path: dict[str, dict[str, TaskPlan]] = {}
    for task, plan in plans.items():
        by_path.setdefault(first_spelling(plan.options.data, by_path), {})[task] = plan
    check_effect(
        options,
        *(f"augment.{name}" for name in vars(options.augment)),
        has_effect=any(len(own) > 1 for own in by_path.values()),
        needs="a data set of several tasks (where each has its own: augment under its task_options)",
    )
    return [_open(path, own, options) for path, own in by_path.items()]


def _open(path: str, plans: Mapping[str, TaskPlan], options: TrainOptions) -> Source:
    for task in plans if len(plans) > 1 else ():
        if "augment" in options.task_options.get(task, {}):
            raise UserError(
                f"--task-options: {task} sets augment, and shares the pictures of '{path}' with "
                f"{' and '.join(other for other in plans if other != task)}. Set it for all of them: --augment.*"
            )
    opened = open_annotated(
        path,
        "train",
        kinds=list(dict.fromkeys(plan.training.kind for plan in plans.values())),
        split_seed=options.split_seed,
        val_fraction=options.val_fraction,
    )
    note_unused_cut(options, is_cut=opened.pictures.is_cut)
    for note in opened.notes:
        print(note)
    splits = {task: _splits(task, opened, plan) for task, plan in plans.items()}
    chosen = [task for task, plan in plans.items() if plan.training.kind in opened.led]
    return Source(path, opened.pictures, splits, tuple(chosen))


def _splits(task: str, opened: AllAnnotations, plan: TaskPlan) -> dict[str, AnnotatedImages]:
    whole = {split: opened.select(split) for split in ("train", "val")}
    try:
        own = {split: each.of(plan.training.kind) for split, each in whole.items()}
    except DataError as error:
        raise DataError(f"{task}: {error}") from error
    splits = {split: plan.training.require(images, plan.options) for split, images in own.items()}
    plan.training.check(splits, plan.options)
    return splits


@dataclass(frozen=True)
class JointData:
    """What several tasks read; see ``TrainingData``.

    Attributes:
        sources: By their paths.
        counts: How many batches of each an epoch draws.
        identities: Of each task what tells its splits from others.
        splits: Of each task the splits that its data set doesn't have for it alone, such as those that were cut.
    """

    sources: Mapping[str, FitData]
    counts: Mapping[str, int]
    identities: Mapping[str, Mapping[str, Identity]]
    splits: Mapping[str, Mapping[str, tuple[Record, ...]]]

    @cached_property
    def train(self) -> MixedLoader:
        """The training splits."""
        return MixedLoader({name: source.train for name, source in self.sources.items()}, counts=self.counts)

    @cached_property
    def val(self) -> MixedLoader:
        """The validation splits, one after another."""
        return MixedLoader({name: source.val for name, source in self.sources.items()}, counts=None)

    @property
    def fingerprint(self) -> str:
        """Of what all tasks learn from and are judged on."""
        return " ".join(source.fingerprint for source in self.sources.values())

    def with_sources(self, sources: Mapping[str, FitData]) -> "JointData":
        """Return the same data, read in another way."""
        return replace(self, sources=sources)

    def write_splits(self, run: RunFolder) -> None:
        """Write down the splits that tasks can't find again, of each those of the pictures that it knows."""
        for task, splits in self.splits.items():
            path = split_of(run.path, task)
            make_folder(path.parent)
            write_split(path, splits)


def read_sources(
    sources: list[Source], plans: Mapping[str, TaskPlan], tasks: Mapping[str, Task], options: TrainOptions
) -> JointData:
    """Look at the data, and return what the training reads.

    Args:
        sources: The data sets.
        plans: The tasks.
        tasks: What was built for them.
        options: The command's.

    Raises:
        DataError: Naming every image that can't be read, unless such are to be skipped; or if those that can be read
            leave a task nothing to measure.
    """
    found: dict[str, FitData] = {}
    identities: dict[str, dict[str, Identity]] = {}
    ends: dict[Path, Excerpt | None] = {}
    for source in sources:
        pictures = {split: source.pictures.select(split) for split in ("train", "val")}
        ends |= read_ends([record for images in pictures.values() for record in images.records])
        looked = check_data(pictures, options, ends)
        for task, splits in source.splits.items():
            own = {
                split: replace(identify(images, ends), unreadable=looked[split].unreadable)
                for split, images in splits.items()
            }
            plans[task].training.check_readable(tasks[task], splits, own, plans[task].options)
            identities[task] = own
        found[source.path] = _read(source, plans, tasks, identities, options)
    trunk = next(iter(tasks.values())).backbone
    if not trunk.is_frozen or frozen_epochs(options.freeze):  # else no head learns from another's pictures
        _warn_of_shared(sources, ends)
    sizes = {name: len(each.train.dataset) for name, each in found.items()}
    lengths = {name: len(each.train) for name, each in found.items()}
    counts = batch_counts(sizes, lengths, _sampling(options, list(found)))
    found = {name: replace(each, drawn=counts[name]) for name, each in found.items()}
    chosen = {task: source.splits[task]["train"].splits for source in sources for task in source.chosen}
    return JointData(found, counts, identities, chosen)


def _warn_of_shared(sources: list[Source], ends: Ends) -> None:
    """Print a line for each data set from which a trunk learns pictures that a head is judged on in another one."""
    for one, other in permutations(sources, 2):
        learned, judged = one.pictures.select("train").records, other.pictures.select("val").records
        records = [*learned, *judged]
        contents = identify_contents(records, [ends[record.path] for record in records])
        for finding in find_duplicates({f"train of {one.path}": learned, f"val of {other.path}": judged}, contents):
            if finding.kind == ACROSS:
                print(f"warning: {finding.message}")


def _sampling(options: TrainOptions, names: list[str]) -> Any:
    if options.mix != "weights":
        return options.mix
    weights = options.mix_weights or []
    if len(weights) != len(names):
        raise UserError(
            f"--mix-weights takes one for each data set, in this order: {', '.join(names)}; not {len(weights)}."
        )
    return dict(zip(names, weights, strict=True))


def _read(
    source: Source,
    plans: Mapping[str, TaskPlan],
    tasks: Mapping[str, Task],
    identities: Mapping[str, Mapping[str, Identity]],
    options: TrainOptions,
) -> FitData:
    inputs = InputRecipe.from_dict(next(iter(tasks.values())).description["inputs"])
    own: Any = plans[next(iter(source.splits))].options
    augment = options.augment if len(source.splits) > 1 else own.augment
    own_identities = [identities[task] for task in source.splits]
    levels = dict.fromkeys(level for task in source.splits for level in tasks[task].head.levels)
    return FitData(
        train=_loader(source, "train", inputs.augmentation(augment), inputs, options),
        val=_loader(source, "val", inputs.transform(), inputs, options),
        train_fingerprint=" ".join(each["train"].fingerprint for each in own_identities),
        val_fingerprint=" ".join(each["val"].fingerprint for each in own_identities),
        unreadable={name: why for each in own_identities for name, why in each["train"].unreadable.items()},
        facts={"path": source.path, "split_origin": source.pictures.split_origin},
        levels=tuple(levels),
    )


def _loader(
    source: Source, split: str, transform: Transform, inputs: InputRecipe, options: TrainOptions
) -> ResumableLoader:
    training: dict[str, Any] = {"seed": options.seed, "shuffle": True} if split == "train" else {}
    return make_loader(
        source.records(split), transform, options, channels=inputs.channels, targets=source.encoder(), **training
    )
