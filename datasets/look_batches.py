"""Batches of looks at pictures of several data sets, one data set after another."""

from collections.abc import Sequence

from torch.utils.data import Dataset

from .epoch_batches import Key
from .loading import SampleDataset
from .sample import Batch, Record, collate


class LookBatches(Dataset[Batch]):
    """A data set whose items are batches, each of a data set and of a look at its pictures.

    A loader of one item at a time lets the same workers read all of them.
    """

    def __init__(self, looks: Sequence[tuple[SampleDataset, int, Sequence[int]]]) -> None:
        """Keep of each batch its data set, the number of the look and the places of its records."""
        self._looks = list(looks)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._looks)

    @property
    def records(self) -> list[Record]:
        """What is looked at, batch by batch."""
        return [dataset.records[place] for dataset, _, places in self._looks for place in places]

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Return a batch, as torch's loaders ask for all keys at once: for one."""
        ((_, index),) = keys
        dataset, view, places = self._looks[index]
        return collate([dataset[view, place] for place in places])
