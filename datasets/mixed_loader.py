"""Several data sets at once: in each step of a training batches of one or more of them, side by side.

Lightning's ``CombinedLoader`` does something else. Its modes end an epoch with the shortest data set, or with the
longest, for which the others start over or stay out, or take one after another. None says how often each is drawn from,
and none can go on in the middle of an epoch of each. Here a step's batches are a function of (epoch, step) alone,
whatever the lengths are, so that a run that was killed goes on as ``loading.py`` says.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ..backbones.errors import UserError, did_you_mean, unknown
from .epoch_batches import EpochBatches
from .loading import ResumableLoader
from .sample import BadSample, Batch

Sampling = Literal["size", "sqrt"]
"""How often the data sets of a training are drawn from, see ``batch_counts``."""


@dataclass
class MixedBatch:
    """Batches of several data sets, each as its own loader made it."""

    batches: dict[str, Batch]
    """By the data set's name, in the loaders' order."""

    @property
    def size(self) -> int:
        """The number of usable samples in all batches."""
        return sum(batch.size for batch in self.batches.values())

    @property
    def skipped(self) -> list[BadSample]:
        """The bad samples of all batches."""
        return [sample for batch in self.batches.values() for sample in batch.skipped]

    @property
    def dropped_boxes(self) -> Tensor | None:
        """See ``Batch.dropped_boxes``, of all batches."""
        found = [dropped for batch in self.batches.values() if (dropped := batch.dropped_boxes) is not None]
        return torch.stack(found).sum() if found else None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "MixedBatch":
        """Return the batches with their tensors on ``device``."""
        moved = {name: batch.to(device, non_blocking=non_blocking) for name, batch in self.batches.items()}
        return replace(self, batches=moved)

    def pin_memory(self) -> "MixedBatch":
        """Return the batches in page-locked memory."""
        return replace(self, batches={name: batch.pin_memory() for name, batch in self.batches.items()})


class MixedSteps:
    """Which batches of which data sets make up the steps of an epoch; see ``MixedLoader``.

    Attributes:
        epoch: The chosen one.
        position: The number of its steps that were handed out.
    """

    def __init__(self, sources: Mapping[str, EpochBatches], counts: Mapping[str, int] | None) -> None:
        """Take the plan of each data set, and how many of its batches all processes together draw an epoch."""
        self._sources = dict(sources)
        self._counts = None if counts is None else {name: counts[name] for name in self._sources}
        self.epoch = 0
        self.position = 0

    def counts(self) -> dict[str, int]:
        """Return how many batches of each data set this process has in an epoch."""
        if self._counts is None:
            return {name: len(source) for name, source in self._sources.items()}
        return {name: math.ceil(self._counts[name] / source.processes) for name, source in self._sources.items()}

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; another one than before starts at its first step."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.position = 0

    def draws(self, step: int) -> dict[str, int]:
        """Return the data sets of a step, and of each which batch of all that were ever drawn from it, from 0."""
        counts = self.counts()
        before = {name: self.epoch * count for name, count in counts.items()}
        if self._counts is None:
            for name, count in counts.items():
                if step < count:
                    return {name: before[name] + step}
                step -= count
            raise IndexError(step)
        drawn = {name: step * count // len(self) for name, count in counts.items()}
        # spread evenly: a data set comes where its share of the steps reaches the next whole number
        return {
            name: before[name] + drawn[name]
            for name, count in counts.items()
            if (step + 1) * count // len(self) > drawn[name]
        }

    def steps_with(self, name: str, chosen: Tensor, epochs: int) -> Tensor:
        """Return which steps of the first epochs have any of the chosen records of a data set.

        Args:
            name: Of the data set.
            chosen: bool ``[..., N]``, for all of its records.
            epochs: How many.

        Returns:
            bool ``[..., epochs, steps]``.
        """
        source, drawn = self._sources[name], self.counts()[name] * epochs
        own_epochs = range(math.ceil(drawn / len(source)))
        batches = torch.cat([source.batches_with(chosen, epoch) for epoch in own_epochs], dim=-1)[..., :drawn]
        places = [step for step in range(len(self)) if name in self.draws(step)]
        found = chosen.new_zeros((*chosen.shape[:-1], epochs, len(self)))
        found[..., places] = batches.reshape(*chosen.shape[:-1], epochs, len(places))
        return found

    def plan(self) -> dict[str, Any]:
        """Return, as plain values, all that the steps are a function of besides epoch and place."""
        sources = {name: source.plan() for name, source in self._sources.items()}
        return {"counts": self._counts, "sources": sources}

    def __len__(self) -> int:
        """Return the number of steps that this process has in an epoch."""
        counts = self.counts().values()
        return sum(counts) if self._counts is None else max(counts)


class MixedLoader:
    """Batches of several data sets, as ``MixedBatch``, with a position that can be saved and restored in an epoch.

    In training an epoch has as many steps as the most often drawn data set has batches in it; the others are spread
    evenly over them. A data set that has more batches of its own than an epoch draws goes on in the next one; of one
    that has fewer the next of its own epochs begins meanwhile. In evaluation each data set comes whole and in its own
    order, one after another.

    It may be used as a ``ResumableLoader`` may: ``set_epoch`` also after the iterator was asked for, only the newest
    iterator, and its state counts what was handed out.
    """

    def __init__(self, loaders: Mapping[str, ResumableLoader], *, counts: Mapping[str, int] | None) -> None:
        """Keep the loaders; nothing else may iterate them from then on.

        Args:
            loaders: By the data set's name.
            counts: For training: how many batches of each data set are drawn an epoch, 1 or more, of all processes
                together (see ``batch_counts``). None for evaluation.

        Raises:
            UserError: Counts of other data sets or below 1, or a data set without pictures to draw from.
        """
        self.loaders = dict(loaders)
        if counts is not None:
            _check_counts(self.loaders, counts)
        self.batch_sampler = MixedSteps({name: each.batch_sampler for name, each in self.loaders.items()}, counts)
        self.sampler = self.batch_sampler  # the name on which Lightning calls set_epoch
        self._streams = {name: _Stream(loader) for name, loader in self.loaders.items()}
        self._goes_on = False
        self._iterations = 0

    def share(self, rank: int, processes: int) -> None:
        """Take the part of one process among several; before the first batch.

        Raises:
            UserError: There is no such rank, or too few samples of a data set for the processes.
        """
        for loader in self.loaders.values():
            loader.share(rank, processes)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; another one than before starts at its first step."""
        self.batch_sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands, as plain values; in training it is the same on every rank."""
        steps = self.batch_sampler
        return {"epoch": steps.epoch, "position": steps.position, **steps.plan()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken.

        Raises:
            UserError: The state comes from a loader of other data sets, of other batches of one of them, or of other
                numbers of batches.
        """
        plan = self.batch_sampler.plan()
        saved = state.get("sources", {})
        if list(saved) != list(plan["sources"]):
            raise _other_run("data sets", list(saved), list(plan["sources"]))
        for name, here in plan["sources"].items():
            for key, value in here.items():
                if saved[name][key] != value:
                    raise _other_run(f"{key.replace('_', ' ')}", saved[name][key], value, of=name)
        if state["counts"] != plan["counts"]:
            raise _other_run("batches an epoch", state["counts"], plan["counts"])
        self.batch_sampler.epoch = state["epoch"]
        self.batch_sampler.position = state["position"]
        self._goes_on = True

    def __len__(self) -> int:
        """Return the number of steps that this process has in a whole epoch, wherever the loader stands."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[MixedBatch]:
        """Return an iterator over the steps of the epoch that is chosen when the first of them is asked for."""
        self._iterations += 1
        return _MixedBatches(self, self._iterations)

    def close(self) -> None:
        """Stop the worker processes; iterating again starts new ones."""
        self._iterations += 1
        for name, loader in self.loaders.items():
            loader.close()
            self._streams[name] = _Stream(loader)

    def _start(self) -> None:
        if not self._goes_on:
            self.batch_sampler.position = 0
        self._goes_on = False

    def _take(self) -> MixedBatch:
        """Return the batches of the step where the loader stands."""
        draws = self.batch_sampler.draws(self.batch_sampler.position)
        return MixedBatch({name: self._streams[name].take(number) for name, number in draws.items()})


class _Stream:
    """The batches of a loader's epochs one behind another, from any of them on."""

    def __init__(self, loader: ResumableLoader) -> None:
        self._loader = loader
        self._batches: Iterator[Batch] = iter(())
        self._next: int | None = None

    def take(self, number: int) -> Batch:
        """Return the batch of that number, counted from the first of epoch 0.

        The next in turn is at hand: what worker processes read ahead is used across the epochs of the whole.
        """
        epoch, position = divmod(number, len(self._loader))
        if number != self._next:
            self._loader.load_state_dict({**self._loader.state_dict(), "epoch": epoch, "position": position})
            self._batches = iter(self._loader)
        elif position == 0:
            self._loader.set_epoch(epoch)
            self._batches = iter(self._loader)
        self._next = None  # where reading fails it isn't known what is at hand
        batch = next(self._batches)
        self._next = number + 1
        return batch


class _MixedBatches(Iterator[MixedBatch]):
    """The steps of one epoch, which are counted as they are handed out."""

    def __init__(self, loader: MixedLoader, iteration: int) -> None:
        self._loader = loader
        self._iteration = iteration
        self._is_started = False

    def __next__(self) -> MixedBatch:
        if self._iteration != self._loader._iterations:
            raise RuntimeError("The loader was closed or iterated anew; only its newest iterator may be used.")
        if not self._is_started:
            self._loader._start()
            self._is_started = True
        steps = self._loader.batch_sampler
        if steps.position >= len(steps):
            raise StopIteration
        batch = self._loader._take()
        steps.position += 1
        return batch


def batch_counts(
    sizes: Mapping[str, int], lengths: Mapping[str, int], sampling: Sampling | Mapping[str, float]
) -> dict[str, int]:
    """Return how many batches of each data set an epoch draws.

    ``size`` draws each picture once. Else an epoch has about as many batches in all, at least one of each data set,
    shared in proportion to weights: with ``sqrt`` the square roots of the sizes, between what their sizes would give
    and equal shares; or those given.

    Args:
        sizes: The pictures of each data set, by its name.
        lengths: The batches that an epoch of its own has.
        sampling: ``size``, ``sqrt``, or a weight above 0 for each data set, on any scale.

    Raises:
        UserError: Another way to sample, or weights that aren't one above 0 for each data set.
    """
    if sampling == "size":
        return dict(lengths)
    if sampling == "sqrt":
        weights = {name: math.sqrt(size) for name, size in sizes.items()}
    elif isinstance(sampling, str):
        raise unknown("sampling", sampling, ("size", "sqrt"))
    else:
        weights = _check_weights(sampling, sizes)
    total, whole = sum(lengths.values()), sum(weights.values())
    return {name: max(1, round(total * weights[name] / whole)) for name in lengths}


def _check_weights(weights: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    known = ", ".join(sizes)
    for name in weights:
        if name not in sizes:
            raise UserError(
                f"There is a weight for '{name}', which isn't one of the data sets here: {known}."
                f"{did_you_mean(name, sizes)}"
            )
    for name in sizes:
        if name not in weights:
            raise UserError(f"The data set '{name}' has no weight. Give one for each of: {known}.")
        if not (math.isfinite(weights[name]) and weights[name] > 0):
            raise UserError(
                f"The weight of the data set '{name}' is a number above 0, not {weights[name]}. Leave out a data set "
                "that isn't to be learned."
            )
    return {name: float(weights[name]) for name in sizes}


def _check_counts(loaders: Mapping[str, ResumableLoader], counts: Mapping[str, int]) -> None:
    if set(counts) != set(loaders):
        raise UserError(
            f"There are numbers of batches for {', '.join(counts)}, and the data sets are {', '.join(loaders)}. Give "
            "one for each."
        )
    for name, loader in loaders.items():
        if counts[name] < 1:
            raise UserError(f"An epoch has 1 batch of the data set '{name}' or more, not {counts[name]}.")
        if len(loader) == 0:
            raise UserError(f"The data set '{name}' has no pictures to train on. Leave it out.")


def _other_run(what: str, saved: Any, here: Any, *, of: str | None = None) -> UserError:
    of_source = "" if of is None else f" for the data set '{of}'"
    return UserError(
        f"The run can't go on at the same sample: it was saved with {what} {saved}, now it is {here}{of_source}. Go on "
        "with the settings, data and number of processes it was started with."
    )
