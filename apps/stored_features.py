"""Training on stored features: what is frozen of a trunk sees each picture once, not once an epoch.

The features of both splits lie in stores, a store a random look, from which loaders hand out batches without images; a
trunk of which only a part is frozen goes on from there. What is stored is a function of the files, of the frozen
weights and of how pictures come onto the canvas, so runs with other heads or rates may share it.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..backbones.errors import UserError
from ..datasets import SampleDataset
from ..datasets.findings import count
from ..datasets.stored import StoredDataset, StoredPicture
from .config import TrainingOptions
from .console import ImageProgress
from .extraction import FeatureNetwork, fill, settle_form
from .inputs import InputRecipe
from .option_checks import frozen_epochs
from .placed_targets import unpack
from .processes import is_first
from .run_folder import RunFolder, versions
from .store import DTypeName, FeatureStore, free_bytes, row_bytes, size_text, stored_bytes, writing_alone
from .task import Task

if TYPE_CHECKING:
    from .fit import FitData

#: Seconds between looks at what the first process has stored.
_POLLING = 0.5


class StoredLooks:
    """The stores of a split, one a look at its pictures; see ``PictureStore``."""

    def __init__(self, stores: Sequence[FeatureStore], dataset: SampleDataset, canvas: tuple[int, int]) -> None:
        """Take complete stores, whose rows are the records of the data set."""
        self.canvas = canvas
        self._stores, self._records = list(stores), dataset.records
        self._shards: dict[tuple[int, int], list[StoredPicture | str]] = {}

    @property
    def views(self) -> int:
        """How many looks at each picture there are."""
        return len(self._stores)

    def pictures(self, view: int, places: Sequence[int]) -> list[StoredPicture | str]:
        """Return what is known of looks at some of the pictures, or why one couldn't be read."""
        size = self._stores[view].shard_rows
        return [self._shard(view, place // size)[place % size] for place in places]

    def features(self, view: int, places: Sequence[int]) -> dict[str, Tensor]:
        """Return the features ``[len(places), ...]`` of looks at some of the pictures, by level."""
        return self._stores[view].read(places)

    def _shard(self, view: int, shard: int) -> list[StoredPicture | str]:
        if (view, shard) not in self._shards:
            store = self._stores[view]
            rows = store.rows(shard)
            self._shards[view, shard] = [
                f"{self._records[place].path}: {row.error}" if row.error is not None else _picture(beside)
                for place, row, beside in zip(
                    store.shards[shard], rows, unpack(store.beside(shard), len(rows)), strict=True
                )
            ]
        return self._shards[view, shard]


def _picture(beside: dict[str, Tensor]) -> StoredPicture:
    sizes = [tuple(int(side) for side in beside.pop(name)) for name in ("original_size", "valid_size")]
    return StoredPicture((sizes[0][0], sizes[0][1]), (sizes[1][0], sizes[1][1]), beside)


@dataclass(frozen=True)
class StoringPlan:
    """What is stored for a training.

    Attributes:
        network: What computes it.
        entry: The level behind which the trunk goes on; None for one that is frozen whole.
        shapes: Of each level's features of one picture.
        dtype: Of the arrays.
        views: How many looks at each training picture.
        folder: Where stores lie.
    """

    network: FeatureNetwork
    entry: str | None
    shapes: dict[str, tuple[int, ...]]
    dtype: DTypeName
    views: int
    folder: Path

    def count_looks(self, data: "FitData") -> int:
        """Return how many looks at pictures are stored."""
        return len(data.train.dataset) * self.views + len(data.val.dataset)

    def size(self, data: "FitData") -> int:
        """Return the bytes of all features."""
        return self.count_looks(data) * row_bytes(self.shapes, self.dtype)


def plan_storing(task: Task, data: "FitData", options: TrainingOptions, run: RunFolder) -> StoringPlan | None:
    """Return what is to be stored for a training, after saying so; None where it goes on with pictures.

    ``cache_views`` then holds for those: the same looks are drawn. Nothing is written yet.

    Args:
        task: Its trunk frozen as the options say.
        data: The loaders of pictures.
        options: The command's, with a precision that is chosen.
        run: Where features are stored, unless the options name another folder.

    Raises:
        UserError: If features are to be stored, and can't be.
    """
    train = data.train.dataset
    assert isinstance(train, SampleDataset)
    if train.transform.is_random:
        train.views = options.cache_views
    elif options.cache_views is not None and is_first():
        print("without effect here: --cache-views; pictures look the same in each epoch")
    reason, plan = _hindrance(task, data, options), None
    if reason is None:
        plan = _make_plan(task, data, options, run)
        reason = _lack_of_room(plan, data)
    if reason is None:
        return plan
    if options.cache == "on":
        raise UserError(f"--cache on: {reason}.")
    if is_first() and options.cache == "auto" and options.epochs > 1 and options.freeze != "none":
        print(f"features aren't stored: {reason}")
    return None


def store_features(task: Task, data: "FitData", plan: StoringPlan, options: TrainingOptions) -> "FitData":
    """Return the loaders of a training on stored features, after computing those that aren't there.

    Args:
        task: Its trunk goes on behind the plan's entry from then on.
        data: The loaders of pictures.
        plan: What is stored.
        options: The command's.

    Raises:
        UserError: Of a picture that can't be read, or a disk that is full.
    """
    started = time.monotonic()
    canvas = InputRecipe.from_dict(task.description["inputs"]).canvas
    loaders, stores = {}, {}
    with ImageProgress(plan.count_looks(data)) as progress:
        for split, loader in {"train": data.train, "val": data.val}.items():
            assert isinstance(loader.dataset, SampleDataset)
            stores[split] = _fill_split(split, loader.dataset, task, plan, options, progress)
            looks = StoredLooks(stores[split], loader.dataset, canvas)
            loaders[split] = loader.reading(StoredDataset(loader.dataset, looks))
    task.stored_entry = plan.entry
    looked, size = plan.count_looks(data), plan.size(data)
    if is_first():
        computed, seconds = looked - progress.kept, time.monotonic() - started
        rate = f"{computed:,} in {seconds:.1f} s ({computed / seconds:.1f} images/s)" if computed else "all were there"
        print(f"stored features of {count(looked, 'image')}: {rate}; {size_text(size)}")
    return replace(
        data,
        train=loaders["train"],
        val=loaders["val"],
        stored={"entry": plan.entry, "views": plan.views, "images": looked, "bytes": size, "dtype": plan.dtype},
        stored_seconds={split: sum(store.seconds() for store in each) for split, each in stores.items()},
    )


def delete_features(options: TrainingOptions, run: RunFolder) -> None:
    """Delete what a finished run has stored in its own folder; a folder that the options name is kept."""
    if options.cache_folder is None and is_first():
        shutil.rmtree(run.features, ignore_errors=True)


def _hindrance(task: Task, data: "FitData", options: TrainingOptions) -> str | None:
    """Return why a training can't read stored features, or why it isn't to."""
    datasets = [loader.dataset for loader in (data.train, data.val) if isinstance(loader.dataset, SampleDataset)]
    is_random = any(dataset.transform.is_random for dataset in datasets)
    reasons = {
        "--cache off": options.cache == "off",
        f"--freeze {options.freeze} thaws the trunk": frozen_epochs(options.freeze) > 0,
        "nothing of the trunk is frozen; freeze it with --freeze all, or a part of it with a level such as c3": (
            options.freeze == "none"
        ),
        "mixup and cutmix mix pictures, and stored features aren't pictures": task.mixing is not None,
        "--resize window shows pictures in any number of windows": (
            any(dataset.transform.makes_windows for dataset in datasets)
        ),
        "pictures look different in each epoch. Store several looks at each, which the epochs take turns with, e.g. "
        "--cache-views 4, or leave augmentation out": is_random and options.cache_views is None,
        "one epoch sees each picture once anyway": options.epochs == 1 and options.cache == "auto",
    }
    found = next((reason for reason, holds in reasons.items() if holds), None)
    return found if found or task.backbone.is_frozen else task.backbone.can_go_on(options.freeze)


def _make_plan(task: Task, data: "FitData", options: TrainingOptions, run: RunFolder) -> StoringPlan:
    backbone, train = task.backbone, data.train.dataset
    assert isinstance(train, SampleDataset)
    entry = None if backbone.is_frozen else options.freeze
    levels = backbone.levels if entry is None else backbone.stored_levels(entry)
    network = FeatureNetwork(backbone.cut_copy(levels), pooling="none", options=options)
    inputs = InputRecipe.from_dict(task.description["inputs"])
    views = (options.cache_views or 1) if train.transform.is_random else 1
    looks = [*train.records * views, *data.val.dataset.records]
    network.form = settle_form(network.backbone, looks, inputs.transform(), options, canvas=inputs.canvas)
    dtype = network.form.precision if options.cache_dtype == "auto" else options.cache_dtype
    folder = run.features if options.cache_folder is None else Path(options.cache_folder)
    return StoringPlan(network, entry, network.shapes(inputs.canvas), dtype, views, folder)


def _lack_of_room(plan: StoringPlan, data: "FitData") -> str | None:
    """Say what will be stored where, and return why there is no room for it."""
    if not is_first():
        return None
    size, free = plan.size(data), free_bytes(plan.folder)
    layers = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in plan.shapes.items())
    views = f" in {plan.views} looks each" if plan.views > 1 else ""
    print(
        f"features to store: {layers}; {len(data.train.dataset):,} images{views} + {len(data.val.dataset):,}, "
        f"{plan.dtype}: {size_text(size)} in {plan.folder}; free: {size_text(free)}"
    )
    there = stored_bytes(plan.folder)
    if size - there <= free:
        return None
    return (
        f"'{plan.folder}' needs {size_text(size - there)} more than the {size_text(free)} that are free there. Store "
        "less (--cache-dtype bf16, fewer --cache-views), or elsewhere: --cache-folder DIR"
    )


def _fill_split(
    split: str,
    dataset: SampleDataset,
    task: Task,
    plan: StoringPlan,
    options: TrainingOptions,
    progress: ImageProgress,
) -> list[FeatureStore]:
    """Return the complete store of each look at a split's pictures; the first process computes what is missing."""
    is_random = dataset.transform.is_random
    stores = []
    for view in range(plan.views if is_random else 1):
        recipe = _recipe(dataset, task, plan.network)
        if is_random:
            recipe["view"] = {"seed": dataset.seed, "number": view}
        facts = [recipe, plan.shapes, plan.dtype, [record.name for record in dataset.records]]
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        folder = plan.folder / f"{split}-{view}-{key}"
        if is_first():
            with writing_alone(plan.folder, chosen_by="--cache-folder"):
                store = FeatureStore.create(
                    folder,
                    recipe,
                    plan.shapes,
                    dtype=plan.dtype,
                    rows=len(dataset),
                    batch_size=options.batch_size,
                    replaces=True,
                )
                fill(
                    store,
                    plan.network,
                    dataset.records,
                    dataset.transform,
                    options,
                    draw=(dataset.seed, view),
                    classes=dataset.encoder.classes,
                    progress=progress,
                )
        else:
            store = _await(folder, dataset)
        stores.append(store)
    return stores


def _recipe(dataset: SampleDataset, task: Task, network: FeatureNetwork) -> dict[str, Any]:
    return {
        **network.recipe(InputRecipe.from_dict(task.description["inputs"])),
        "transform": repr(dataset.transform),
        "targets": {"classes": list(dataset.encoder.classes), "regions": dataset.encoder.draws_regions},
        "versions": versions(),
    }


def _await(folder: Path, dataset: SampleDataset) -> FeatureStore:
    """Return a store that the first process fills, once it is whole."""
    while True:
        try:
            store = FeatureStore.open(folder)
            if not store.missing(dataset.records, with_targets=True):
                return store
        except UserError:  # it isn't begun yet
            pass
        time.sleep(_POLLING)
