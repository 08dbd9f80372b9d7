"""Which samples make up the batches of an epoch, for one process or for several that share it."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import Sampler

from ..backbones.errors import UserError
from .randomness import mix

Key = tuple[int, ...]
"""Epoch and the index of a record, and for a record that was drawn before in the epoch, how often: what a sample is a
function of, besides the seed."""


class EpochBatches(Sampler[list[Key]]):
    """The batches of an epoch: lists of keys, in an order that is a function of (seed, epoch).

    Shuffled epochs are for training and are cut into batches whose sizes differ by one at most, so that no small rest
    weighs as much as a full batch. Batch normalisation can't train on a single sample; a batch is planned with one
    only if ``batch_size`` is 1, if it is 2 and the number of samples odd, or if there is one sample in all. Bad samples
    are skipped after the planning and can leave one sample, or none, of any batch.

    Several processes share a shuffled epoch without padding: each has the same number of batches, what they hold at a
    step is one stretch of the order that a single process would have, and every sample comes once. Sizes differ by
    one at most over all steps and processes; from a ``batch_size`` of 4 and two samples a process on, no batch has a
    single one.

    With ``sample_weights`` a shuffled epoch is drawn with replacement in proportion to them, as many draws as samples.
    A record's second draw has another key than its first, so that it is augmented differently.

    Ordered epochs are for evaluation and are cut into full batches and a rest. Of several processes, batch ``i`` goes
    whole to rank ``i`` modulo their number: the batches are those of a single process, and so are the results. Ranks
    may have different numbers of them.

    ``epoch`` and ``position``, the number of this process's batches that were handed out, say where a run stands.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        process: tuple[int, int] = (0, 1),
        sample_weights: Sequence[float] | None = None,
    ) -> None:
        """Plan the batches of ``num_samples`` records.

        Args:
            num_samples: How many records there are.
            batch_size: The most samples a batch of one process has.
            shuffle: Whether the order is another one each epoch.
            seed: Seeds the order, if ``shuffle``.
            process: The rank of this process and the number of processes.
            sample_weights: A weight of 0 or more for each record, on any scale; only with ``shuffle``.

        Raises:
            UserError: Values that mean nothing, or a training step for which a process would have no sample.
        """
        if batch_size < 1:
            raise UserError(f"The batch size is 1 or more, not {batch_size}.")
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.sample_weights = None if sample_weights is None else self._check_weights(sample_weights)
        self.epoch = 0
        self.position = 0
        self.share(*process)

    def share(self, rank: int, processes: int) -> None:
        """Take the part of one process among several; before the first batch.

        Raises:
            UserError: A rank that there isn't, or a training step for which a process would have no sample.
        """
        if not 0 <= rank < processes:
            raise UserError(f"Of {processes} processes there is none with rank {rank}.")
        self.rank, self.processes = rank, processes
        if self.shuffle and processes > 1:
            self._check_shares()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; another one than before starts at its first batch."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.position = 0

    def order(self) -> list[int]:
        """Return the indices of the epoch in their order, those of all processes."""
        return self._order(self.epoch).tolist()

    def batches_with(self, chosen: Tensor, epoch: int) -> Tensor:
        """Return which of this process's batches of an epoch have any of the chosen records; no epoch is set by it.

        Args:
            chosen: bool ``[..., N]``, for all records.
            epoch: Any, from 0.

        Returns:
            bool ``[..., batches]``.
        """
        stretches = [self._stretch(batch) for batch in range(len(self))]
        before = nn.functional.pad(chosen[..., self._order(epoch)].cumsum(-1), (1, 0))
        starts, stops = ([getattr(each, end) for each in stretches] for end in ("start", "stop"))
        return before[..., [min(stop, self.num_samples) for stop in stops]] > before[..., starts]

    def _order(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(self.num_samples)
        generator = torch.Generator().manual_seed(mix(self.seed, epoch))
        if self.sample_weights is None:
            return torch.randperm(self.num_samples, generator=generator)
        return torch.multinomial(self.sample_weights, self.num_samples, replacement=True, generator=generator)

    def plan(self) -> dict[str, int | str]:
        """Return what the batches are a function of, besides the rank; the weights as the start of their SHA-256."""
        weights = self.sample_weights
        return {
            "num_samples": self.num_samples,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "processes": self.processes,
            "sample_weights": "none" if weights is None else hashlib.sha256(weights.numpy().tobytes()).hexdigest()[:12],
        }

    def __len__(self) -> int:
        """Return the number of batches that this process has in a whole epoch, wherever it stands."""
        if self.shuffle:
            return math.ceil(self.num_samples / (self.batch_size * self.processes))
        return len(range(self.rank, math.ceil(self.num_samples / self.batch_size), self.processes))

    def __iter__(self) -> Iterator[list[Key]]:
        """Return the epoch's batches from ``position`` on; later changes of epoch and position don't reach them."""
        keys = self._keys()
        return iter([keys[self._stretch(batch)] for batch in range(self.position, len(self))])

    def _keys(self) -> list[Key]:
        if self.sample_weights is None:
            return [(self.epoch, index) for index in self.order()]
        keys: list[Key] = []
        drawn: Counter[int] = Counter()
        for index in self.order():
            keys.append((self.epoch, index, drawn[index]) if drawn[index] else (self.epoch, index))
            drawn[index] += 1
        return keys

    def _stretch(self, batch: int) -> slice:
        """Return the part of the epoch's order that one of this process's batches is."""
        place = batch * self.processes + self.rank
        if not self.shuffle:
            return slice(place * self.batch_size, (place + 1) * self.batch_size)
        places = len(self) * self.processes
        return slice(place * self.num_samples // places, (place + 1) * self.num_samples // places)

    def _check_weights(self, sample_weights: Sequence[float]) -> Tensor:
        if not self.shuffle:
            raise UserError("Samples are drawn by their weights in training alone; an evaluation sees each one once.")
        weights = torch.as_tensor(sample_weights, dtype=torch.float64)
        if weights.shape != (self.num_samples,):
            raise UserError(f"There are {self.num_samples} samples and {weights.numel()} weights: each needs one.")
        if not (weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0):
            raise UserError("The samples' weights are finite numbers, 0 or more, and at least one of them above 0.")
        return weights

    def _check_shares(self) -> None:
        """Refuse a plan in which a process would sit out a step: the others would wait for it for ever."""
        if self.num_samples < self.processes:
            raise UserError(
                f"{self.num_samples} training samples can't be shared by {self.processes} processes: each needs one. "
                "Use fewer devices."
            )
        if self.num_samples < len(self) * self.processes:
            raise UserError(
                f"{self.num_samples} training samples in batches of {self.batch_size} leave some of "
                f"{self.processes} processes without a sample in the last step. Use a batch size of 2 or more."
            )
