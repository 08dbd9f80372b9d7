"""The losses against their definitions, with weights, smoothing and shares of classes."""

import math

import pytest
import torch
from onetrunk.apps.classification.losses import ClassLoss, readout_of
from onetrunk.apps.classification.options import LossOptions
from onetrunk.backbones.errors import UserError
from torch.nn.functional import binary_cross_entropy, cross_entropy, one_hot

LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([0, 1, 2, 2, 2, 0])
LABELS = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]]).float()
SHARES = torch.softmax(torch.randn(6, 3, generator=torch.Generator().manual_seed(1)), dim=1)
WEIGHTS = torch.tensor([0.5, 3.0, 1.0])
PROBABILITIES = torch.sigmoid(LOGITS)


def single(name: str, weights: torch.Tensor | None = None, **more: float) -> ClassLoss:
    return ClassLoss("softmax" if name == "cross_entropy" else "one_vs_rest", LossOptions(name=name, **more), weights)


def multi(name: str, weights: torch.Tensor | None = None, **more: float) -> ClassLoss:
    return ClassLoss("sigmoid", LossOptions(name=name, **more), weights)


def focal(targets: torch.Tensor, gamma: float = 2.0, alpha: float = 0.25) -> torch.Tensor:
    """Lin 2017, equation 5, word for word."""
    right = torch.where(targets == 1, PROBABILITIES, 1 - PROBABILITIES)
    return -torch.where(targets == 1, alpha, 1 - alpha) * (1 - right) ** gamma * torch.log(right)


def test_auto_is_cross_entropy_for_one_label_and_bce_for_any_number() -> None:
    assert torch.equal(ClassLoss("softmax")(LOGITS, LABEL), cross_entropy(LOGITS, LABEL))
    assert torch.equal(ClassLoss("sigmoid")(LOGITS, LABELS), multi("bce")(LOGITS, LABELS))
    assert readout_of(LossOptions(), is_multi_label=True) == "sigmoid"
    assert readout_of(LossOptions(), is_multi_label=False) == "softmax"
    assert readout_of(LossOptions(name="focal"), is_multi_label=False) == "one_vs_rest"


def test_bce_asks_of_each_class_whether_it_is_that() -> None:
    expected = binary_cross_entropy(PROBABILITIES, one_hot(LABEL, 3).float())
    assert single("bce")(LOGITS, LABEL) == pytest.approx(expected.item())
    assert multi("bce")(LOGITS, LABELS) == pytest.approx(binary_cross_entropy(PROBABILITIES, LABELS).item())


def test_focal_is_the_papers() -> None:
    assert single("focal")(LOGITS, LABEL) == pytest.approx(focal(one_hot(LABEL, 3)).mean().item())
    found = multi("focal", gamma=1.0, alpha=0.4)(LOGITS, LABELS)
    assert found == pytest.approx(focal(LABELS, gamma=1.0, alpha=0.4).mean().item())


def test_focal_without_focus_is_half_of_bce() -> None:
    assert 2 * multi("focal", gamma=0.0, alpha=0.5)(LOGITS, LABELS) == pytest.approx(
        multi("bce")(LOGITS, LABELS).item()
    )


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("more", [{}, {"label_smoothing": 0.1}], ids=["sharp", "smooth"])
@pytest.mark.parametrize("name", ["cross_entropy", "bce", "focal"])
def test_shares_that_are_whole_are_the_label(name: str, more: dict[str, float], weights: torch.Tensor | None) -> None:
    loss = single(name, weights, **({} if name == "focal" else more))
    assert loss(LOGITS, one_hot(LABEL, 3).float()) == pytest.approx(loss(LOGITS, LABEL).item())


def test_weighted_losses_of_mixed_and_of_whole_pictures_are_on_the_same_scale() -> None:
    """A network that knows nothing loses log C on either, so train_loss and val_loss can be read side by side."""
    knows_nothing = torch.zeros(6, 3)
    for targets in (LABEL, SHARES):
        assert single("cross_entropy", WEIGHTS)(knows_nothing, targets) == pytest.approx(math.log(3))


def test_shares_of_mixed_pictures_are_targets() -> None:
    assert single("bce")(LOGITS, SHARES) == pytest.approx(binary_cross_entropy(PROBABILITIES, SHARES).item())
    assert multi("bce")(LOGITS, SHARES) == pytest.approx(binary_cross_entropy(PROBABILITIES, SHARES).item())
    assert single("cross_entropy")(LOGITS, SHARES) == pytest.approx(cross_entropy(LOGITS, SHARES).item())
    for loss in (single("focal", WEIGHTS), multi("focal", WEIGHTS)):
        assert torch.isfinite(loss(LOGITS, SHARES))


def test_smoothing_spreads_over_classes_or_over_yes_and_no() -> None:
    smooth = one_hot(LABEL, 3) * 0.7 + 0.1
    expected = binary_cross_entropy(PROBABILITIES, smooth).item()
    assert single("bce", label_smoothing=0.3)(LOGITS, LABEL) == pytest.approx(expected)
    expected = binary_cross_entropy(PROBABILITIES, LABELS * 0.7 + 0.15).item()
    assert multi("bce", label_smoothing=0.3)(LOGITS, LABELS) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["cross_entropy", "bce", "focal"])
def test_a_class_of_weight_3_counts_as_if_its_images_were_there_three_times(name: str) -> None:
    times = torch.tensor([1, 3, 2])
    repeated = torch.repeat_interleave(torch.arange(6), times[LABEL])
    expected = single(name)(LOGITS[repeated], LABEL[repeated])
    assert single(name, times.float())(LOGITS, LABEL) == pytest.approx(expected.item())


def test_weights_of_positives_count_only_where_a_class_holds() -> None:
    each = binary_cross_entropy(PROBABILITIES, LABELS, reduction="none")
    expected = torch.where(LABELS == 1, WEIGHTS * each, each).mean()
    assert multi("bce", WEIGHTS)(LOGITS, LABELS) == pytest.approx(expected.item())
    expected = torch.where(LABELS == 1, WEIGHTS * focal(LABELS), focal(LABELS)).mean()
    assert multi("focal", WEIGHTS)(LOGITS, LABELS) == pytest.approx(expected.item())


def test_weights_are_no_part_of_the_model_file() -> None:
    assert not single("bce", WEIGHTS).state_dict()


def test_what_does_not_go_together_is_said() -> None:
    with pytest.raises(UserError, match=r"--loss\.name cross_entropy is for one label an image.*Use bce or focal"):
        multi("cross_entropy")
    with pytest.raises(UserError, match=r"--loss\.label-smoothing goes with cross_entropy and bce, not with focal"):
        LossOptions(name="focal", label_smoothing=0.1)
    with pytest.raises(UserError, match=r"--loss\.alpha takes 0 to 1, not 2"):
        LossOptions(alpha=2)
    with pytest.raises(UserError, match=r"--loss\.gamma takes 0 or more, not -1"):
        LossOptions(gamma=-1)
