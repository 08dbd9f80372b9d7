"""Training on stored features: what is frozen of a trunk sees each picture once, not once an epoch.

The features of both splits lie in stores, a store a random look, from which loaders hand out batches without images; a
trunk of which only a part is frozen goes on from there. What is stored is a function of the files, of the frozen
weights and of how pictures come onto the canvas, so runs with other heads or rates may share it.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from ..backbones.errors import UserError
from ..datasets import Record, SampleDataset
from ..datasets.findings import count
from ..datasets.stored import StoredDataset, StoredPicture
from .config import TrainingOptions
from .console import ImageProgress
from .disk_space import free_bytes, size_text, stored_bytes
from .extraction import FeatureNetwork, settle_trunk
from .fast_trunk import FastTrunk
from .filling import Filling, fill, full_reason
from .folder_lock import writing_alone
from .inputs import InputRecipe, sample_records
from .interruption import Interrupted
from .on_trunk import OnTrunk
from .option_checks import frozen_epochs, may_be_several
from .processes import is_first
from .run_folder import RunFolder, check_writable, versions
from .store import ABOUT, DTypeName, FeatureStore, row_bytes

if TYPE_CHECKING:
    from .fit_data import FitData


class StoredLooks:
    """The stores of a split, one a look at its pictures; see ``PictureStore``."""

    def __init__(self, stores: Sequence[FeatureStore], dataset: SampleDataset, canvas: tuple[int, int]) -> None:
        """Take complete stores, whose rows are the records of the data set."""
        self.canvas = canvas
        self._stores = list(stores)
        self._reasons = [
            {
                place: full_reason(row, record)
                for place, (row, record) in enumerate(zip(store.manifest(), dataset.records, strict=True))
                if row.error is not None
            }
            for store in self._stores
        ]

    @property
    def views(self) -> int:
        """How many looks at each picture there are."""
        return len(self._stores)

    def pictures(self, view: int, places: Sequence[int]) -> list[StoredPicture | str]:
        """Return what is known of looks at some of the pictures, or why one couldn't be read."""
        reasons = self._reasons[view]
        return [reasons.get(place) or _picture(self._stores[view].beside(place)) for place in places]

    def features(self, view: int, places: Sequence[int]) -> dict[str, Tensor]:
        """Return the features ``[len(places), ...]`` of looks at some of the pictures, by level."""
        return self._stores[view].read(places)


def _picture(beside: dict[str, Tensor]) -> StoredPicture:
    height, width = beside.pop("original_size").tolist()
    valid_height, valid_width = beside.pop("valid_size").tolist()
    return StoredPicture((height, width), (valid_height, valid_width), beside)


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
        stores: Of each split the folder and the recipe of the store of each look.
        size: The bytes of features, and about those of what lies beside them.
    """

    network: FeatureNetwork
    entry: str | None
    shapes: dict[str, tuple[int, ...]]
    dtype: DTypeName
    views: int
    folder: Path
    stores: dict[str, list[tuple[Path, dict[str, Any]]]]
    size: int

    @property
    def stored(self) -> int:
        """The bytes of what is there by now."""
        return sum(stored_bytes(folder) for each in self.stores.values() for folder, _ in each)


def plan_storing(
    task: OnTrunk, sources: "Mapping[str, FitData]", options: TrainingOptions, run: RunFolder
) -> dict[str, StoringPlan]:
    """Return what is to be stored of each data set, after saying so; nothing where training goes on with pictures.

    ``cache_views`` then holds for those: the same looks are drawn. Nothing is written yet. The trunk runs in one form
    over all data sets, chosen for all of their pictures.

    Args:
        task: Its trunk frozen as the options say.
        sources: The loaders of pictures.
        options: The command's, with a precision that is chosen.
        run: Where features are stored, unless the options name another folder.

    Raises:
        UserError: If features are to be stored, and can't be.
    """
    changing = [each for each in _datasets(sources, "train") if each.transform.is_random]
    for train in changing:
        train.views = options.cache_views
    if options.cache_views is not None and not changing and is_first():
        print("without effect here: --cache-views; pictures look the same in each epoch")
    reason, plans = _hindrance(task, sources, options), {}
    if reason is None:
        for data in sources.values():
            _refuse_folder(options, data.facts["path"])
        trunk = _settle_trunk(task, sources, options)
        plans = {name: _make_plan(task, data, trunk, options, run) for name, data in sources.items()}
        reason = _lack_of_room(plans, sources)
    if reason is None:
        return plans
    if options.cache == "on":
        raise UserError(f"--cache on: {reason}.")
    if is_first() and options.cache == "auto" and options.epochs > 1 and options.freeze != "none":
        print(f"features aren't stored: {reason}")
    return {}


def store_features(task: OnTrunk, data: "FitData", plan: StoringPlan, options: TrainingOptions) -> "FitData":
    """Return the loaders of a training on stored features, after computing those that aren't there.

    Args:
        task: Its trunk goes on behind the plan's entry from then on.
        data: The loaders of pictures.
        plan: What is stored.
        options: The command's.

    Raises:
        UserError: Of a picture that can't be read, or a disk that is full.
        Interrupted: If a signal stopped it; the message says what was kept.
    """
    started = time.monotonic()
    if options.fit.compile:
        print("without effect here: --fit.compile; training goes on from stored features")
    canvas = InputRecipe.from_dict(task.description["inputs"]).canvas
    looked = len(data.train.dataset) * plan.views + len(data.val.dataset)
    train, val = _datasets({"": data}, "train", "val")
    with ImageProgress(looked) as progress, _saying_what_is_kept(plan):
        # val first: others who share the folder need no more than it, and the first looks of train
        stores = _fill_stores({"val": val, "train": train}, plan, options, progress)
    seconds = {split: sum(store.seconds() for store in each) for split, each in stores.items()}
    read_train = data.train.reading(StoredDataset(train, StoredLooks(stores["train"], train, canvas)))
    read_val = data.val.reading(StoredDataset(val, StoredLooks(stores["val"], val, canvas)))
    task.stored_entry = plan.entry
    computed, took = looked - progress.kept, time.monotonic() - started
    rate = f"{computed:,} in {took:.1f} s ({computed / took:.1f} images/s)" if computed else "all were there"
    print(f"stored features of {count(looked, 'image')}: {rate}; {size_text(plan.stored)}")
    facts = {"entry": plan.entry, "views": plan.views, "images": looked, "bytes": plan.stored, "dtype": plan.dtype}
    facts["precision"] = plan.network.form.precision
    return replace(data, train=read_train, val=read_val, stored=facts, stored_seconds=seconds)


@contextmanager
def _saying_what_is_kept(plan: StoringPlan) -> Iterator[None]:
    try:
        yield
    except Interrupted as stop:
        stop.add_note(f"stopped by {stop} while features were stored; what was computed is in '{plan.folder}'.")
        raise


def delete_features(options: TrainingOptions, run: RunFolder) -> None:
    """Delete what a finished run has stored in its own folder; a folder that the options name is kept."""
    if options.cache_folder is None and is_first():
        shutil.rmtree(run.features, ignore_errors=True)


def _refuse_folder(options: TrainingOptions, path: str) -> None:
    """Refuse to store features among the pictures, which would be looked for there next time.

    Raises:
        UserError: Saying so.
    """
    data = Path(path)
    if options.cache_folder is None or not data.is_dir():
        return
    if Path(options.cache_folder).resolve().is_relative_to(data.resolve()):
        raise UserError(
            f"--cache-folder {options.cache_folder}: it lies in the data set '{path}'. Choose a folder elsewhere."
        )


def _datasets(sources: "Mapping[str, FitData]", *splits: Literal["train", "val"]) -> list[SampleDataset]:
    """Return the pictures of splits of all data sets, data set by data set."""
    found = [getattr(data, split).dataset for data in sources.values() for split in splits]
    assert all(isinstance(dataset, SampleDataset) for dataset in found)
    return found


def _hindrance(task: OnTrunk, sources: "Mapping[str, FitData]", options: TrainingOptions) -> str | None:
    """Return why a training can't read stored features, or why it isn't to."""
    datasets = _datasets(sources, "train", "val")
    is_once = all(data.own_epochs(options.epochs) == 1 for data in sources.values())
    is_random = any(dataset.transform.is_random for dataset in datasets)
    reasons = {
        "--cache off": options.cache == "off",
        "several processes train together, and one is enough for what is left to train: --devices 1": (
            may_be_several(options)
        ),
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
        "one epoch sees each picture once anyway": is_once and options.cache == "auto",
    }
    found = next((reason for reason, holds in reasons.items() if holds), None)
    return found if found or task.backbone.is_frozen else task.backbone.can_go_on(options.freeze)


def _settle_trunk(task: OnTrunk, sources: "Mapping[str, FitData]", options: TrainingOptions) -> FastTrunk:
    """Return the trunk as it runs over the pictures of all data sets."""
    backbone = task.backbone
    read = [level for data in sources.values() for level in data.levels or backbone.levels]
    levels = tuple(dict.fromkeys(read)) if backbone.is_frozen else backbone.stored_levels(options.freeze)
    looks: list[Record] = []
    for data in sources.values():
        train, val = _datasets({"": data}, "train", "val")
        looks += [*train.records * _views(data, options), *val.records]
    inputs = InputRecipe.from_dict(task.description["inputs"])
    computing = replace(options, precision=options.cache_precision)
    return settle_trunk(backbone.cut_copy(levels), looks, inputs.transform(), computing, canvas=inputs.canvas)


def _views(data: "FitData", options: TrainingOptions) -> int:
    """Return how many looks at each training picture of a data set are stored."""
    (train,) = _datasets({"": data}, "train")
    views = (options.cache_views or 1) if train.transform.is_random else 1
    # else a picture that is drawn again takes the next look at it
    return min(views, data.own_epochs(options.epochs)) if options.sampling == "shuffle" else views


def _make_plan(
    task: OnTrunk, data: "FitData", trunk: FastTrunk, options: TrainingOptions, run: RunFolder
) -> StoringPlan:
    backbone = task.backbone
    train, val = _datasets({"": data}, "train", "val")
    entry = None if backbone.is_frozen else options.freeze
    levels = (data.levels or backbone.levels) if entry is None else backbone.stored_levels(entry)
    computing = replace(options, precision=options.cache_precision)
    network = FeatureNetwork(backbone.cut_copy(levels), pooling="none", options=computing)
    network.run_in(trunk.form, trunk)
    inputs = InputRecipe.from_dict(task.description["inputs"])
    views = _views(data, options)
    dtype = network.form.precision if options.cache_dtype == "auto" else options.cache_dtype
    folder = run.features if options.cache_folder is None else Path(options.cache_folder)
    shapes = network.shapes(inputs.canvas)
    stores = {
        split: _list_stores(folder / split, dataset, network, inputs, [shapes, dtype], views)
        for split, dataset in {"train": train, "val": val}.items()
    }
    looked = len(train) * views + len(val)
    size = looked * row_bytes(shapes, dtype) + views * _bytes_beside(train) + _bytes_beside(val)
    if not all((store / ABOUT).is_file() for each in stores.values() for store, _ in each):
        check_writable(folder, chosen_by="--cache-folder")
    return StoringPlan(network, entry, shapes, dtype, views, folder, stores, size)


def _list_stores(
    name: Path,
    dataset: SampleDataset,
    network: FeatureNetwork,
    inputs: InputRecipe,
    facts: list[Any],
    views: int,
) -> list[tuple[Path, dict[str, Any]]]:
    """Return the folder and the recipe of the store of each look at a split.

    A folder is called by all that its features are a function of, besides the contents of files, and so two data sets,
    or two recipes, never share one.
    """
    recipe = {
        **network.recipe(inputs),
        "transform": repr(dataset.transform),
        "targets": dataset.encoder.recipe(),
        "versions": versions(),
    }
    paths = [str(record.path.absolute()) for record in dataset.records]
    is_random, found = dataset.transform.is_random, []
    for view in range(views if is_random else 1):
        look = {**recipe, "view": {"seed": dataset.seed, "number": view}} if is_random else recipe
        key = hashlib.sha256(json.dumps([look, *facts, paths], sort_keys=True).encode()).hexdigest()[:12]
        found.append((name.with_name(f"{name.name}-{view}-{key}"), look))
    return found


def _bytes_beside(dataset: SampleDataset) -> int:
    """Return about how much room the targets take that move with the pictures of a split, by the first of them."""
    dataset.encodes = False
    samples = sample_records(dataset)
    dataset.encodes = True
    size = sum(int(tensor.nbytes) for sample in samples for tensor in sample.targets.values())
    return len(dataset) * size // max(1, len(samples))


def _lack_of_room(plans: Mapping[str, StoringPlan], sources: "Mapping[str, FitData]") -> str | None:
    """Say what will be stored where, and return why there is no room for all of it together."""
    folder = next(iter(plans.values())).folder  # that of all
    free, needed = free_bytes(folder), sum(plan.size - plan.stored for plan in plans.values())
    for name, plan in plans.items():
        data = sources[name]
        layers = ", ".join(f"{level} {'x'.join(map(str, shape))}" for level, shape in plan.shapes.items())
        views = f" in {plan.views} looks each" if plan.views > 1 else ""
        print(
            f"features to store: {layers}; {len(data.train.dataset):,} images{views} + {len(data.val.dataset):,}, "
            f"{plan.dtype}: {size_text(plan.size)} in {folder}; free: {size_text(free)}"
        )
    if needed <= free:
        return None
    return (
        f"'{folder}' needs {size_text(needed)} more, and {size_text(free)} are free there. Store less "
        "(--cache-dtype bf16, fewer --cache-views), or elsewhere: --cache-folder DIR"
    )


def _fill_stores(
    datasets: Mapping[str, SampleDataset], plan: StoringPlan, options: TrainingOptions, progress: ImageProgress
) -> dict[str, list[FeatureStore]]:
    """Return the complete store of each look at each split's pictures, after computing what is missing."""
    found: dict[str, list[FeatureStore]] = {}
    fillings, size = [], options.batch_size
    with ExitStack() as locks:
        for split, dataset in datasets.items():
            annotations, rows = [record.annotation for record in dataset.records], len(dataset)
            found[split] = []
            for view, (folder, recipe) in enumerate(plan.stores[split]):
                lock = locks.enter_context(ExitStack())
                store = _find_whole(folder, dataset, annotations)
                if store is None:
                    lock.enter_context(writing_alone(plan.folder, name=f"{folder.name}.lock", waits=True))
                    store = _find_whole(folder, dataset, annotations)  # it may have been filled meanwhile
                if store is None:
                    store = FeatureStore.create(
                        folder, recipe, plan.shapes, dtype=plan.dtype, rows=rows, batch_size=size, replaces=True
                    )
                    store.go_on = "go on with --resume"
                    finished = partial(_let_others_read, store, lock)
                    fillings.append(Filling(store, dataset, view, annotations, finished))
                else:
                    lock.close()
                    progress.keep(len(store), of=len(store))
                found[split].append(store)
        fill(fillings, plan.network, options, progress=progress)
    return found


def _let_others_read(store: FeatureStore, lock: ExitStack) -> None:
    store.hold()
    lock.close()


def _find_whole(folder: Path, dataset: SampleDataset, annotations: Sequence[str]) -> FeatureStore | None:
    """Return a store that lacks nothing, which may lie where nothing can be written; None for one that has to be."""
    try:
        store = FeatureStore.open(folder)
        if len(store) != len(dataset) or store.missing(dataset.records, annotations):
            return None
        store.hold()
    except (UserError, OSError, ValueError, KeyError):
        return None
    return store
