"""Records of several tasks at once: each task finds in them what it finds alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from onetrunk.datasets import (
    BadSample,
    Batch,
    DataError,
    EvalTransform,
    JointEncoder,
    MaskSource,
    Objects,
    ObjectTransform,
    Question,
    Record,
    ResumableLoader,
    Sample,
    SampleDataset,
    TargetEncoder,
    collate,
    eval_transform,
    join_records,
    of_task,
    split_batch,
    targets_by_sample,
    train_transform,
)
from onetrunk.datasets.stored import StoredDataset, StoredPicture

CLASSES = ("cat", "dog")


class HalfMask(MaskSource):
    """The upper half of a picture is of the first class, the lower of the second."""

    def read(self, classes, size):
        mask = torch.zeros(size, dtype=torch.uint8)
        mask[size[0] // 2 :] = 1
        return mask

    def identity(self):
        return "half"


def _targets(number: int) -> dict:
    """What every task knows of a picture of 40 x 56 pixels."""
    box = (2.0 + number, 3.0, 30.0, 20.0)
    objects = Objects(boxes=(box, (5, 5, 9, 9)), names=("dog", "cat"), ignored=(False, True))
    return {
        "classification": {"label": CLASSES[number % 2]},
        "segmentation": {"mask": HalfMask()},
        "localization": {"label": "dog", "boxes": (box,)},
        "detection": {"labels": objects.labels, "objects": objects},
        "captioning": {"captions": ("a dog", f"dog {number}")},
        "vqa": {"questions": (Question(f"what is {number}?", ("dog",)),)},
    }


#: Which pictures each task knows; of the last none does.
KNOWN = {
    "classification": (0, 1, 2, 3),
    "segmentation": (1, 3),
    "localization": (2,),
    "detection": (0, 2, 3),
    "captioning": (1, 2),
    "vqa": (3,),
}
TASKS = list(KNOWN)
ENCODER = JointEncoder({task: TargetEncoder(CLASSES) for task in TASKS})


@pytest.fixture
def by_task(tmp_path, draw) -> dict[str, list[Record]]:
    """The records of each task: of five pictures those that it knows."""
    paths = [draw(tmp_path / f"{number}.png", seed=number) for number in range(5)]
    return {
        task: [Record(paths[number], _targets(number)[task], paths[number].name) for number in numbers]
        for task, numbers in KNOWN.items()
    }


@pytest.fixture
def everywhere(by_task) -> dict[str, list[Record]]:
    """The records of each task, which all know the same four pictures."""
    return {
        task: [
            replace(record, targets=_targets(number)[task]) for number, record in enumerate(by_task["classification"])
        ]
        for task in TASKS
    }


def _load(records, transform=None, *, encoder=None, **options) -> Batch:
    dataset = SampleDataset(
        records, transform or eval_transform((20, 28), mode="pad"), classes=CLASSES, encoder=encoder, seed=4
    )
    (batch,) = ResumableLoader(dataset, batch_size=len(records), **options)
    return batch


def _assert_equal(found, expected):
    if isinstance(expected, torch.Tensor):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            _assert_equal(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _assert_equal(one, other)
    else:
        assert found == expected


def _assert_same_batch(found: Batch, alone: Batch):
    _assert_equal(found.targets, alone.targets)
    _assert_equal(vars(found.context), vars(alone.context))
    assert (found.names, found.size) == (alone.names, alone.size)


def test_pictures_are_joined_once_each_in_the_order_of_the_split(by_task):
    joint = join_records(by_task)
    assert [record.name for record in joint] == ["0.png", "1.png", "2.png", "3.png"]
    assert list(joint[0].targets) == ["label@classification", "labels@detection", "objects@detection"]
    split = [replace(record, targets={}) for record in joint[::-1]]
    stranger = replace(split[0], path=Path("elsewhere.png"))
    turned = join_records(by_task, [stranger, *split])
    assert turned == joint[::-1], "without the picture of which nothing is known"
    assert join_records(by_task, split[:2]) == (joint[3], joint[2], joint[0], joint[1]), "none is lost"
    for task, records in by_task.items():
        assert [of_task(record, task) for record in joint if of_task(record, task).targets] == records


def test_the_annotations_of_plain_records_are_those_of_earlier_releases():
    """Else every store of features would be computed anew."""
    plain = {"label": "cat", "boxes": ((1, 2, 3, 4), (0, 0, 2, 2))}
    objects = {"labels": ("cat",), "objects": Objects(boxes=((1, 2, 3, 4),), names=("cat",), source="x.json")}
    expected = {
        "2061765601207e0735958d944f608d025fd4fca5ddc42869ba01c1c6f1d902f0": plain,
        "8b6b0380963f59654ed9752bbc0caa628231779dd8e53da416499fe804eed98a": objects,
        "f2af8103997c3f5aa94ea79955d9a5e45ad41939a9f18170f80fc563e363b924": plain | objects,
        "": {"label": "cat", "captions": ("a cat",)},
    }
    for digest, targets in expected.items():
        assert Record(Path("a.jpg"), targets, "a.jpg").annotation == digest
    assert TargetEncoder(CLASSES).recipe() == {"classes": ["cat", "dog"], "regions": False}


def test_the_annotation_of_a_joint_record_is_of_what_moves_for_any_task(by_task):
    joint = join_records(by_task)
    assert len({record.annotation for record in joint}) == 4
    moving = [replace(joint[1], targets={"label@classification": "dog", "mask@segmentation": HalfMask()}), joint[1]]
    assert moving[0].annotation == moving[1].annotation != "", "text and labels don't move"
    assert replace(joint[1], targets={"label@classification": "cat"}).annotation == ""


def test_each_task_has_the_batch_that_it_has_alone(by_task):
    batch = _load(join_records(by_task), encoder=ENCODER)
    assert {task: places.tolist() for task, places in batch.known.items()} == {
        task: list(places) for task, places in KNOWN.items()
    }
    for task, records in by_task.items():
        own = split_batch(batch, task)
        _assert_same_batch(own, _load(records))
        assert own.indices.tolist() == list(KNOWN[task])
        assert (own.images, own.features, own.known, own.states) == (None, None, {}, {})
    assert split_batch(batch, "vqa").context.questions == (("what is 3?",),)
    assert batch.context.questions is None and "full_mask@segmentation" in batch.targets


@pytest.mark.parametrize("workers", [0, 2])
def test_random_changes_move_the_targets_of_all_tasks_alike(everywhere, workers):
    transform = train_transform((20, 28), color_jitter=0.3)
    records = join_records(everywhere)
    batch = _load(records, transform, encoder=ENCODER, workers=workers)
    for task in TASKS:
        own = split_batch(batch, task)
        assert own.size == 4
        if task in ("classification", "captioning", "vqa", "detection"):  # a crop shows the first box, if there is one
            continue
        assert len(own.targets["boxes" if task == "localization" else "mask"]) == 4
    boxes = [batch.targets[f"boxes@{task}"] for task in ("localization", "detection")]
    _assert_equal(boxes[0], boxes[1])
    alone = _load(everywhere["localization"], transform)
    _assert_same_batch(split_batch(batch, "localization"), alone)
    _assert_equal(batch.images, alone.images)


def test_zooming_keeps_to_the_boxes_of_the_first_task_that_has_any(everywhere):
    transform = ObjectTransform(EvalTransform((20, 28), "bilinear", 1.0, "pad", (0, 0, 0)), zoom=(2.0, 3.0))
    alone = _load(everywhere["localization"], transform)
    joint = join_records({task: everywhere[task] for task in ("segmentation", "localization", "detection")})
    batch = _load(joint, transform, encoder=ENCODER)
    _assert_equal(batch.images, alone.images)
    _assert_equal(batch.targets["boxes@localization"], alone.targets["boxes"])
    without = [replace(record, targets={"objects": Objects(), "labels": ()}) for record in everywhere["detection"]]
    batch = _load(
        join_records({"detection": without, "localization": everywhere["localization"]}), transform, encoder=ENCODER
    )
    _assert_equal(batch.images, alone.images)


def test_a_batch_that_a_task_knows_whole_is_not_copied(everywhere):
    batch = _load(join_records(everywhere), encoder=ENCODER)
    for task in TASKS:
        own = split_batch(batch, task)
        assert own.indices is batch.indices and own.names is batch.names
        for size in ("valid_sizes", "original_sizes"):
            assert getattr(own.context, size) is getattr(batch.context, size)
        for key, value in own.targets.items():
            assert value is batch.targets[f"{key}@{task}"]
        assert (own.context.questions is not None) == (task == "vqa")


def test_bad_pictures_are_those_of_the_tasks_that_know_them(by_task):
    by_task["segmentation"][0].path.write_bytes(b"no picture")
    records = join_records(by_task)
    batch = _load(records, encoder=ENCODER)
    assert [bad.name for bad in batch.skipped] == ["1.png"]
    assert batch.skipped[0].tasks == ("classification", "segmentation", "captioning")
    assert {task for task in TASKS if split_batch(batch, task).skipped} == {*batch.skipped[0].tasks}
    assert split_batch(batch, "segmentation").names == ["3.png"]
    bad = _load(records[1:2], encoder=ENCODER)
    assert (bad.size, bad.known, split_batch(bad, "segmentation").skipped) == (0, {}, bad.skipped)


def test_a_task_that_knows_nothing_of_a_batch_has_an_empty_one(by_task):
    own = split_batch(_load(join_records(by_task)[:2], encoder=ENCODER), "vqa")
    assert (own.size, own.targets, own.indices.shape, own.context.questions) == (0, {}, (0,), None)
    assert own.context.valid_sizes.shape == (0, 2)


def test_the_targets_of_each_sample_are_found_again(by_task):
    dataset = SampleDataset(join_records(by_task), eval_transform((20, 28), mode="pad"), encoder=ENCODER)
    samples = [dataset[0, index] for index in range(4)]
    batch = collate([samples[0], BadSample(9, "bad", Path("bad"), "bad."), *samples[1:]])
    _assert_equal(targets_by_sample(batch), [sample.targets for sample in samples])
    moved = batch.to("meta")
    assert {places.device.type for places in moved.known.values()} == {"meta"}
    assert batch.known["vqa"].device.type == "cpu" and batch.known["vqa"].dtype == torch.int64


def test_a_key_that_some_samples_of_its_task_lack_is_no_batch():
    samples = [Sample(None, i, f"{i}", (4, 4), (4, 4), {"a@x": torch.tensor(i)}) for i in range(2)]
    samples[1].targets["b@x"] = torch.tensor(1)
    with pytest.raises(KeyError):
        collate(samples)


class FakeStore:
    """What pictures became in an evaluation transform; features say which picture they are of."""

    canvas, views = (20, 28), 1

    def __init__(self, dataset: SampleDataset) -> None:
        dataset.encodes = False
        self._samples = [dataset[0, index] for index in range(len(dataset))]
        dataset.encodes = True

    def pictures(self, view, places):
        found = [self._samples[place] for place in places]
        return [
            sample.reason
            if isinstance(sample, BadSample)
            else StoredPicture(sample.original_size, sample.valid_size, dict(sample.targets))
            for sample in found
        ]

    def features(self, view, places):
        return {"c5": torch.tensor(places)[:, None]}


def test_stored_pictures_have_the_targets_of_read_ones(by_task):
    by_task["localization"][0].path.write_bytes(b"no picture")
    dataset = SampleDataset(join_records(by_task), eval_transform((20, 28), mode="pad"), encoder=ENCODER)
    (read,) = ResumableLoader(dataset, batch_size=9)
    (stored,) = ResumableLoader(StoredDataset(dataset, FakeStore(dataset)), batch_size=9)
    assert stored.features["c5"].flatten().tolist() == [0, 1, 3]
    assert [bad.tasks for bad in stored.skipped] == [bad.tasks for bad in read.skipped] != [()]
    _assert_equal(stored.known, read.known)
    for task in TASKS:
        _assert_same_batch(split_batch(stored, task), split_batch(read, task))
        assert stored.features["c5"][stored.known.get(task, [])].shape[0] == split_batch(stored, task).size


def test_each_task_has_classes_of_its_own():
    encoder = JointEncoder({"a": TargetEncoder(["cat", "dog"]), "b": TargetEncoder(["dog"], draws_regions=True)})
    record = Record(Path("a.jpg"), {"label@a": "dog", "label@b": "dog", "label@c": "eel"}, "a.jpg")
    encoder.check([record])
    assert {key: value.item() for key, value in encoder(record).items()} == {"label@a": 1, "label@b": 0}
    assert encoder.tasks_of(record) == ("a", "b")
    assert encoder.recipe() == {
        "a": {"classes": ["cat", "dog"], "regions": False},
        "b": {"classes": ["dog"], "regions": True},
    }
    with pytest.raises(DataError, match=r"a\.jpg: the class 'cat' isn't one of the 1 known here: dog"):
        SampleDataset([replace(record, targets={"label@b": "cat"})], eval_transform((8, 8)), encoder=encoder)
