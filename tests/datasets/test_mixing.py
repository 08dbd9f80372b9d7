from dataclasses import replace

import pytest
import torch
from onetrunk.backbones import Preprocessing
from onetrunk.backbones.errors import UserError
from onetrunk.datasets import BadSample, Batch, Context, Mixing, Sample, collate


def _batch(size: int = 6, *, labels: bool = False, height: int = 12, width: int = 16) -> Batch:
    """Return noise of four classes in turn; with ``labels`` each picture shows class 0 besides."""
    shape = (size, 3, height, width)
    pictures = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    samples = []
    for index, picture in enumerate(pictures):
        one_hot = torch.eye(4)[index % 4]
        target = {"labels": one_hot.maximum(torch.eye(4)[0])} if labels else {"label": one_hot.argmax()}
        samples.append(Sample(picture, index, f"{index}.png", (40, 50), (height, width), target))
    return collate(samples)


def _mixed_by_hand(batch: Batch, shares: torch.Tensor, own: float) -> torch.Tensor:
    """Return the shares of classes where ``own`` of each picture is its own and the rest that of the one before."""
    before = [shares[index - 1] for index in range(batch.size)]
    return torch.stack([own * one + (1 - own) * other for one, other in zip(shares, before, strict=True)])


@pytest.mark.parametrize("labels", [False, True])
def test_mixup_adds_the_picture_before_in_the_share_of_its_classes(labels):
    batch = _batch(labels=labels)
    shares = batch.targets["labels"] if labels else torch.eye(4)[batch.targets["label"]]
    for index in range(20):
        mixed = Mixing(0.8, 0, num_classes=4)(batch, epoch=0, index=index)
        target = mixed.targets["labels" if labels else "label"]
        own = target[1, 1].item()  # the second picture shows class 1, and the first doesn't
        assert (target.dtype, target.shape) == (torch.float32, (6, 4))
        torch.testing.assert_close(target, _mixed_by_hand(batch, shares, own))
        expected = [
            (own * batch.images[i].double() + (1 - own) * batch.images[i - 1].double()) / 255 for i in range(batch.size)
        ]
        assert mixed.images.dtype == torch.float32
        torch.testing.assert_close(mixed.images.double(), torch.stack(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("labels", [False, True])
def test_cutmix_pastes_a_rectangle_and_counts_its_pixels(labels):
    batch = _batch(labels=labels)
    shares = batch.targets["labels"] if labels else torch.eye(4)[batch.targets["label"]]
    areas = set()
    for index in range(20):
        mixed = Mixing(0, 1.0, num_classes=4)(batch, epoch=0, index=index)
        plain = batch.images.float() / 255
        pasted = (mixed.images != plain).any(dim=(0, 1))
        rows, columns = pasted.nonzero().unbind(1)
        box = pasted[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] if len(rows) else pasted[:0]
        assert box.all(), "it is one rectangle, the same in every picture"
        assert torch.equal(mixed.images, torch.where(pasted, plain.roll(1, 0), plain)), "and exact"
        own = 1 - box.numel() / (12 * 16)
        torch.testing.assert_close(mixed.targets["labels" if labels else "label"], _mixed_by_hand(batch, shares, own))
        areas.add(box.numel())
    assert len(areas) > 10


def test_the_share_follows_the_beta_distribution():
    """Mixup's share is drawn from Beta(alpha, alpha), whose variance is 1 / (4 (2 alpha + 1))."""
    batch = _batch(2, height=2, width=2)
    for alpha in (0.2, 1.0, 4.0):
        mixing = Mixing(alpha, 0, num_classes=4)
        own = torch.stack([mixing(batch, epoch=0, index=i).targets["label"][1, 1] for i in range(1500)])
        assert own.mean().item() == pytest.approx(0.5, abs=0.05)
        assert own.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


def test_with_both_each_batch_gets_one_of_them_equally_often():
    batch = _batch(4, height=8, width=8)
    plain = batch.images.float() / 255
    both = Mixing(1.0, 1.0, num_classes=4)
    is_cut = []
    for index in range(300):
        mixed = both(batch, epoch=1, index=index).images
        is_cut.append(bool(((mixed == plain) | (mixed == plain.roll(1, 0))).all()))
    assert 120 < sum(is_cut) < 180


def test_mixing_is_a_function_of_seed_epoch_index_and_rank():
    batch = _batch()

    def images(seed: int, **place: int) -> torch.Tensor:
        return Mixing(1.0, 1.0, num_classes=4, seed=seed)(batch, **place).images

    first = images(0, epoch=1, index=2, rank=3)
    assert torch.equal(first, images(0, epoch=1, index=2, rank=3))
    others = [
        images(1, epoch=1, index=2, rank=3),
        images(0, epoch=2, index=2, rank=3),
        images(0, epoch=1, index=3, rank=3),
        images(0, epoch=1, index=2, rank=0),
    ]
    assert not any(torch.equal(first, other) for other in others)
    assert torch.equal(images(0, epoch=1, index=2), others[3]), "a single process has rank 0"


def test_the_processes_generators_and_the_given_batch_are_left_as_they_were():
    batch = _batch()
    images, state = batch.images.clone(), torch.get_rng_state()
    Mixing(1.0, 1.0, num_classes=4)(batch, epoch=0, index=0)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(images, batch.images)
    assert torch.equal(batch.targets["label"], torch.arange(6) % 4)


def test_the_trunk_sees_unmixed_parts_as_it_sees_unmixed_pictures():
    """Mixed pictures are normalised from float values in [0, 1]; where nothing was pasted the result is the same."""
    batch = _batch()
    normalize = Preprocessing().normalize
    mixed = Mixing(0, 1.0, num_classes=4)(batch, epoch=0, index=1)
    plain, seen = normalize(batch.images), normalize(mixed.images)
    assert (seen == plain).any()
    assert torch.equal(seen, torch.where(seen == plain, plain, plain.roll(1, 0)))


@pytest.mark.parametrize("labels", [False, True])
def test_a_single_picture_stays_as_it_is(labels):
    batch = _batch(1, labels=labels)
    mixed = Mixing(1.0, 1.0, num_classes=4)(batch, epoch=0, index=0)
    assert torch.equal(mixed.images, batch.images)
    assert mixed.targets["labels" if labels else "label"].tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_names_sizes_and_skipped_pictures_stay(tmp_path):
    bad = BadSample(9, "9.png", tmp_path / "9.png", "It is empty.")
    batch = replace(_batch(), skipped=[bad])
    mixed = Mixing(1.0, 0, num_classes=4)(batch, epoch=0, index=0)
    assert (mixed.names, mixed.context, mixed.skipped) == (batch.names, batch.context, [bad])
    assert torch.equal(mixed.indices, batch.indices)
    empty = collate([bad])
    assert Mixing(1.0, 0, num_classes=4)(empty, epoch=0, index=0) is empty


def test_batches_of_stored_features_are_refused():
    batch = Batch(
        images=None,
        features={"embedding": torch.zeros(2, 8)},
        context=Context((12, 16), torch.zeros(2, 2), torch.zeros(2, 2)),
        targets={"label": torch.tensor([0, 1])},
        indices=torch.arange(2),
        names=["a", "b"],
    )
    with pytest.raises(UserError, match=r"carry stored features\. Set both to 0"):
        Mixing(1.0, 0, num_classes=4)(batch, epoch=0, index=0)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ({}, "carry none"),
        ({"boxes": [torch.zeros(1, 4)]}, "carry boxes"),
        ({"label": torch.zeros(6, dtype=torch.int64), "boxes": []}, "carry label, boxes"),
    ],
)
def test_other_targets_than_classes_are_refused(targets, words):
    with pytest.raises(UserError, match=words):
        Mixing(1.0, 0, num_classes=4)(replace(_batch(), targets=targets), epoch=0, index=0)


@pytest.mark.parametrize(
    ("mixup", "cutmix", "words"),
    [
        (0, 0, "nothing is mixed"),
        (-0.1, 1, "alpha of mixup is a finite number, 0 or more, not -0.1"),
        (0, float("inf"), "alpha of cutmix is a finite number, 0 or more, not inf"),
        (float("nan"), 0, "not nan"),
    ],
)
def test_impossible_alphas_are_refused(mixup, cutmix, words):
    with pytest.raises(UserError, match=words):
        Mixing(mixup, cutmix, num_classes=4)
