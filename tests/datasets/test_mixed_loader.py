"""Several data sets side by side: what a step holds, how an epoch is shared, and going on inside one."""

import pytest
import pytorch_lightning as pl
import torch
from onetrunk.backbones.errors import UserError
from onetrunk.datasets import (
    Batch,
    MixedBatch,
    MixedLoader,
    ResumableLoader,
    SampleDataset,
    batch_counts,
    eval_transform,
    open_dataset,
    train_transform,
)

#: Batches an epoch of its own: ``pets`` has 5, ``few`` has 2.
COUNTS = {"pets": 4, "few": 3}


@pytest.fixture
def make_mixed(pets):
    """Makes a loader of 23 pictures in batches of 5 and of 7 of them in batches of 4."""
    made = []

    def make(counts=COUNTS, *, workers=0, shuffle=True, process=(0, 1), few=7, batch_size=5, seed=3) -> MixedLoader:
        data = open_dataset(pets, "train")
        transform = train_transform((16, 16), color_jitter=0.3) if shuffle else eval_transform((16, 16))
        sources = {"pets": (data.records, batch_size), "few": (data.records[-few:], 4)}
        loaders = {
            name: ResumableLoader(
                SampleDataset(records, transform, classes=data.classes, seed=seed),
                batch_size=size,
                shuffle=shuffle,
                seed=seed,
                workers=workers,
                process=process,
            )
            for name, (records, size) in sources.items()
        }
        made.append(MixedLoader(loaders, counts=counts))
        return made[-1]

    yield make
    for loader in made:
        loader.close()


def _seen(batch: MixedBatch) -> dict:
    return {name: (each.indices.tolist(), int(each.images.long().sum())) for name, each in batch.batches.items()}


def _epochs(loader: MixedLoader, epochs=range(4)) -> list[dict]:
    found = []
    for epoch in epochs:
        loader.set_epoch(epoch)
        found += [_seen(batch) for batch in loader]
    return found


def test_each_source_is_spread_over_the_epoch_and_goes_through_its_own_epochs_whole(make_mixed):
    loader = make_mixed()
    assert len(loader) == 4
    seen = _epochs(loader, range(10))
    assert [list(step) for step in seen[:4]] == [["pets"], ["pets", "few"], ["pets", "few"], ["pets", "few"]]
    pets = [indices for step in seen if "pets" in step for indices in step["pets"][0]]
    few = [indices for step in seen if "few" in step for indices in step["few"][0]]
    for start in range(0, 40 // 5 * 23, 23):
        assert sorted(pets[start : start + 23]) == list(range(23)), "four batches an epoch, and the fifth in the next"
    for start in range(0, 30 // 2 * 7, 7):
        assert sorted(few[start : start + 7]) == list(range(7))
    assert pets[:23] != pets[23:46], "its own epochs have orders of their own"


def test_a_source_has_the_batches_that_it_has_alone(make_mixed):
    mixed = [step["pets"] for step in _epochs(make_mixed(), range(5))]
    alone, found = make_mixed().loaders["pets"], []
    for epoch in range(4):
        alone.set_epoch(epoch)
        found += [(batch.indices.tolist(), int(batch.images.long().sum())) for batch in alone]
    assert mixed == found


def test_a_step_is_a_function_of_epoch_and_place(make_mixed):
    complete = _epochs(make_mixed())
    loader = make_mixed()
    assert _epochs(loader, [2]) == complete[8:12]
    assert _epochs(loader, [0, 3]) == complete[:4] + complete[12:], "also backwards, and over gaps"
    assert _epochs(loader, [3]) == complete[12:], "and again"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("position", range(5))
def test_resuming_at_any_step_gives_the_same_remaining_batches(make_mixed, workers, position):
    complete = _epochs(make_mixed())
    interrupted = make_mixed(workers=workers)
    interrupted.set_epoch(1)
    iterator = iter(interrupted)
    assert [_seen(next(iterator)) for _ in range(position)] == complete[4 : 4 + position]
    state = interrupted.state_dict()
    assert (state["epoch"], state["position"]) == (1, position)
    resumed = make_mixed(workers=workers)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state, "saving again before the first batch loses nothing"
    assert _epochs(resumed, [1, 2, 3]) == complete[4 + position :]


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_may_be_set_late_and_left_unexhausted_as_lightning_does(make_mixed, workers):
    complete = _epochs(make_mixed())
    loader, seen = make_mixed(workers=workers), []
    for epoch in range(3):
        iterator = iter(loader)
        loader.sampler.set_epoch(epoch)
        assert loader.state_dict()["position"] == 0
        seen += [_seen(next(iterator)) for _ in range(len(loader))]
    assert seen == complete[:12]
    loader.set_epoch(3)
    next(iter(loader))
    assert _epochs(loader, [3]) == complete[12:], "an epoch that was left early starts at its beginning"


def test_what_workers_read_ahead_is_used_in_the_next_epoch(make_mixed, monkeypatch):
    loader = make_mixed()
    starts = []
    start = ResumableLoader._start
    monkeypatch.setattr(ResumableLoader, "_start", lambda self: (starts.append(self), start(self))[1])
    _epochs(loader, range(5))
    assert starts.count(loader.loaders["pets"]) == 4, "once for each of its own epochs"


def test_only_the_newest_iterator_may_be_used(make_mixed):
    loader = make_mixed()
    older = iter(loader)
    next(older)
    newer = iter(loader)
    with pytest.raises(RuntimeError, match="only its newest iterator"):
        next(older)
    next(newer)
    loader.close()
    with pytest.raises(RuntimeError, match="was closed or iterated anew"):
        next(newer)
    assert _epochs(loader, [1]) == _epochs(make_mixed(), [1]), "a closed one may be iterated anew"


def test_a_failed_batch_does_not_shift_those_behind_it(make_mixed, monkeypatch):
    complete = _epochs(make_mixed(), [0])
    loader = make_mixed()
    iterator = iter(loader)
    next(iterator)
    with monkeypatch.context() as patch:
        patch.setattr(SampleDataset, "__getitem__", lambda self, key: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            next(iterator)
    assert loader.state_dict()["position"] == 1
    assert _seen(next(iterator)) == complete[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 6}, "batch size 5, now it is 6 for the data set 'pets'. Go on with the settings"),
        ({"few": 8}, "num samples 7, now it is 8 for the data set 'few'"),
        ({"process": (0, 2)}, "processes 1, now it is 2 for the data set 'pets'"),
        (
            {"counts": {"pets": 4, "few": 2}},
            r"batches an epoch \{'pets': 4, 'few': 3\}, now it is .*'few': 2\}\. Go on",
        ),
        ({"counts": None}, r"batches an epoch \{.*\}, now it is None"),
    ],
)
def test_a_state_of_another_plan_is_refused(make_mixed, options, words):
    with pytest.raises(UserError, match=words):
        make_mixed(**options).load_state_dict(make_mixed().state_dict())


def test_a_state_of_other_data_sets_is_refused(make_mixed):
    mixed = make_mixed()
    other = MixedLoader({"pets": mixed.loaders["pets"]}, counts={"pets": 1})
    with pytest.raises(UserError, match=r"saved with data sets \['pets', 'few'\], now it is \['pets'\]"):
        other.load_state_dict(mixed.state_dict())
    with pytest.raises(UserError, match=r"saved with data sets \[\], now it is"):
        other.load_state_dict(mixed.loaders["pets"].state_dict())


def test_processes_share_each_source(make_mixed):
    counts = {"pets": 5, "few": 2}
    ranks = [make_mixed(counts, process=(rank, 2)) for rank in range(2)]
    late = make_mixed(counts)
    assert len(late) == 5
    late.share(1, 2)
    assert [len(loader) for loader in (*ranks, late)] == [3, 3, 3]
    seen = [_epochs(loader, [0]) for loader in ranks]
    assert [list(step) for step in seen[0]] == [list(step) for step in seen[1]], "of the same sources at each step"
    for name, size in {"pets": 23, "few": 7}.items():
        assert sorted(index for own in seen for step in own if name in step for index in step[name][0]) == [
            *range(size)
        ]
    assert _epochs(late, [0]) == seen[1]
    late.load_state_dict({**ranks[0].state_dict(), "position": 1})
    assert _epochs(late, [0]) == seen[1][1:], "the state of one serves all"
    with pytest.raises(UserError, match="Of 2 processes there is none with rank 2"):
        late.share(2, 2)


def test_steps_with_some_records_are_known_beforehand(make_mixed):
    loader = make_mixed()
    for name, records in {"pets": 23, "few": 7}.items():
        chosen = torch.zeros(records, dtype=torch.bool)
        chosen[[1, 4]] = True
        found = loader.batch_sampler.steps_with(name, chosen, 3)
        for epoch in range(3):
            loader.set_epoch(epoch)
            seen = [batch.batches[name].indices.tolist() if name in batch.batches else [] for batch in loader]
            assert found[epoch].tolist() == [any(chosen[index] for index in indices) for indices in seen]
    assert 0 < found.sum() < found.numel()


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_takes_each_source_whole_and_in_order(make_mixed, workers):
    loader = make_mixed(None, shuffle=False, workers=workers)
    assert len(loader) == 7
    for epoch in (0, 5):
        seen = _epochs(loader, [epoch])
        assert [list(step) for step in seen] == [["pets"]] * 5 + [["few"]] * 2
        assert [index for step in seen for indices, _ in step.values() for index in indices] == [*range(23), *range(7)]
    loader.load_state_dict({**loader.state_dict(), "epoch": 5, "position": 6})
    assert _epochs(loader, [5]) == seen[6:]


def test_a_mixed_batch_is_counted_moved_and_names_its_bad_samples(pets, make_mixed, tmp_path, records_of):
    loader = make_mixed({"pets": 1, "few": 1})
    (tmp_path / "broken.png").write_bytes(b"no picture")
    samples = SampleDataset(records_of([tmp_path / "broken.png"]), eval_transform((8, 8)))
    broken = ResumableLoader(samples, batch_size=1, shuffle=True)
    loader = MixedLoader({**loader.loaders, "broken": broken}, counts={"pets": 1, "few": 1, "broken": 1})
    (batch,) = loader
    assert batch.size == batch.batches["pets"].size + batch.batches["few"].size == 4 + 3
    assert batch.dropped_boxes is None
    batch.batches["pets"].targets["dropped"] = torch.tensor([1, 0, 2, 0])
    batch.batches["few"].targets |= {"dropped@detection": torch.tensor([5]), "dropped@localization": torch.tensor([2])}
    assert batch.dropped_boxes == 10
    assert [sample.name for sample in batch.skipped] == ["broken.png"]
    moved = batch.to("meta", non_blocking=True)
    assert {each.indices.device.type for each in moved.batches.values()} == {"meta"}
    assert batch.batches["pets"].indices.device.type == "cpu"


class Recorder(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[dict] = []

    def training_step(self, batch: MixedBatch, index: int) -> torch.Tensor:
        assert all(isinstance(each, Batch) for each in batch.batches.values())
        self.seen.append(_seen(batch))
        return self.scale.square()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 2])
def test_lightning_trains_on_it_epoch_after_epoch(make_mixed, tmp_path, workers):
    module = Recorder()
    trainer = pl.Trainer(
        default_root_dir=tmp_path,
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, make_mixed(workers=workers))
    assert module.seen == _epochs(make_mixed(), range(3))


SIZES, LENGTHS = {"large": 900, "small": 100}, {"large": 90, "small": 10}


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ("size", {"large": 90, "small": 10}),
        ("sqrt", {"large": 75, "small": 25}),
        ({"small": 1, "large": 1}, {"large": 50, "small": 50}),
        ({"large": 0.75, "small": 0.25}, {"large": 75, "small": 25}),
        ({"large": 1e6, "small": 1}, {"large": 100, "small": 1}),
    ],
)
def test_batches_of_an_epoch_by_sampling(sampling, expected):
    assert batch_counts(SIZES, LENGTHS, sampling) == expected


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ("sqr", r"Unknown sampling 'sqr'\. Known: size, sqrt\. Did you mean 'sqrt'\?"),
        ({"large": 1, "smal": 1}, r"a weight for 'smal', which isn't .*: large, small\. Did you mean 'small'\?"),
        ({"large": 1}, r"The data set 'small' has no weight\. Give one for each of: large, small\."),
        (
            {"large": 1, "small": -1},
            r"weight of the data set 'small' is a number above 0, not -1\. Leave out a data set",
        ),
        ({"large": 1, "small": 0}, "a number above 0, not 0"),
        ({"large": float("nan"), "small": 1}, "'large' is a number above 0, not nan"),
    ],
)
def test_weights_that_mean_nothing_are_refused(sampling, words):
    with pytest.raises(UserError, match=words):
        batch_counts(SIZES, LENGTHS, sampling)


def test_counts_that_mean_nothing_are_refused(make_mixed):
    with pytest.raises(UserError, match=r"numbers of batches for pets, and the data sets are pets, few\. Give one"):
        make_mixed({"pets": 1})
    with pytest.raises(UserError, match="An epoch has 1 batch of the data set 'few' or more, not 0"):
        make_mixed({"pets": 1, "few": 0})
    empty = ResumableLoader(SampleDataset([], eval_transform((8, 8))), batch_size=1)
    with pytest.raises(UserError, match=r"The data set 'none' has no pictures to train on\. Leave it out\."):
        MixedLoader({"none": empty}, counts={"none": 1})
