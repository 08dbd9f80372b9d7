from pathlib import Path

import pytest
import torch
from onetrunk.datasets import BadSample, DataError, Record, Sample, TargetEncoder, collate


def _sample(index: int, **targets: torch.Tensor) -> Sample:
    image = torch.full((3, 4, 6), index, dtype=torch.uint8)
    return Sample(image, index, f"{index}.jpg", original_size=(10, 20), valid_size=(4, 5), targets=targets)


BAD = BadSample(index=1, name="1.jpg", path=Path("1.jpg"), reason="1.jpg: the file is empty (0 bytes).")


def test_collate_keeps_order_and_sets_bad_samples_aside():
    batch = collate([_sample(4, label=torch.tensor(1)), BAD, _sample(2, label=torch.tensor(0))])
    assert batch.size == 2
    assert batch.images.shape == (2, 3, 4, 6)
    assert batch.images.dtype == torch.uint8
    assert batch.indices.tolist() == [4, 2]
    assert batch.names == ["4.jpg", "2.jpg"]
    assert batch.targets["label"].tolist() == [1, 0]
    assert batch.skipped == [BAD]
    assert batch.context.canvas == (4, 6)
    assert batch.context.valid_sizes.tolist() == [[4, 5], [4, 5]]
    assert batch.context.original_sizes.tolist() == [[10, 20], [10, 20]]


def test_targets_of_different_shapes_stay_a_list():
    batch = collate([_sample(0, boxes=torch.zeros(2, 4)), _sample(1, boxes=torch.zeros(0, 4))])
    assert [boxes.shape for boxes in batch.targets["boxes"]] == [(2, 4), (0, 4)]


def test_masks_are_stacked_where_they_agree_and_what_is_as_large_as_the_picture_stays_a_list():
    def sample(index, canvas=(4, 6), **more):
        return _sample(index, mask=torch.zeros(canvas, dtype=torch.uint8), full_mask=torch.zeros(8, 9), **more)

    batch = collate([sample(0), BAD, sample(1)])
    assert batch.targets["mask"].shape == (2, 4, 6)
    assert [mask.shape for mask in batch.targets["full_mask"]] == [(8, 9)] * 2, "a list though they agree"
    ragged = collate([sample(0), sample(1, canvas=(5, 6))])
    assert [mask.shape for mask in ragged.targets["mask"]] == [(4, 6), (5, 6)], "of windows"
    boxes = collate([_sample(index, boxes=torch.zeros(1, 4), full_boxes=torch.zeros(1, 4)) for index in range(2)])
    assert isinstance(boxes.targets["boxes"], list) and isinstance(boxes.targets["full_boxes"], list)


def test_windows_of_pictures_are_joined_and_know_their_picture():
    samples = [_sample(0), _sample(5)]
    for count, sample in enumerate(samples, start=1):
        sample.image = torch.full((count, 3, 4, 6), sample.index, dtype=torch.uint8)
        sample.windows = torch.tensor([[0, 10 * place] for place in range(count)])
    batch = collate(samples)
    assert batch.images.shape == (3, 3, 4, 6) and batch.size == 2
    assert batch.context.windows.tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 10]]
    part = batch.take_windows(1, 3)
    assert (part.images == 5).all() and part.context.windows.tolist() == [[1, 0, 0], [1, 0, 10]]
    assert (part.size, batch.to("meta").context.windows.device.type) == (2, "meta")


def test_a_batch_of_bad_samples_is_empty():
    batch = collate([BAD])
    assert (batch.size, batch.images, batch.targets, batch.skipped) == (0, None, {}, [BAD])
    assert batch.indices.shape == (0,)
    assert batch.context.valid_sizes.shape == (0, 2)
    assert batch.to("cpu").size == 0


def test_to_moves_every_tensor():
    samples = [_sample(i, label=torch.tensor(i), boxes=torch.zeros(i, 4)) for i in range(2)]
    batch = collate([*samples, BAD])
    batch.features = {"c5": torch.zeros(2, 8)}
    moved = batch.to("meta")
    tensors = [moved.images, moved.features["c5"], moved.targets["label"], *moved.targets["boxes"], moved.indices]
    tensors += [moved.context.valid_sizes, moved.context.original_sizes]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert (moved.names, moved.skipped, moved.size) == (batch.names, [BAD], 2)
    assert batch.images.device.type == "cpu", "the batch itself stays where it is"


def test_names_become_indices_in_the_order_of_the_given_classes():
    encode = TargetEncoder(["dog", "cat", "eel"])
    label = encode(Record(Path("a.jpg"), {"label": "cat"}, "a.jpg"))["label"]
    assert (label.item(), label.dtype) == (1, torch.int64)
    labels = encode(Record(Path("a.jpg"), {"labels": ("eel", "dog")}, "a.jpg"))["labels"]
    assert (labels.tolist(), labels.dtype) == ([1, 0, 1], torch.float32)
    assert encode(Record(Path("a.jpg"), {"labels": ()}, "a.jpg"))["labels"].tolist() == [0, 0, 0]
    assert encode(Record(Path("a.jpg"), {}, "a.jpg")) == {}
    assert encode(Record(Path("a.jpg"), {"subject": "anybody"}, "a.jpg")) == {}


@pytest.mark.parametrize("targets", [{"label": "cats"}, {"labels": ("dog", "cats")}])
def test_an_unknown_class_names_the_image_and_the_nearest_class(targets):
    with pytest.raises(DataError, match=r"a\.jpg: the class 'cats' isn't one of the 2 .*Did you mean 'cat'\?"):
        TargetEncoder(["dog", "cat"]).check([Record(Path("a.jpg"), targets, "a.jpg")])
