"""Running a frozen trunk over images: levels, pooled, as numbers to keep."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..backbones import Backbone
from ..backbones.errors import UserError
from ..datasets import Batch, DataError, Record, ResumableLoader, Transform
from .checkpoints import bad_images_error
from .config import ComputeOptions
from .divergence import is_finite
from .hardware import choose_device, choose_precision
from .inputs import InputRecipe, make_loader
from .store import DTYPES, FeatureStore, Row, read_content, read_signature

Pooling = Literal["avg", "max", "flat", "none"]

#: How often images that change while they are read are read anew.
_PASSES = 3


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
    seed: int = 0,
    view: int = 0,
    advance: Callable[[int], None] = lambda images: None,
) -> None:
    """Compute what a store lacks, shard by shard.

    Args:
        store: Of the network's features; its rows are the records.
        network: Computes them.
        records: The manifest.
        transform: Takes a picture onto the canvas; its randomness is a function of ``seed``, ``view`` and the row.
        options: Batch size, workers, and what to do with images that can't be read.
        seed: Of random views.
        view: The number of the random view.
        advance: Is told of how many more images are done.

    Raises:
        DataError: Naming images that can't be read, unless such are to be skipped; or images that keep changing.
    """
    bare = [replace(record, targets={}) for record in records]
    shards = store.missing(records)
    advance(len(store) - sum(len(store.shards[shard]) for shard in shards))
    for _ in range(_PASSES):
        if not shards:
            return
        places = [place for shard in shards for place in store.shards[shard]]
        channels = network.backbone.in_channels
        loader = make_loader(bare, transform, options, channels=channels, seed=seed)
        loader.restrict(places)
        loader.set_epoch(view)
        try:
            changed = _fill_shards(
                store, network, records, loader, shards, skips=options.bad_data == "skip", advance=advance
            )
        finally:
            loader.close()
        shards = store.missing(records)
    if shards:
        raise DataError(f"{changed[0]}: the file keeps changing while it is read. Wait until it is written.")


def _fill_shards(
    store: FeatureStore,
    network: FeatureNetwork,
    records: Sequence[Record],
    loader: ResumableLoader,
    shards: Sequence[int],
    *,
    skips: bool,
    advance: Callable[[int], None],
) -> list[Path]:
    """Compute some shards; return the files that changed meanwhile, whose shards were left out."""
    before = {place: read_signature(records[place].path) for shard in shards for place in store.shards[shard]}
    changed, waiting = [], _Waiting(store)
    for batch in loader:
        if batch.skipped and not skips:
            raise bad_images_error(batch.skipped)
        for shard, features, errors in waiting.add(batch, network):
            # of the file that was read, if it is now what it was before the reading began
            contents = {place: read_content(records[place].path) for place in store.shards[shard]}
            moved = [records[place].path for place in contents if contents[place].signature != before[place]]
            changed += moved
            if not moved:
                rows = [Row(records[place].name, content, errors.get(place)) for place, content in contents.items()]
                store.write(shard, rows, features)
                advance(len(rows))
    return changed


class _Waiting:
    """The shards that aren't whole yet: batches needn't end where shards do."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._features: dict[int, dict[str, Tensor]] = {}
        self._errors: dict[int, dict[int, str]] = {}
        self._left: dict[int, int] = {}

    def add(self, batch: Batch, network: FeatureNetwork) -> list[tuple[int, dict[str, Tensor], dict[int, str]]]:
        """Take a batch, and give back the shards that it makes whole, with the reasons of rows without features."""
        if batch.images is not None:
            found = {name: self._narrow(name, features).cpu() for name, features in network(batch.images).items()}
            shards = batch.indices // self._store.shard_rows
            for shard in sorted(set(shards.tolist())):
                chosen = shards == shard
                rows = batch.indices[chosen] - shard * self._store.shard_rows
                for name, array in self._begin(shard).items():
                    array[rows] = found[name][chosen]
                self._left[shard] -= len(rows)
        for bad in batch.skipped:
            shard = bad.index // self._store.shard_rows
            self._begin(shard)
            self._errors[shard][bad.index] = bad.reason.removeprefix(f"{bad.path}: ")
            self._left[shard] -= 1
        whole = [shard for shard, left in self._left.items() if left == 0]
        for shard in whole:
            del self._left[shard]
        return [(shard, self._features.pop(shard), self._errors.pop(shard)) for shard in whole]

    def _begin(self, shard: int) -> dict[str, Tensor]:
        if shard not in self._left:
            self._left[shard] = size = len(self._store.shards[shard])
            self._errors[shard] = {}
            self._features[shard] = {
                name: torch.zeros(size, *shape, dtype=DTYPES[self._store.dtype])
                for name, shape in self._store.layers.items()
            }
        return self._features[shard]

    def _narrow(self, name: str, features: Tensor) -> Tensor:
        """Return features in the store's dtype.

        Raises:
            UserError: They are NaN or infinite, in that dtype.
        """
        narrow = features.to(DTYPES[self._store.dtype])
        if not is_finite(narrow):
            remedy = "the weights are damaged"
            if is_finite(features):
                largest = float(features.abs().max())
                remedy = f"values up to {largest:.3g} go beyond {self._store.dtype}; take --dtype fp32 or bf16"
            raise UserError(f"The features of '{name}' are NaN or infinite: {remedy}.")
        return narrow
