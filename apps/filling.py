"""Filling stores: looks at the images of one data set after another, through one trunk.

The same workers read for all stores. Starting them anew for each costs more than a few hundred images do, most of it
in the trunk: what a forked process shares, the other has to copy before it writes there.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from ..backbones.errors import UserError
from ..datasets import BadSample, Batch, LookBatches, Record, ResumableLoader, SampleDataset, targets_by_sample
from .config import ComputeOptions
from .console import ImageProgress
from .divergence import is_finite
from .extraction import FeatureNetwork
from .hardware import choose_device, choose_workers
from .inputs import bad_images_error
from .placed_targets import pack
from .store import DTYPES, FeatureStore, Row, empty_rows


@dataclass(frozen=True)
class Filling:
    """A store, and what it is to hold: the features of one look at each image of a data set.

    Attributes:
        store: Its rows are the records of the data set.
        dataset: Reads them, and takes them onto the canvas; its randomness is a function of its seed, the look and the
            row.
        view: The number of the look.
        annotations: Of each record, ``Record.annotation``: the targets that move with the pictures are kept too, and of
            images whose targets are others than before, features are computed again. None for records without targets.
        finished: Called once the store is whole, perhaps by another thread, while others are being filled.
    """

    store: FeatureStore
    dataset: SampleDataset
    view: int = 0
    annotations: Sequence[str] | None = None
    finished: Callable[[], None] = lambda: None

    def missing(self) -> list[int]:
        """Return the rows that have to be computed, in order."""
        shards = self.store.missing(self.dataset.records, self.annotations)
        return [place for shard in shards for place in self.store.shards[shard]]

    def reader(self) -> SampleDataset:
        """Return the data set as stores need it: with the state of files, without targets that stay in place."""
        reading = copy.copy(self.dataset)
        reading.keeps_states, reading.encodes = True, False
        return reading

    def conclude(self, options: ComputeOptions) -> None:
        """Do what is left where the store is whole.

        Raises:
            DataError: Naming images that couldn't be read when their shards were computed, and were to be skipped then.
        """
        if options.bad_data == "error":
            rows = enumerate(zip(self.store.manifest(), self.dataset.records, strict=True))
            bad = [
                BadSample(place, row.name, record.path, full_reason(row, record))
                for place, (row, record) in rows
                if row.error is not None
            ]
            if bad:
                raise bad_images_error(bad)
        self.finished()


def fill(
    fillings: Sequence[Filling], network: FeatureNetwork, options: ComputeOptions, *, progress: ImageProgress
) -> None:
    """Compute what stores lack, shard by shard.

    Args:
        fillings: The stores, of the network's features.
        network: Computes them.
        options: Batch size, workers, and what to do with images that can't be read.
        progress: Is told how far it is.

    Raises:
        DataError: Naming images that can't be read, unless such are to be skipped.
        UserError: For features that aren't finite, or a disk that is full.
    """
    lacking = []
    for filling in fillings:
        places = filling.missing()
        progress.keep(len(filling.store) - len(places), of=len(filling.store))
        if places:
            size = options.batch_size
            lacking.append((filling, [places[start : start + size] for start in range(0, len(places), size)]))
        else:
            filling.conclude(options)
    looks: list[tuple[SampleDataset, int, Sequence[int]]] = []
    for filling, batches in lacking:
        reader = filling.reader()
        looks += [(reader, filling.view, places) for places in batches]
    loader = ResumableLoader(
        LookBatches(looks),
        batch_size=1,
        workers=min(choose_workers(options.workers), len(looks)),
        pin_memory=choose_device(options.device).type == "cuda",
    )
    with closing(loader), _Writer() as writer:
        read = iter(loader)
        for filling, batches in lacking:
            waiting = _Waiting(filling, network, writer)
            for batch in islice(read, len(batches)):
                if options.bad_data == "error" and batch.skipped:
                    raise bad_images_error(batch.skipped)
                progress.advance(waiting.add(batch))
            writer.then(partial(filling.conclude, options))
        progress.advance(writer.finish())


def full_reason(row: Row, record: Record) -> str:
    """Return why an image has no features, a full sentence that names the file: its own, unless another is to blame."""
    return row.error if row.annotation and row.error else f"{record.path}: {row.error}"


class _Writer:
    """A thread that writes one shard while the next one is computed; leaving the block waits for it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._pending: list[tuple[Future[None], int]] = []

    def __enter__(self) -> "_Writer":
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until what is being written is, also where something else failed."""
        self._thread.shutdown()

    def write(self, write: Callable[[], None], rows: int) -> int:
        """Begin to write a shard of so many rows after the one before it; return how many rows that one had."""
        before = self.finish()
        self._pending.append((self._thread.submit(write), rows))
        return before

    def then(self, call: Callable[[], None]) -> None:
        """Call something behind what is being written, unless that fails, without waiting for it."""
        before = [done for done, _ in self._pending]

        def follow() -> None:
            for done in before:
                done.result()
            call()

        self._pending.append((self._thread.submit(follow), 0))

    def finish(self) -> int:
        """Wait for the shard that is being written, and for what follows it; return how many rows it has.

        Raises:
            UserError: The disk is full or the folder can't be written to; or what follows raises.
        """
        pending, self._pending = self._pending, []
        rows = 0
        for done, count in pending:
            done.result()
            rows += count
        return rows


class _Waiting:
    """The shards of a store that aren't whole yet: batches needn't end where shards do."""

    def __init__(self, filling: Filling, network: FeatureNetwork, writer: _Writer) -> None:
        self._store, self._network, self._writer = filling.store, network, writer
        self._annotations = [""] * len(filling.store) if filling.annotations is None else filling.annotations
        self._features: dict[int, dict[str, Tensor]] = {}
        self._rows: dict[int, dict[int, Row]] = {}
        self._beside: dict[int, dict[int, dict[str, Tensor]]] = {}
        self._written_at = time.monotonic()

    def add(self, batch: Batch) -> int:
        """Take a batch, and give away the shards that it makes whole; return how many rows were written since.

        Raises:
            UserError: The disk is full or the folder can't be written to; or for features that aren't finite.
        """
        for shard in {place // self._store.shard_rows for place in batch.states}:
            self._rows.setdefault(shard, {})
            self._beside.setdefault(shard, {})
        if batch.images is not None:
            dtype = torch.bfloat16 if self._store.dtype == "bf16" else torch.float32
            self._keep(batch, self._network(batch.images, dtype=dtype))
        names = dict(zip(batch.indices.tolist(), batch.names, strict=True))
        # where there is an annotation, its file may be the bad one
        reasons = {
            bad.index: bad.reason if self._annotations[bad.index] else bad.reason.removeprefix(f"{bad.path}: ")
            for bad in batch.skipped
        }
        names |= {bad.index: bad.name for bad in batch.skipped}
        for place, state in batch.states.items():
            row = Row(names[place], state, reasons.get(place), self._annotations[place])
            self._rows[place // self._store.shard_rows][place] = row
        whole = [shard for shard, rows in self._rows.items() if len(rows) == len(self._store.shards[shard])]
        return sum(self._write(shard) for shard in whole)

    def _write(self, shard: int) -> int:
        """Hand a shard to the writer after waiting for the one before it; return how many rows that one had."""
        rows, beside, features = self._rows.pop(shard), self._beside.pop(shard), self._arrays(shard)
        listed = [rows[place] for place in sorted(rows)]
        packed = pack([beside.get(place) for place in self._store.shards[shard]])
        empty = [row for row, one in enumerate(listed) if one.error is not None]
        for array in features.values() if empty else ():
            array[empty] = 0
        del self._features[shard]
        now = time.monotonic()
        seconds, self._written_at = now - self._written_at, now

        def write() -> None:
            self._store.write(shard, listed, features, beside=packed, seconds=seconds)

        return self._writer.write(write, len(listed))

    def _keep(self, batch: Batch, found: Mapping[str, Tensor]) -> None:
        narrow = {name: self._narrow(name, features, batch.names) for name, features in found.items()}
        shards = batch.indices // self._store.shard_rows
        for shard in sorted(set(shards.tolist())):
            chosen = (shards == shard).nonzero()[:, 0]
            rows, taken = _as_slice(batch.indices[chosen] - shard * self._store.shard_rows), _as_slice(chosen)
            if len(chosen) == len(self._store.shards[shard]):  # large maps: a shard is one batch, and isn't copied
                self._features[shard] = {name: features[taken] for name, features in narrow.items()}
            else:
                for name, array in self._arrays(shard).items():
                    array[rows] = narrow[name][taken]
        for row, (place, targets) in enumerate(zip(batch.indices.tolist(), targets_by_sample(batch), strict=True)):
            self._beside[place // self._store.shard_rows][place] = {
                "original_size": batch.context.original_sizes[row],
                "valid_size": batch.context.valid_sizes[row],
                **targets,
            }

    def _arrays(self, shard: int) -> dict[str, Tensor]:
        """Return the arrays of a shard, for its rows to be filled in."""
        if shard not in self._features:
            rows, dtype = len(self._store.shards[shard]), DTYPES[self._store.dtype]
            self._features[shard] = {name: empty_rows(rows, shape, dtype) for name, shape in self._store.layers.items()}
        return self._features[shard]

    def _narrow(self, layer: str, features: Tensor, names: Sequence[str]) -> Tensor:
        """Return features in the store's dtype, on the CPU.

        Raises:
            UserError: They are NaN or infinite, in that dtype; naming the first image.
        """
        narrow = features.to(DTYPES[self._store.dtype]).cpu()
        if is_finite(narrow):
            return narrow
        image = next(name for name, row in zip(names, narrow, strict=True) if not is_finite(row))
        if is_finite(features):
            largest = float(features.abs().max())
            remedy = f"values up to {largest:.3g} go beyond {self._store.dtype}; take --dtype fp32 or bf16"
        elif self._network.form.precision == "bf16":
            remedy = "in bf16; try --precision fp32"
        else:
            remedy = "the weights are damaged, or made for other pictures"
        raise UserError(f"The features of '{layer}' are NaN or infinite for '{image}': {remedy}.")


def _as_slice(places: Tensor) -> slice | Tensor:
    """Return places as a slice, which copies large rows several times faster, where they follow one another."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if places.equal(torch.arange(first, last + 1)) else places
