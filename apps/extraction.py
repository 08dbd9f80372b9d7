"""Running a frozen trunk over images: levels, pooled, as numbers to keep."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from ..backbones import Backbone
from ..backbones.errors import UserError
from ..datasets import BadSample, Batch, Record, Transform
from .checkpoints import bad_images_error
from .config import ComputeOptions
from .divergence import is_finite
from .hardware import choose_device, choose_precision
from .inputs import InputRecipe, make_loader
from .store import DTYPES, FeatureStore, Row

Pooling = Literal["avg", "max", "flat", "none"]


class FeatureNetwork:
    """A trunk in evaluation mode on a device, with what makes a vector of each level.

    Attributes:
        backbone: The trunk; what it returns are the layers.
        pooling: What becomes of maps ``[B, C, h, w]``, and of a transformer's tokens ``[B, N, C]``: their mean or
            maximum over cells or tokens, ``flat`` for one long vector, ``none`` for the map itself. Vectors stay.
        precision: ``fp32``, or ``bf16`` for autocast; chosen once.
        device: Where it runs.
    """

    def __init__(self, backbone: Backbone, *, pooling: Pooling, options: ComputeOptions) -> None:
        """Move the trunk to the device that the options name."""
        self.device = choose_device(options.device)
        self.precision = choose_precision(options.precision, self.device, backbone)
        self.pooling: Pooling = pooling
        self.backbone = backbone.eval().to(self.device).to(memory_format=torch.channels_last)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Return the layers of pictures as float32.

        Args:
            images: uint8 ``[B, C, H, W]``.
        """
        with torch.inference_mode():
            normal = self.backbone.preprocessing.normalize(images.to(self.device, non_blocking=True))
            normal = normal.contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                levels = self.backbone(normal)
            return {name: pool(level.float(), self.pooling) for name, level in levels.items()}

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
            "precision": self.precision,
        }


def pool(level: Tensor, pooling: Pooling) -> Tensor:
    """Return a level as ``FeatureNetwork`` says of its pooling.

    Args:
        level: ``[B, D]``, ``[B, N, C]`` or ``[B, C, h, w]``.
        pooling: See ``FeatureNetwork``.
    """
    if level.dim() == 2 or pooling == "none":
        return level
    if pooling == "flat":
        return level.flatten(1)
    over = (1,) if level.dim() == 3 else tuple(range(2, level.dim()))
    return level.mean(dim=over) if pooling == "avg" else level.amax(dim=over)


def fill(
    store: FeatureStore,
    network: FeatureNetwork,
    records: Sequence[Record],
    transform: Transform,
    options: ComputeOptions,
    *,
    draw: tuple[int, int] = (0, 0),
    begin: Callable[[int], None] = lambda images: None,
    advance: Callable[[int], None] = lambda images: None,
) -> None:
    """Compute what a store lacks, shard by shard.

    Args:
        store: Of the network's features; its rows are the records.
        network: Computes them.
        records: The manifest.
        transform: Takes a picture onto the canvas; its randomness is a function of ``draw`` and the row.
        options: Batch size, workers, and what to do with images that can't be read.
        draw: The seed, and the number of the random view.
        begin: Is told how many images are there already.
        advance: Is told of how many more images are done.

    Raises:
        DataError: Naming images that can't be read, unless such are to be skipped.
        UserError: For features that aren't finite, or a disk that is full.
    """
    shards = store.missing(records)
    places = [place for shard in shards for place in store.shards[shard]]
    begin(len(store) - len(places))
    bare = [replace(record, targets={}) for record in records]
    loader = make_loader(bare, transform, options, channels=network.backbone.in_channels, seed=draw[0])
    loader.restrict(places)
    loader.dataset.keeps_states = True
    loader.set_epoch(draw[1])
    waiting = _Waiting(store, network)
    try:
        for batch in loader if places else ():
            if options.bad_data == "error" and batch.skipped:
                raise bad_images_error(batch.skipped)
            for shard, features, rows in waiting.add(batch):
                store.write(shard, rows, features)
                advance(len(rows))
    finally:
        loader.close()
    if options.bad_data == "error":
        _refuse_empty_rows(store, records)


def _refuse_empty_rows(store: FeatureStore, records: Sequence[Record]) -> None:
    """Raise the error of images that couldn't be read when their shards were computed, and were to be skipped then."""
    bad = [
        BadSample(place, row.name, record.path, f"{record.path}: {row.error}")
        for place, (row, record) in enumerate(zip(store.manifest(), records, strict=True))
        if row.error is not None
    ]
    if bad:
        raise bad_images_error(bad)


class _Waiting:
    """The shards that aren't whole yet: batches needn't end where shards do."""

    def __init__(self, store: FeatureStore, network: FeatureNetwork) -> None:
        self._store, self._network = store, network
        self._features: dict[int, dict[str, Tensor]] = {}
        self._rows: dict[int, dict[int, Row]] = {}

    def add(self, batch: Batch) -> list[tuple[int, dict[str, Tensor], list[Row]]]:
        """Take a batch, and give back the shards that it makes whole."""
        if batch.images is not None:
            self._keep(batch, self._network(batch.images))
        names = dict(zip(batch.indices.tolist(), batch.names, strict=True))
        reasons = {bad.index: bad.reason.removeprefix(f"{bad.path}: ") for bad in batch.skipped}
        names |= {bad.index: bad.name for bad in batch.skipped}
        for place, state in batch.states.items():
            shard = place // self._store.shard_rows
            self._begin(shard)
            self._rows[shard][place] = Row(names[place], state, reasons.get(place))
        whole = [shard for shard, rows in self._rows.items() if len(rows) == len(self._store.shards[shard])]
        found = [(shard, self._features.pop(shard), self._rows.pop(shard)) for shard in whole]
        return [(shard, features, [rows[place] for place in sorted(rows)]) for shard, features, rows in found]

    def _keep(self, batch: Batch, found: Mapping[str, Tensor]) -> None:
        narrow = {name: self._narrow(name, features, batch.names) for name, features in found.items()}
        shards = batch.indices // self._store.shard_rows
        for shard in sorted(set(shards.tolist())):
            chosen = shards == shard
            rows = batch.indices[chosen] - shard * self._store.shard_rows
            for name, array in self._begin(shard).items():
                array[rows] = narrow[name][chosen]

    def _begin(self, shard: int) -> dict[str, Tensor]:
        if shard not in self._features:
            size, dtype = len(self._store.shards[shard]), DTYPES[self._store.dtype]
            self._rows[shard] = {}
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
        elif self._network.precision == "bf16":
            remedy = "in bf16; try --precision fp32"
        else:
            remedy = "the weights are damaged, or made for other pictures"
        raise UserError(f"The features of '{layer}' are NaN or infinite for '{image}': {remedy}.")
