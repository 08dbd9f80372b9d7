"""Samples whose pictures a frozen trunk has already seen: features in place of images, from a store.

Which look at a picture a sample takes is a function of its key alone, as with pictures, so that an epoch of stored
features is the same as one of pictures whose random looks are limited to as many (``SampleDataset.views``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .epoch_batches import Key
from .loading import SampleDataset, view_of
from .sample import BadSample, Batch, Sample, collate


@dataclass(frozen=True)
class StoredPicture:
    """What is known of a look at a picture besides its features.

    Attributes:
        original_size: Height and width of the picture, in pixels.
        valid_size: Height and width of the part of the canvas, from its top left corner, that is picture.
        targets: Those that move with the picture, as the transform left them.
    """

    original_size: tuple[int, int]
    valid_size: tuple[int, int]
    targets: dict[str, Tensor]


class PictureStore(Protocol):
    """Features of looks at the pictures of a data set, with what moves with them."""

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of what the trunk saw."""

    @property
    def views(self) -> int:
        """How many looks at each picture there are."""

    def pictures(self, view: int, places: Sequence[int]) -> list[StoredPicture | str]:
        """Return what is known of looks at some of the pictures, or why one couldn't be read."""

    def features(self, view: int, places: Sequence[int]) -> dict[str, Tensor]:
        """Return the features ``[len(places), ...]`` of looks at some of the pictures, by level."""


class StoredDataset(Dataset[Batch]):
    """Batches of what a data set's pictures became in a frozen trunk.

    Attributes:
        records: Those of the data set.
    """

    def __init__(self, dataset: SampleDataset, store: PictureStore) -> None:
        """Keep the data set, whose targets go with the features, and the store."""
        self.records = dataset.records
        self._dataset, self._store = dataset, store

    def __len__(self) -> int:
        """Return the number of records, bad ones included."""
        return len(self.records)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Return the batch of some keys, as torch's loaders ask for all of a batch at once."""
        draws = [(view_of(key, self._store.views), key[1]) for key in keys]
        by_view: dict[int, list[int]] = {}
        for place, (view, _) in enumerate(draws):
            by_view.setdefault(view, []).append(place)
        samples: dict[int, Sample | BadSample] = {}
        for view, places in by_view.items():
            found = self._store.pictures(view, [draws[place][1] for place in places])
            samples |= {place: self._sample(draws[place][1], one) for place, one in zip(places, found, strict=True)}
        batch = collate([samples[place] for place in range(len(keys))])
        sound = [draw for place, draw in enumerate(draws) if isinstance(samples[place], Sample)]
        context = replace(batch.context, canvas=self._store.canvas)
        return replace(batch, features=self._features(sound), context=context)

    def _features(self, draws: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        views = {view for view, _ in draws}
        if len(views) == 1:
            return self._store.features(views.pop(), [index for _, index in draws])
        # a balanced epoch draws a picture again, and takes the next look at it then
        found = [self._store.features(view, [index]) for view, index in draws]
        return {level: torch.cat([one[level] for one in found]) for level in (found[0] if found else ())}

    def _sample(self, index: int, found: StoredPicture | str) -> Sample | BadSample:
        record = self.records[index]
        if isinstance(found, str):
            return BadSample(index, record.name, record.path, found, tasks=self._dataset.encoder.tasks_of(record))
        return Sample(
            image=None,
            index=index,
            name=record.name,
            original_size=found.original_size,
            valid_size=found.valid_size,
            targets=self._dataset.join(record, dict(found.targets)),
        )
