"""Loading samples so that a run that was killed goes on as if nothing had happened.

Everything random in a sample is a function of (seed, epoch, index), and of how often it was drawn before where a
balanced epoch draws it again; the order of samples is one of (seed, epoch). A resumed run therefore needs only the
epoch and how many of its batches were handed out, and the number of worker processes changes nothing, bit for bit.
Where several processes train or evaluate together, each has a loader that knows its rank; they share an epoch as
``EpochBatches`` says.
"""

import os
import signal
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from ..backbones.errors import UserError
from .epoch_batches import EpochBatches, Key
from .file_state import FileState, read_signature, state_of
from .images import decode_image, read_file
from .joint import Encoder
from .randomness import mix, seeded
from .sample import BadSample, Batch, DataError, Record, Sample, collate
from .target_encoder import TargetEncoder
from .transforms import Transform

if TYPE_CHECKING:
    from .look_batches import LookBatches
    from .stored import StoredDataset


class SampleDataset(Dataset[Sample | BadSample]):
    """Reads, transforms and encodes one record at a time.

    Attributes:
        encoder: What makes targets of records.
        keeps_states: Whether samples say what state their file was in; to be set before the first is read.
        encodes: Whether samples have all targets of their records; else those that move with the picture, as the
            transform left them. To be set before the first is read.
        views: How many random looks at a picture there are, which epochs take turns with; None: any number.
    """

    def __init__(
        self,
        records: Sequence[Record],
        transform: Transform,
        *,
        classes: Sequence[str] = (),
        encoder: Encoder | None = None,
        channels: int = 3,
        seed: int = 0,
    ) -> None:
        """Keep what samples are made of.

        Args:
            records: What to read.
            transform: Puts a picture on the canvas; its randomness is seeded here.
            classes: The class names in the order of their indices, for records with targets.
            encoder: What makes targets of the records, in place of the usual one for ``classes``.
            channels: 3 for colour, 1 for grey.
            seed: Seeds the transform, together with the key.

        Raises:
            DataError: A record whose class isn't among ``classes``, or not known to the encoder.
        """
        self.records = tuple(records)
        self.transform = transform
        self.channels = channels
        self.seed = seed
        self.keeps_states = False
        self.encodes = True
        self.views: int | None = None
        self.encoder: Encoder = TargetEncoder.fitting(self.records, classes) if encoder is None else encoder
        self.encoder.check(self.records)

    def __len__(self) -> int:
        """Return the number of records, bad ones included."""
        return len(self.records)

    def __getitem__(self, key: Key) -> Sample | BadSample:
        """Return the sample of a record in an epoch; a picture that can't be read gives a ``BadSample``."""
        index = key[1]
        record, state = self.records[index], None
        try:
            if self.keeps_states:  # a change in between makes the state one that never was, and so a stale one
                state = FileState(*read_signature(record.path), "")
            content = read_file(record.path)
            if state is not None:
                state = state_of(state[:3], content)
            picture = decode_image(content, record.path, channels=self.channels)
            spatial = self.encoder.spatial(record, (picture.height, picture.width))
        except DataError as error:
            tasks = self.encoder.tasks_of(record)
            return BadSample(index, record.name, record.path, str(error), state=state, tasks=tasks)
        draw = key if self.views is None else (view_of(key, self.views), index)
        with seeded(self.seed, *draw):
            placed = self.transform.place(picture, spatial)
        return Sample(
            image=placed.image,
            index=index,
            name=record.name,
            original_size=(picture.height, picture.width),
            valid_size=placed.valid_size,
            targets=self.join(record, placed.targets) if self.encodes else placed.targets,
            windows=placed.windows,
            state=state,
        )

    def join(self, record: Record, placed: dict[str, Tensor]) -> dict[str, Any]:
        """Return all targets of a record, as ``sample.py`` describes them, with those that a transform has placed."""
        return self.encoder.join(record, placed)


def view_of(key: Key, views: int) -> int:
    """Return which of so many looks at a picture a sample takes: each epoch the next, also when it is drawn again."""
    return (key[0] + sum(key[2:])) % views


class ResumableLoader:
    """Batches in a reproducible order, with a position that can be saved and restored inside an epoch.

    ``set_epoch`` chooses the epoch. Iterating starts that epoch anew, except the first time after ``load_state_dict``
    while its epoch is still the chosen one: then it goes on behind the batches that were handed out. Only the newest
    iterator may be used. The process's own generators are never touched.

    It has a ``torch.utils.data.DataLoader`` and isn't one, because Lightning rebuilds those that it is given for
    prediction or for several processes with samplers of its own.
    """

    def __init__(
        self,
        dataset: "SampleDataset | StoredDataset | LookBatches",
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        workers: int = 0,
        pin_memory: bool = False,
        process: tuple[int, int] = (0, 1),
        sample_weights: Sequence[float] | None = None,
    ) -> None:
        """Make a loader; processes start with the first batch.

        Args:
            dataset: What to load.
            batch_size: The most samples a batch has; see ``EpochBatches``.
            shuffle: Whether the order is another one each epoch.
            seed: Seeds the order.
            workers: Processes that read, kept from epoch to epoch; 0 reads in this one. Changes no result.
            pin_memory: Whether batches lie in page-locked memory, for faster copies to a GPU.
            process: The rank of this process and the number of processes that share each epoch.
            sample_weights: For each record, how often it is drawn in proportion to the others; see ``EpochBatches``.

        Raises:
            UserError: Values that mean nothing, or too few samples for the processes.
        """
        self.dataset = dataset
        self.batch_sampler = EpochBatches(
            len(dataset), batch_size, shuffle=shuffle, seed=seed, process=process, sample_weights=sample_weights
        )
        self.sampler = self.batch_sampler  # the name on which Lightning calls set_epoch
        self._loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=self.batch_sampler,
            num_workers=workers,
            collate_fn=_as_batch,
            pin_memory=pin_memory,
            worker_init_fn=_settle_worker,
            # DataLoader draws a seed for its workers, without this from the process's generator, whose later numbers
            # would then depend on how often something was loaded.
            generator=torch.Generator().manual_seed(mix(seed)),
            persistent_workers=workers > 0,
        )
        self._goes_on = False
        self._iterations = 0
        self._stop_workers: weakref.finalize[..., Any] | None = None

    def reading(self, dataset: "StoredDataset") -> "ResumableLoader":
        """Return a loader of the same batches of the same records, from another source, in this process."""
        batches = self.batch_sampler
        return ResumableLoader(
            dataset,
            batch_size=batches.batch_size,
            shuffle=batches.shuffle,
            seed=batches.seed,
            pin_memory=self._loader.pin_memory,
            sample_weights=None if batches.sample_weights is None else batches.sample_weights.tolist(),
        )

    def share(self, rank: int, processes: int) -> None:
        """Take the part of one process among several, as the constructor's ``process``; before the first batch.

        Raises:
            UserError: There is no such rank, or too few samples for the processes.
        """
        self.batch_sampler.share(rank, processes)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; another one than before starts at its first batch."""
        self.batch_sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands, as plain values: batches handed out, not batches read ahead.

        In training it is the same on every rank, so that the state of one serves all.
        """
        batches = self.batch_sampler
        return {"epoch": batches.epoch, "position": batches.position, **batches.plan()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken.

        Raises:
            UserError: The state comes from a loader of other data, another batch size, order, seed, number of
                processes, or other sample weights.
        """
        for key, here in self.batch_sampler.plan().items():
            if state[key] != here:
                raise UserError(
                    f"The run can't go on at the same sample: it was saved with {key.replace('_', ' ')} {state[key]}, "
                    f"now it is {here}. Go on with the settings, data and number of processes it was started with."
                )
        self.batch_sampler.epoch = state["epoch"]
        self.batch_sampler.position = state["position"]
        self._goes_on = True

    def __len__(self) -> int:
        """Return the number of batches that this process has in a whole epoch, wherever the loader stands."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        """Return an iterator over the batches of the epoch that is chosen when the first of them is asked for.

        Lightning asks for the iterator before it sets the epoch.
        """
        self._iterations += 1
        return _Batches(self, self._iterations)

    def close(self) -> None:
        """Stop the worker processes; iterating again starts new ones."""
        self._loader._iterator = None
        self._iterations += 1
        if self._stop_workers is not None:
            self._stop_workers()

    def _start(self) -> Iterator[Any]:
        if not self._goes_on:
            self.batch_sampler.position = 0
        self._goes_on = False
        batches = iter(self._loader)
        if isinstance(batches, _MultiProcessingDataLoaderIter) and not (
            self._stop_workers and self._stop_workers.alive
        ):
            # Runs when the loader is forgotten, and at the latest at exit. It holds the iterator, because one that is
            # collected together with its queues can't tell its workers to stop: it waits, then sends the SIGTERM that
            # they ignore, and multiprocessing would wait for them for ever.
            self._stop_workers = weakref.finalize(self, _stop_workers, batches, os.getpid())
        return batches


class _Batches(Iterator[Batch]):
    """The batches of one epoch, which are counted as they are handed out."""

    def __init__(self, loader: ResumableLoader, iteration: int) -> None:
        self._loader = loader
        self._iteration = iteration
        self._batches: Iterator[Batch] | None = None

    def __next__(self) -> Batch:
        if self._iteration != self._loader._iterations:
            raise RuntimeError("The loader was closed or iterated anew; only its newest iterator may be used.")
        if self._batches is None:
            self._batches = self._loader._start()
        batch = next(self._batches)
        self._loader.batch_sampler.position += 1
        return batch


def _as_batch(samples: Sequence[Sample | BadSample] | Batch) -> Batch:
    """Return samples side by side; what comes as a batch stays one."""
    return samples if isinstance(samples, Batch) else collate(samples)


def _settle_worker(worker: int) -> None:
    """Let the main process go first, and decide."""
    if hasattr(os, "nice"):  # Reading ahead can wait; a step's threads wait for the slowest of them.
        os.nice(10)
    # Ctrl-C and a scheduler's SIGTERM reach the whole group, and the main process wants to save.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _stop_workers(batches: _MultiProcessingDataLoaderIter, owner: int) -> None:
    if os.getpid() != owner:  # a worker's copy of another loader
        return
    workers = list(batches._workers)
    batches._shutdown_workers()
    for worker in workers:
        if worker.is_alive():  # stuck in reading, and deaf to SIGTERM
            worker.kill()
