"""Running a frozen trunk over images: levels, pooled, as numbers to keep."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..backbones import Backbone
from ..backbones.errors import UserError
from ..datasets import BadSample, Batch, Encoder, Record, SampleDataset, Transform, targets_by_sample
from .config import ComputeOptions
from .console import ImageProgress
from .divergence import is_finite
from .fast_trunk import FastTrunk, Form, choose_trunk, usual_precision
from .hardware import choose_device
from .inputs import InputRecipe, bad_images_error, make_loader, sample_pictures
from .option_checks import may_be_several
from .placed_targets import pack
from .store import DTYPES, FeatureStore, Row

Pooling = Literal["avg", "max", "flat", "none"]


class KeptTargets(NamedTuple):
    """What a store keeps of targets, beside features."""

    encoder: Encoder
    """What makes them of records."""
    annotations: Sequence[str]
    """Of each record, ``Record.annotation``: of images whose targets are others than before, features are computed
    again."""


class FeatureNetwork:
    """A trunk in evaluation mode on a device, with what makes a vector of each level.

    Attributes:
        backbone: The trunk; what it returns are the layers.
        pooling: What becomes of maps ``[B, C, h, w]``, and of a transformer's tokens ``[B, N, C]``: their mean or
            maximum over cells or tokens, ``flat`` for one long vector, ``none`` for the map itself. Vectors stay.
        form: How it runs; chosen once, before the first picture.
        device: Where it runs.
    """

    def __init__(self, backbone: Backbone, *, pooling: Pooling, options: ComputeOptions) -> None:
        """Take the trunk; its form is the usual one for the options until ``run_in`` says another."""
        self.device = choose_device(options.device)
        self.form = Form(usual_precision(options.precision, self.device, backbone), options.compile == "on")
        self.pooling: Pooling = pooling
        self.backbone = backbone.eval()
        self._batch_size = options.batch_size
        self._trunk: FastTrunk | None = None

    def run_in(self, form: Form, trunk: FastTrunk) -> None:
        """Run in a form from now on.

        Args:
            form: The form.
            trunk: The same trunk, perhaps compiled by now, which is used if it has this form and these levels.
        """
        self.form = form
        self._trunk = trunk if trunk.form == form and trunk.backbone.levels == self.backbone.levels else None

    def __call__(self, images: Tensor, *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Return the layers of pictures.

        Args:
            images: uint8 ``[B, C, H, W]``.
            dtype: Of what is returned. Maps that the trunk computes in bf16, and that are wanted in it, never become
                float32: that takes as long as writing them. Means are float32 until then.
        """
        if self._trunk is None:
            canvas = (images.shape[-2], images.shape[-1])
            self._trunk = FastTrunk(
                self.backbone, self.form, device=self.device, canvas=canvas, batch_size=self._batch_size
            )
        normal = self.backbone.preprocessing.normalize(images.to(self.device, non_blocking=True))
        levels = self._trunk(normal, as_computed=True)
        return {name: pool(level, self.pooling).to(dtype) for name, level in levels.items()}

    def shapes(self, canvas: tuple[int, int]) -> dict[str, tuple[int, ...]]:
        """Return the shape of each layer's features of one picture, by a pass over an empty one."""
        empty = torch.zeros(1, self.backbone.in_channels, *canvas, dtype=torch.uint8)
        return {name: tuple(features.shape[1:]) for name, features in self(empty).items()}

    def recipe(self, inputs: InputRecipe) -> dict[str, Any]:
        """Return plain values: what its features are a function of, besides the images."""
        backbone = self.backbone
        return {
            "backbone": {
                "weights": backbone.weights,
                "fingerprint": backbone.fingerprint(),
                "recipe": dict(backbone.recipe),
                "preprocessing": backbone.preprocessing.to_dict(),
            },
            "inputs": inputs.to_dict(),
            "pooling": self.pooling,
            "precision": self.form.precision,
            "compiled": self.form.is_compiled,
        }


def settle_trunk(
    backbone: Backbone,
    records: Sequence[Record],
    transform: Transform,
    options: ComputeOptions,
    *,
    canvas: tuple[int, int],
) -> FastTrunk:
    """Return a trunk as it runs over pictures: as the options say, and as measuring shows where they leave it open.

    Args:
        backbone: The trunk.
        records: The pictures.
        transform: Takes one onto the canvas.
        options: Precision, compilation, device and batch size.
        canvas: Height and width of the canvas.
    """
    device, sample = choose_device(options.device), None
    if not may_be_several(options):  # which might measure differently
        sample = sample_pictures(records, transform, channels=backbone.in_channels)
    if sample is None:
        form = Form(usual_precision(options.precision, device, backbone), options.compile == "on")
        return FastTrunk(backbone, form, device=device, canvas=canvas, batch_size=options.batch_size)
    return choose_trunk(
        backbone,
        precision=options.precision,
        compiling=options.compile,
        device=device,
        canvas=canvas,
        batch_size=options.batch_size,
        images=len(records),
        sample=sample,
    )


def pool(level: Tensor, pooling: Pooling) -> Tensor:
    """Return a level as ``FeatureNetwork`` says of its pooling: means as float32, and otherwise in its own dtype.

    Args:
        level: ``[B, D]``, ``[B, N, C]`` or ``[B, C, h, w]``.
        pooling: See ``FeatureNetwork``.
    """
    if level.dim() == 2 or pooling == "none":
        return level
    if pooling == "flat":
        return level.flatten(1)
    over = (1,) if level.dim() == 3 else tuple(range(2, level.dim()))
    return level.mean(dim=over, dtype=torch.float32) if pooling == "avg" else level.amax(dim=over)


def fill(
    store: FeatureStore,
    network: FeatureNetwork,
    records: Sequence[Record],
    transform: Transform,
    options: ComputeOptions,
    *,
    draw: tuple[int, int] = (0, 0),
    targets: KeptTargets | None = None,
    progress: ImageProgress,
) -> None:
    """Compute what a store lacks, shard by shard.

    Args:
        store: Of the network's features; its rows are the records.
        network: Computes them.
        records: The manifest.
        transform: Takes a picture onto the canvas; its randomness is a function of ``draw`` and the row.
        options: Batch size, workers, and what to do with images that can't be read.
        draw: The seed, and the number of the random view.
        targets: What is to be kept of the records' targets.
        progress: Is told how far it is.

    Raises:
        DataError: Naming images that can't be read, unless such are to be skipped.
        UserError: For features that aren't finite, or a disk that is full.
    """
    shards = store.missing(records, None if targets is None else targets.annotations)
    places = [place for shard in shards for place in store.shards[shard]]
    progress.keep(len(store) - len(places), of=len(store))
    loader = make_loader(
        [replace(record, targets={}) for record in records] if targets is None else records,
        transform,
        options,
        channels=network.backbone.in_channels,
        targets=() if targets is None else targets.encoder,
        seed=draw[0],
    )
    loader.restrict(places)
    assert isinstance(loader.dataset, SampleDataset)
    loader.dataset.keeps_states, loader.dataset.encodes = True, False
    loader.set_epoch(draw[1])
    with closing(loader), _Waiting(store, network, targets) as waiting:
        for batch in loader if places else ():
            if options.bad_data == "error" and batch.skipped:
                raise bad_images_error(batch.skipped)
            progress.advance(waiting.add(batch))
        progress.advance(waiting.finish())
    if options.bad_data == "error":
        _refuse_empty_rows(store, records)


def _refuse_empty_rows(store: FeatureStore, records: Sequence[Record]) -> None:
    """Raise the error of images that couldn't be read when their shards were computed, and were to be skipped then."""
    bad = [
        BadSample(place, row.name, record.path, full_reason(row, record))
        for place, (row, record) in enumerate(zip(store.manifest(), records, strict=True))
        if row.error is not None
    ]
    if bad:
        raise bad_images_error(bad)


def full_reason(row: Row, record: Record) -> str:
    """Return why an image has no features, a full sentence that names the file: its own, unless another is to blame."""
    return row.error if row.annotation and row.error else f"{record.path}: {row.error}"


class _Waiting:
    """The shards that aren't whole yet: batches needn't end where shards do.

    A shard that is whole is written while the next one is computed, by a thread: leaving the block waits for it.
    """

    def __init__(self, store: FeatureStore, network: FeatureNetwork, targets: KeptTargets | None) -> None:
        self._store, self._network = store, network
        self._annotations = [""] * len(store) if targets is None else targets.annotations
        self._features: dict[int, dict[str, Tensor]] = {}
        self._rows: dict[int, dict[int, Row]] = {}
        self._beside: dict[int, dict[int, dict[str, Tensor]]] = {}
        self._written_at = time.monotonic()
        self._writer = ThreadPoolExecutor(max_workers=1)
        self._writing: Future[int] | None = None

    def __enter__(self) -> "_Waiting":
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until what is being written is, also where something else failed."""
        self._writer.shutdown()

    def finish(self) -> int:
        """Wait for the shard that is being written, and return how many rows it has.

        Raises:
            UserError: The disk is full or the folder can't be written to.
        """
        writing, self._writing = self._writing, None
        return 0 if writing is None else writing.result()

    def add(self, batch: Batch) -> int:
        """Take a batch, and give away the shards that it makes whole; return how many rows were written since.

        Raises:
            UserError: The disk is full or the folder can't be written to; or for features that aren't finite.
        """
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
            shard = place // self._store.shard_rows
            self._begin(shard)
            self._rows[shard][place] = Row(names[place], state, reasons.get(place), self._annotations[place])
        whole = [shard for shard, rows in self._rows.items() if len(rows) == len(self._store.shards[shard])]
        return sum(self._write(shard) for shard in whole)

    def _write(self, shard: int) -> int:
        """Hand a shard to the writer after waiting for the one before it; return how many rows that one had."""
        before = self.finish()
        rows, beside, now = self._rows.pop(shard), self._beside.pop(shard), time.monotonic()
        listed = [rows[place] for place in sorted(rows)]
        packed = pack([beside.get(place) for place in self._store.shards[shard]])
        features, seconds, self._written_at = self._features.pop(shard), now - self._written_at, now

        def write() -> int:
            self._store.write(shard, listed, features, beside=packed, seconds=seconds)
            return len(listed)

        self._writing = self._writer.submit(write)
        return before

    def _keep(self, batch: Batch, found: Mapping[str, Tensor]) -> None:
        narrow = {name: self._narrow(name, features, batch.names) for name, features in found.items()}
        shards = batch.indices // self._store.shard_rows
        for shard in sorted(set(shards.tolist())):
            chosen = _as_slice((shards == shard).nonzero()[:, 0])
            rows = _as_slice(batch.indices[chosen] - shard * self._store.shard_rows)
            for name, array in self._begin(shard).items():
                array[rows] = narrow[name][chosen]
        for row, (place, targets) in enumerate(zip(batch.indices.tolist(), targets_by_sample(batch), strict=True)):
            self._beside[place // self._store.shard_rows][place] = {
                "original_size": batch.context.original_sizes[row],
                "valid_size": batch.context.valid_sizes[row],
                **targets,
            }

    def _begin(self, shard: int) -> dict[str, Tensor]:
        if shard not in self._features:
            size, dtype = len(self._store.shards[shard]), DTYPES[self._store.dtype]
            self._rows[shard], self._beside[shard] = {}, {}
            self._features[shard] = {
                name: torch.zeros(size, *shape, dtype=dtype) for name, shape in self._store.layers.items()
            }
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
