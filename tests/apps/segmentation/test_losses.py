"""Each part of the loss against the library or a hand-worked case, and what ignored pixels do to it."""

import pytest
import torch
from onetrunk.apps.segmentation.losses import MaskLoss
from onetrunk.apps.segmentation.options import LOSS_PARTS, LossOptions
from onetrunk.backbones.errors import UserError
from segmentation_models_pytorch.losses import DiceLoss
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

ALL = LossOptions(**dict.fromkeys(LOSS_PARTS, 1.0))


def example(readout: str, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    outputs, shape = {"softmax": (3, (2, 8, 6)), "binary": (1, (2, 8, 6)), "sigmoid": (3, (2, 3, 8, 6))}[readout]
    logits = torch.randn((2, outputs, 8, 6), generator=generator)
    mask = torch.randint(0, 3 if readout == "softmax" else 2, shape, generator=generator).to(torch.uint8)
    return logits, mask


@pytest.mark.parametrize("readout", ["softmax", "binary", "sigmoid"])
def test_ignored_pixels_change_no_part_and_get_no_gradient(readout: str) -> None:
    logits, mask = example(readout)
    ignored = torch.zeros(2, 8, 6, dtype=torch.bool)
    ignored[:, :, 4:] = True
    wide = ignored[:, None].expand(mask.shape) if readout == "sigmoid" else ignored
    mask[wide] = 255
    moved = torch.where(ignored[:, None], logits + 5, logits).requires_grad_()
    loss = MaskLoss(readout, ALL)
    first, second = loss(logits, mask), loss(moved, mask)
    assert set(first) == set(LOSS_PARTS)
    for name, part in first.items():
        assert part.item() == pytest.approx(second[name].item(), rel=1e-5), name
    torch.stack(list(second.values())).sum().backward()
    assert not moved.grad[ignored[:, None].expand(moved.shape)].any()
    assert moved.grad.isfinite().all()


@pytest.mark.parametrize("readout", ["softmax", "binary", "sigmoid"])
def test_a_batch_of_nothing_but_ignored_pixels_has_a_loss_of_0(readout: str) -> None:
    logits, mask = example(readout)
    logits.requires_grad_()
    found = MaskLoss(readout, ALL)(logits, torch.full_like(mask, 255))
    assert all(part.item() == 0 for part in found.values())
    torch.stack(list(found.values())).sum().backward()
    assert not logits.grad.any()


@pytest.mark.parametrize("readout", ["softmax", "binary", "sigmoid"])
def test_every_part_falls_when_the_right_class_rises(readout: str) -> None:
    logits, mask = example(readout)
    if readout == "softmax":
        right = torch.nn.functional.one_hot(mask.long(), 3).movedim(-1, 1).float()
    else:
        right = mask.float().reshape(logits.shape) * 2 - 1
    loss = MaskLoss(readout, ALL)
    before, after = loss(logits, mask), loss(logits + 3 * right, mask)
    for name in LOSS_PARTS:
        assert after[name] < before[name], name


def test_parts_are_the_librarys() -> None:
    logits, mask = example("softmax")
    mask[0, 0] = 255
    found = MaskLoss("softmax", LossOptions(dice=1.0))(logits, mask)
    assert set(found) == {"cross_entropy", "dice"}
    assert found["cross_entropy"] == pytest.approx(cross_entropy(logits, mask.long(), ignore_index=255).item())
    expected = DiceLoss("multiclass", ignore_index=255)(logits, mask.long())
    assert found["dice"].item() == pytest.approx(expected.item())


def test_several_classes_are_questions_of_their_own() -> None:
    logits, mask = example("sigmoid")
    found = MaskLoss("sigmoid")(logits, mask)["cross_entropy"]
    assert found.item() == pytest.approx(binary_cross_entropy_with_logits(logits, mask.float()).item(), rel=1e-6)


def test_weights_and_smoothing_of_the_cross_entropy() -> None:
    logits, mask = example("softmax")
    weights = torch.tensor([1.0, 2.0, 0.0])
    found = MaskLoss("softmax", LossOptions(label_smoothing=0.1), weights)(logits, mask)["cross_entropy"]
    expected = cross_entropy(logits, mask.long(), weights, label_smoothing=0.1)
    assert found.item() == pytest.approx(expected.item())
    logits, mask = example("binary")
    found = MaskLoss("binary", None, torch.tensor([0.5, 3.0]))(logits, mask)["cross_entropy"]
    expected = binary_cross_entropy_with_logits(logits[:, 0], mask.float(), pos_weight=torch.tensor(6.0))
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_sum_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"All parts of the loss have the weight 0; give one of --loss.cross-entropy"):
        LossOptions(cross_entropy=0.0)
    with pytest.raises(UserError, match=r"--loss.dice takes 0 or more, not -1"):
        LossOptions(dice=-1)
