import hashlib
import math
from collections import Counter
from itertools import chain

import pytest
import torch
from onetrunk.backbones.errors import UserError
from onetrunk.datasets import EpochBatches


def _ranks(samples: int, size: int, processes: int, *, epoch: int = 0, **options) -> list[list[list[tuple[int, ...]]]]:
    """Return the batches of each rank of an epoch."""
    plans = [EpochBatches(samples, size, process=(rank, processes), **options) for rank in range(processes)]
    for plan in plans:
        plan.set_epoch(epoch)
    batches = [list(plan) for plan in plans]
    assert [len(plan) for plan in plans] == [len(own) for own in batches]
    return batches


def test_a_single_processes_batches_are_those_of_earlier_releases():
    """A run must go on with a newer release as it would have with the old one."""
    (shuffled,) = _ranks(7, 3, 1, shuffle=True, seed=3)
    assert shuffled == [[(0, 1), (0, 4)], [(0, 0), (0, 6)], [(0, 3), (0, 5), (0, 2)]]
    (later,) = _ranks(7, 3, 1, epoch=4, shuffle=True, seed=3)
    assert later == [[(4, 3), (4, 2)], [(4, 4), (4, 1)], [(4, 0), (4, 6), (4, 5)]]
    (ordered,) = _ranks(7, 3, 1, epoch=2)
    assert ordered == [[(2, 0), (2, 1), (2, 2)], [(2, 3), (2, 4), (2, 5)], [(2, 6)]]


def test_many_plans_of_a_single_process_are_those_of_earlier_releases():
    plans = [
        _ranks(samples, size, 1, epoch=epoch, shuffle=shuffle, seed=samples * size)[0]
        for samples in range(1, 40)
        for size in (1, 2, 3, 7, 16)
        for epoch in (0, 5)
        for shuffle in (True, False)
    ]
    digest = hashlib.sha256(repr(plans).encode()).hexdigest()
    assert digest == "540010449560c4e1665bcba37da34bfd12972818be50614a11df20eb6f26449d"


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 32])
def test_processes_share_a_training_epoch_without_padding(size, processes):
    for samples in range(processes, 90):
        if size == 1 and samples % processes:
            continue  # refused, see below
        ranks = _ranks(samples, size, processes, epoch=2, shuffle=True, seed=samples)
        order = EpochBatches(samples, size, shuffle=True, seed=samples)
        order.set_epoch(2)
        steps = list(zip(*ranks, strict=True))  # strict: every process has the same number of batches
        assert len(steps) == math.ceil(samples / (size * processes))
        # step after step and rank after rank the order of a single process: contiguous, complete, nothing twice
        assert [key[1] for step in steps for batch in step for key in batch] == order.order()
        sizes = [len(batch) for step in steps for batch in step]
        assert 1 <= min(sizes) <= max(sizes) <= size
        assert max(sizes) - min(sizes) <= 1
        if size >= 4 and samples >= 2 * processes:
            assert min(sizes) > 1, "batch normalisation can't train on one"


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_processes_evaluate_the_whole_batches_of_a_single_one(processes):
    for samples in range(60):
        for size in (1, 2, 5, 32):
            (alone,) = _ranks(samples, size, 1)
            ranks = _ranks(samples, size, processes)
            assert [ranks[i % processes][i // processes] for i in range(len(alone))] == alone
            assert sum(len(own) for own in ranks) == len(alone)


@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"shuffle": True, "sample_weights": [1, 2, 3] * 13}])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_process_goes_on_in_the_middle(options, processes):
    for rank, complete in enumerate(_ranks(39, 4, processes, epoch=3, **options)):
        plan = EpochBatches(39, 4, process=(rank, processes), **options)
        plan.epoch = 3
        for position in range(len(plan) + 1):
            plan.position = position
            assert list(plan) == complete[position:]


def test_samples_are_drawn_in_proportion_to_their_weights():
    weights = [1.0] * 10 + [3.0] * 10 + [0.0] * 5 + [0.5] * 4
    plan = EpochBatches(len(weights), 8, shuffle=True, seed=1, sample_weights=weights)
    drawn: Counter[int] = Counter()
    for epoch in range(2000):
        plan.set_epoch(epoch)
        order = plan.order()
        assert len(order) == len(weights), "as many draws as samples"
        drawn.update(order)
    expected = 2000 * len(weights) / sum(weights)  # draws of a weight of 1
    for index, weight in enumerate(weights):
        # four standard deviations of a binomial count, which is nearly a Poisson count here
        assert abs(drawn[index] - weight * expected) <= 4 * math.sqrt(weight * expected)


def test_weighted_orders_are_functions_of_seed_and_epoch():
    def order(seed: int, epoch: int) -> list[int]:
        plan = EpochBatches(30, 8, shuffle=True, seed=seed, sample_weights=torch.arange(30).tolist())
        plan.set_epoch(epoch)
        return plan.order()

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3) != order(2, 3)


@pytest.mark.parametrize("processes", [1, 3])
def test_a_sample_that_is_drawn_again_has_another_key(processes):
    ranks = _ranks(12, 2, processes, epoch=5, shuffle=True, sample_weights=[100.0, 50.0, *[1.0] * 10])
    keys = list(chain.from_iterable(chain.from_iterable(ranks)))
    assert len(set(keys)) == len(keys) == 12
    counts = Counter(key[1] for key in keys)
    assert max(counts.values()) > 2
    for index, count in counts.items():
        assert {key for key in keys if key[1] == index} == {
            (5, index),
            *((5, index, again) for again in range(1, count)),
        }


@pytest.mark.parametrize(("samples", "batch_size", "sizes"), [(3, 1, [1, 1, 1]), (3, 2, [1, 2]), (1, 8, [1])])
def test_the_cases_in_which_a_shuffled_batch_has_one_sample(samples, batch_size, sizes):
    assert [len(batch) for batch in EpochBatches(samples, batch_size, shuffle=True)] == sizes


def test_from_batches_of_three_on_no_shuffled_batch_has_one_sample():
    plans = [EpochBatches(samples, size, shuffle=True) for samples in range(2, 60) for size in range(3, 20)]
    assert min(len(batch) for plan in plans for batch in plan) == 2


@pytest.mark.parametrize("options", [{"shuffle": True, "seed": 3}, {}, {"shuffle": True, "sample_weights": [1.0] * 23}])
@pytest.mark.parametrize("processes", [1, 2])
def test_batches_with_some_records_are_known_beforehand(options, processes):
    chosen = torch.zeros(2, 23, dtype=torch.bool)
    chosen[0, [2, 3, 21]] = True
    for rank in range(processes):
        plan = EpochBatches(23, 4, process=(rank, processes), **options)
        for epoch in (0, 2):
            found = plan.batches_with(chosen, epoch)
            assert plan.epoch == 0
            plan.set_epoch(epoch)
            assert found.tolist() == [[any(own[key[1]] for key in batch) for batch in plan] for own in chosen]
            plan.set_epoch(0)
    assert not found[1].any()


@pytest.mark.parametrize(
    ("samples", "size", "options", "words"),
    [
        (10, 0, {}, "1 or more, not 0"),
        (10, 2, {"process": (2, 2)}, "Of 2 processes there is none with rank 2"),
        (10, 2, {"process": (-1, 2)}, "none with rank -1"),
        (10, 2, {"process": (0, 0)}, "Of 0 processes"),
        (3, 8, {"process": (0, 4), "shuffle": True}, "3 training samples can't be shared by 4 .* fewer devices"),
        (5, 1, {"process": (1, 2), "shuffle": True}, "batches of 1 leave some of 2 processes .* size of 2 or more"),
        (3, 2, {"sample_weights": [1, 1, 1]}, "in training alone"),
        (3, 2, {"sample_weights": [1, 1], "shuffle": True}, "3 samples and 2 weights"),
        (3, 2, {"sample_weights": [1, 1, -1], "shuffle": True}, "0 or more, and at least one"),
        (3, 2, {"sample_weights": [1, 1, math.nan], "shuffle": True}, "finite numbers"),
        (3, 2, {"sample_weights": [0, 0, 0], "shuffle": True}, "at least one of them above 0"),
    ],
)
def test_plans_that_mean_nothing_are_refused(samples, size, options, words):
    with pytest.raises(UserError, match=words):
        EpochBatches(samples, size, **options)
