import gc
import os
import random
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from onetrunk.backbones.errors import UserError
from onetrunk.datasets import (
    DataError,
    Placed,
    ResumableLoader,
    SampleDataset,
    Spatial,
    eval_transform,
    open_dataset,
    train_transform,
)
from PIL import Image


class PriorityTransform:
    """Says in each pixel how far below the highest priority, nice -20, it runs."""

    def place(self, picture: Image.Image, spatial: Spatial) -> Placed:
        return Placed(torch.full((3, 4, 4), os.nice(0) + 20, dtype=torch.uint8), (4, 4), {})


class NoisyTransform:
    """Draws from every global generator, as transforms of other libraries do."""

    def place(self, picture: Image.Image, spatial: Spatial) -> Placed:
        draws = (torch.rand(()).item(), random.random(), np.random.random())
        image = (torch.tensor(draws) * 255).to(torch.uint8).reshape(3, 1, 1)
        return Placed(image + torch.randint(0, 9, (3, 4, 4), dtype=torch.uint8), (4, 4), {})


@pytest.fixture
def make_loader(pets):
    loaders = []

    def make(transform=None, *, dataset_seed=0, records=None, **options) -> ResumableLoader:
        data = open_dataset(pets, "train")
        transform = transform or train_transform((32, 32), color_jitter=0.3)
        samples = SampleDataset(records or data.records, transform, classes=data.classes, seed=dataset_seed)
        loader = ResumableLoader(samples, **{"batch_size": 5, "shuffle": True, "seed": 3, **options})
        loaders.append(loader)
        return loader

    yield make
    for loader in loaders:
        loader.close()


def _epochs(loader: ResumableLoader, epochs=(0, 1)) -> list[tuple[list[int], torch.Tensor]]:
    seen = []
    for epoch in epochs:
        loader.set_epoch(epoch)
        seen += [(batch.indices.tolist(), batch.images) for batch in loader]
    return seen


def _assert_same(left, right):
    assert [indices for indices, _ in left] == [indices for indices, _ in right]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(left, right, strict=True))


@pytest.mark.parametrize("transform", [None, NoisyTransform()])
def test_the_number_of_workers_changes_nothing(make_loader, transform):
    alone = _epochs(make_loader(transform))
    for workers in (1, 2):
        torch.manual_seed(workers)
        _assert_same(alone, _epochs(make_loader(transform, workers=workers)))


@pytest.mark.skipif(not hasattr(os, "nice"), reason="no priorities of this kind")
def test_workers_let_the_main_process_go_first(make_loader):
    here = os.nice(0) + 20
    for workers, priority in ((0, here), (1, min(here + 10, 39))):
        _, images = _epochs(make_loader(PriorityTransform(), workers=workers))[0]
        assert images.unique().tolist() == [priority]


def test_samples_are_a_function_of_seed_epoch_and_index_alone(make_loader):
    samples = make_loader(NoisyTransform()).dataset
    first = samples[2, 7].image
    samples[0, 1], samples[2, 8]
    assert torch.equal(first, samples[2, 7].image)
    for other in (samples[3, 7], samples[2, 8], make_loader(NoisyTransform(), dataset_seed=1).dataset[2, 7]):
        assert not torch.equal(first, other.image)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_processes_generators_are_not_touched(make_loader, workers):
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    _epochs(make_loader(NoisyTransform(), workers=workers))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert (states[2] == np.random.get_state()[1]).all()


def test_epochs_hold_every_sample_once_in_their_own_order(make_loader):
    seen = _epochs(make_loader(), epochs=(0, 1, 0))
    orders = [[index for indices, _ in seen[start : start + 5] for index in indices] for start in (0, 5, 10)]
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert orders[0] == orders[2] != orders[1]
    assert [len(indices) for indices, _ in seen[:5]] == [4, 5, 4, 5, 5]  # even, so that none is a single sample


def test_without_shuffling_the_order_is_that_of_the_records(make_loader):
    seen = _epochs(make_loader(shuffle=False))
    assert [index for indices, _ in seen for index in indices] == [*range(23), *range(23)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("position", [0, 1, 3, 5])
def test_resuming_inside_an_epoch_gives_the_same_remaining_batches(make_loader, workers, position):
    complete = _epochs(make_loader(), epochs=(4, 5))
    interrupted = make_loader(workers=workers)
    interrupted.set_epoch(4)
    iterator = iter(interrupted)
    for _ in range(position):
        next(iterator)
    state = interrupted.state_dict()
    assert (state["epoch"], state["position"]) == (4, position)

    resumed = make_loader(workers=workers)
    resumed.load_state_dict(state)
    assert len(resumed) == 5
    assert resumed.state_dict() == state, "saving again before the first batch loses nothing"
    _assert_same(complete[position:], _epochs(resumed, epochs=(4, 5)))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_position_starts_anew_though_the_iterator_is_never_exhausted(make_loader, workers):
    complete = _epochs(make_loader())
    loader = make_loader(workers=workers)
    seen = []
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        assert loader.state_dict()["position"] == 0
        iterator = iter(loader)
        for _ in range(len(loader)):  # as Lightning does: it counts, and never sees StopIteration
            batch = next(iterator)
            seen.append((batch.indices.tolist(), batch.images))
        assert loader.state_dict()["position"] == 5
    _assert_same(complete, seen)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_epoch_may_be_set_after_the_iterator_was_asked_for(make_loader, workers):
    loader = make_loader(workers=workers)
    iterator = iter(loader)
    loader.set_epoch(7)
    _assert_same(_epochs(make_loader(), epochs=(7,)), [(batch.indices.tolist(), batch.images) for batch in iterator])


def test_an_epoch_that_was_left_early_starts_at_its_beginning(make_loader):
    loader = make_loader(workers=2)
    next(iter(loader))
    loader.set_epoch(1)
    next(iter(loader))
    _assert_same(_epochs(make_loader(), epochs=(1,)), _epochs(loader, epochs=(1,)))


def test_a_state_of_the_epoch_before_does_not_shorten_the_next(make_loader):
    loader = make_loader()
    loader.load_state_dict({**loader.state_dict(), "epoch": 3, "position": 5})
    loader.set_epoch(4)
    assert len(list(loader)) == 5


def test_an_older_iterator_is_refused(make_loader):
    loader = make_loader()
    older = iter(loader)
    next(older)
    iter(loader)
    with pytest.raises(RuntimeError, match="only its newest iterator"):
        next(older)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 4}, "batch size 5, now it is 4"),
        ({"seed": 9}, "seed 3, now"),
        ({"shuffle": False}, "shuffle"),
        ({"process": (0, 2)}, r"processes 1, now it is 2\. Go on with the .* number of processes it was started with"),
        ({"sample_weights": [1.0] * 22 + [2.0]}, "sample weights none, now it is [0-9a-f]{12}"),
    ],
)
def test_a_state_of_another_plan_is_refused(make_loader, options, words):
    with pytest.raises(UserError, match=words):
        make_loader(**options).load_state_dict(make_loader().state_dict())


def test_a_state_of_other_sample_weights_is_refused(make_loader):
    saved = make_loader(sample_weights=[1.0] * 22 + [2.0]).state_dict()
    with pytest.raises(UserError, match=r"sample weights [0-9a-f]{12}, now it is [0-9a-f]{12}"):
        make_loader(sample_weights=[1.0] * 23).load_state_dict(saved)


def test_samples_are_those_of_earlier_releases(make_loader):
    samples = make_loader(NoisyTransform(), dataset_seed=9).dataset
    first = [[111, 108, 115, 112], [79, 84, 83, 86], [230, 236, 231, 238]]
    later = [[58, 53, 55, 51], [36, 32, 36, 28], [129, 133, 131, 129]]
    assert samples[0, 0].image[:, 0].tolist() == first
    assert samples[4, 6].image[:, 0].tolist() == later


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_share_an_epoch_and_the_state_of_one_serves_all(make_loader, workers):
    alone = dict(zip(*_flat(_epochs(make_loader(), epochs=(4,))), strict=True))
    ranks = [_epochs(make_loader(process=(rank, 3), workers=workers), epochs=(4, 5)) for rank in range(3)]
    shared = [_flat(own[:2]) for own in ranks]
    indices = [index for own, _ in shared for index in own]
    assert sorted(indices) == list(range(23)), "every sample once, none padded"
    for index, image in zip(indices, [image for _, images in shared for image in images], strict=True):
        assert torch.equal(image, alone[index]), "whoever loads it, a sample is the same"

    interrupted = make_loader(process=(0, 3), workers=workers)
    interrupted.set_epoch(4)
    next(iter(interrupted))
    for rank, complete in enumerate(ranks):
        resumed = make_loader(process=(rank, 3), workers=workers)
        assert len(resumed) == 2
        resumed.load_state_dict(interrupted.state_dict())
        _assert_same(complete[1:], _epochs(resumed, epochs=(4, 5)))


def _flat(seen: list[tuple[list[int], torch.Tensor]]) -> tuple[list[int], list[torch.Tensor]]:
    return [index for indices, _ in seen for index in indices], [image for _, images in seen for image in images]


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_loader_may_be_shared_after_it_was_made(make_loader, shuffle):
    """Frameworks start their processes, and tell their ranks, when the loaders are there already."""
    loader = make_loader(shuffle=shuffle)
    loader.share(1, 2)
    assert len(loader) == len(make_loader(shuffle=shuffle, process=(1, 2)))
    _assert_same(_epochs(make_loader(shuffle=shuffle, process=(1, 2))), _epochs(loader))
    with pytest.raises(UserError, match="Of 2 processes there is none with rank 2"):
        loader.share(2, 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluating_processes_have_the_batches_of_a_single_one(make_loader, workers):
    alone = _epochs(make_loader(shuffle=False), epochs=(0,))
    for rank in range(2):
        loader = make_loader(shuffle=False, process=(rank, 2), workers=workers)
        assert len(loader) == 3 - rank
        _assert_same(alone[rank::2], _epochs(loader, epochs=(0,)))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_balanced_epoch_augments_repeated_samples_differently_and_resumes(make_loader, workers):
    options = {"sample_weights": [20.0, 20.0, *[1.0] * 21], "workers": workers}
    complete = _epochs(make_loader(**options), epochs=(2, 3))
    indices, images = _flat(complete[:5])
    of_first = [image for index, image in zip(indices, images, strict=True) if index == 0]
    assert len(of_first) > 2
    assert not any(torch.equal(a, b) for i, a in enumerate(of_first) for b in of_first[:i])
    assert torch.equal(of_first[0], make_loader().dataset[2, 0].image), "the first draw is that of a plain epoch"

    interrupted = make_loader(**options)
    interrupted.set_epoch(2)
    iterator = iter(interrupted)
    next(iterator), next(iterator)
    resumed = make_loader(**options)
    resumed.load_state_dict(interrupted.state_dict())
    _assert_same(complete[2:], _epochs(resumed, epochs=(2, 3)))
    _assert_same(complete, _epochs(make_loader(**{**options, "workers": 1}), epochs=(2, 3)))


def test_batches_carry_targets_names_and_sizes(pets):
    data = open_dataset(pets, "val")
    samples = SampleDataset(data.records, eval_transform((64, 64), mode="pad"), classes=("dog", "cat"))
    (batch,) = ResumableLoader(samples, batch_size=8)
    assert batch.names == [record.name for record in data.records]
    assert batch.targets["label"].tolist() == [1, 1, 1, 0, 0]
    assert batch.context.original_sizes.tolist() == [[40, 56]] * 5
    assert batch.context.valid_sizes.tolist() == [[46, 64]] * 5


def test_channels_one_reads_grey(pets):
    data = open_dataset(pets, "val")
    samples = SampleDataset(data.records, eval_transform((32, 32)), classes=data.classes, channels=1)
    assert samples[0, 0].image.shape == (1, 32, 32)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_are_set_aside_and_named(tmp_path, draw, records_of, make_loader, workers):
    paths = [draw(tmp_path / f"{index}.jpg", seed=index) for index in range(6)]
    paths[1].write_text("no picture")
    paths[4].write_bytes(paths[4].read_bytes()[:300])
    paths[5].unlink()
    loader = make_loader(records=records_of(paths), batch_size=2, shuffle=False, workers=workers)
    batches = list(loader)
    assert [batch.names for batch in batches] == [["0.jpg"], ["2.jpg", "3.jpg"], []]
    skipped = [sample for batch in batches for sample in batch.skipped]
    assert [(sample.index, sample.path) for sample in skipped] == [(1, paths[1]), (4, paths[4]), (5, paths[5])]


def test_a_class_that_is_not_known_is_refused_before_anything_is_read(pets):
    with pytest.raises(DataError, match=r"dog/00\.jpg: the class 'dog'"):
        SampleDataset(open_dataset(pets, "val").records, eval_transform((32, 32)), classes=("cat", "eel"))


INTERRUPTED = """
    import os, signal, sys, time
    from onetrunk.datasets import ResumableLoader, SampleDataset, eval_transform, open_dataset

    if __name__ == "__main__":
        data = open_dataset(sys.argv[1], "train")
        samples = SampleDataset(data.records, eval_transform((32, 32)), classes=data.classes)
        loader = ResumableLoader(samples, batch_size=2, workers=2)
        iterator = iter(loader)
        next(iterator)
        workers = loader._loader._iterator._workers
        for worker in workers:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
                os.kill(worker.pid, number)
        time.sleep(0.3)
        assert all(worker.is_alive() for worker in workers)
        print(1 + len(list(iterator)))
        iterator = iter(loader)
        next(iterator)  # and so the process ends, with workers in the middle of an epoch
"""


def test_workers_ignore_the_signals_of_their_group_and_the_process_still_ends(pets):
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED), str(pets)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "12"), done.stderr
    assert time.monotonic() - began < 60


def test_forgotten_loaders_stop_their_workers_without_waiting(pets):
    """Workers ignore SIGTERM; a loader that is collected in a cycle, as after an error, must still end them at once."""
    data = open_dataset(pets, "train")
    samples = SampleDataset(data.records, eval_transform((8, 8)), classes=data.classes)
    loader = ResumableLoader(samples, batch_size=4, workers=2)
    batches = iter(loader)
    next(batches)
    workers = list(loader._loader._iterator._workers)
    cycle = [loader, batches]
    cycle.append(cycle)
    started = time.monotonic()
    del loader, batches, cycle
    gc.collect()
    assert not any(worker.is_alive() for worker in workers)
    assert time.monotonic() - started < 4  # torch's own way waits 5 seconds for each
