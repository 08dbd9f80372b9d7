"""Figures of segmentation against confusion matrices by hand and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from onetrunk.apps.segmentation.boundary import boundary_f1, fill_ignored
from onetrunk.apps.segmentation.metrics import SegmentationEvaluator, rebuild_evaluator
from onetrunk.backbones.errors import UserError
from onetrunk.datasets import Batch, Context
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_jaccard_index


def batch_of(masks: list[torch.Tensor]) -> Batch:
    sizes = torch.tensor([mask.shape[-2:] for mask in masks])
    names = [str(place) for place in range(len(masks))]
    context = Context((8, 8), sizes, sizes)
    return Batch(None, {}, context, {"full_mask": masks}, torch.arange(len(masks)), names)


def logits_of(masks: list[torch.Tensor], classes: int) -> list[torch.Tensor]:
    return [torch.stack([(mask == k).float() for k in range(classes)]) for mask in masks]


@pytest.fixture
def masks() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Predictions and labels of five pictures of different sizes, 4 classes, a fifth of the labels ignored."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(9, 7), (6, 6), (12, 5), (4, 4), (8, 8)]
    found = [torch.randint(0, 4, size, generator=generator, dtype=torch.uint8) for size in sizes]
    truth = []
    for one in found:
        label = torch.where(torch.rand(one.shape, generator=generator) < 0.5, one, torch.randint_like(one, 0, 4))
        truth.append(
            torch.where(torch.rand(one.shape, generator=generator) < 0.2, torch.tensor(255), label).to(torch.uint8)
        )
    return found, truth


def test_mean_iou_with_ignored_pixels_is_that_of_the_summed_confusion_matrices(masks) -> None:
    found, truth = masks
    evaluator = SegmentationEvaluator("abcd", readout="softmax")
    rows = evaluator.collect(logits_of(found, 4), batch_of(truth))
    matrix = np.zeros((4, 4), dtype=int)
    for one, label in zip(found, truth, strict=True):
        for predicted, wanted in zip(one.flatten().tolist(), label.flatten().tolist(), strict=True):
            if wanted != 255:
                matrix[wanted, predicted] += 1
    ious = [matrix[k, k] / (matrix[k].sum() + matrix[:, k].sum() - matrix[k, k]) for k in range(4)]
    dices = [2 * matrix[k, k] / (matrix[k].sum() + matrix[:, k].sum()) for k in range(4)]
    figures = {name: value[0] for name, value in evaluator.measure(rows, np.ones((1, 5), dtype=int)).items()}
    assert figures["mean_iou"] == pytest.approx(np.mean(ious), abs=1e-12)
    assert figures["pixel_accuracy"] == pytest.approx(matrix.trace() / matrix.sum(), abs=1e-12)
    assert figures["dice"] == pytest.approx(np.mean(dices), abs=1e-12)
    assert (rows["confusion"].sum(0) == matrix).all()
    assert evaluator.details(rows)["confusion_matrix"]["rows_are_labels"] == matrix.tolist()
    flat = torch.cat([one.flatten() for one in found]).long(), torch.cat([one.flatten() for one in truth]).long()
    assert figures["mean_iou"] == pytest.approx(float(multiclass_jaccard_index(*flat, 4, ignore_index=255)), abs=1e-6)
    assert (multiclass_confusion_matrix(*flat, 4, ignore_index=255).numpy() == matrix).all()


def test_weights_count_images(masks) -> None:
    found, truth = masks
    evaluator = SegmentationEvaluator("abcd", readout="softmax")
    rows = evaluator.collect(logits_of(found, 4), batch_of(truth))
    twice = evaluator.collect(logits_of([*found, found[2]], 4), batch_of([*truth, truth[2]]))
    weighted = evaluator.measure(rows, np.array([[1, 1, 2, 1, 1]]))
    for name, value in evaluator.measure(twice, np.ones((1, 6), dtype=int)).items():
        assert weighted[name][0] == pytest.approx(value[0], abs=1e-12), name


def test_a_class_that_no_drawn_image_shows_does_not_count_in_that_sample() -> None:
    zero, one = torch.zeros((4, 4), dtype=torch.uint8), torch.ones((4, 4), dtype=torch.uint8)
    wrong = zero.clone()
    wrong[0, 0] = 1
    evaluator = SegmentationEvaluator("ab", readout="softmax")
    rows = evaluator.collect(logits_of([wrong, one], 2), batch_of([zero, one]))
    both, first = (evaluator.measure(rows, np.array([weights]))["mean_iou"][0] for weights in ([1, 1], [1, 0]))
    assert both == pytest.approx((15 / 16 + 16 / 17) / 2)
    assert first == pytest.approx(15 / 16)  # the one pixel of b is wrong, but b is labelled elsewhere


def test_a_class_that_is_labelled_nowhere_but_found_counts_with_0() -> None:
    zero, wrong = torch.zeros((2, 4, 4), dtype=torch.uint8)
    wrong[0, 0] = 2
    evaluator = SegmentationEvaluator("abc", readout="softmax")
    rows = evaluator.collect(logits_of([wrong], 3), batch_of([zero]))
    assert evaluator.measure(rows, np.ones((1, 1), dtype=int))["mean_iou"][0] == pytest.approx(15 / 16 / 2)


def test_an_image_of_which_everything_is_ignored_changes_nothing(masks) -> None:
    found, truth = masks
    evaluator = SegmentationEvaluator("abcd", readout="softmax")
    void = torch.full((5, 5), 255, dtype=torch.uint8)
    rows = evaluator.collect(logits_of(found, 4), batch_of(truth))
    more = evaluator.collect(logits_of([*found, torch.zeros_like(void)], 4), batch_of([*truth, void]))
    expected = evaluator.measure(rows, np.ones((1, 5), dtype=int))
    for name, value in evaluator.measure(more, np.ones((1, 6), dtype=int)).items():
        assert value[0] == expected[name][0], name


def test_a_foreground_is_judged_by_its_own_dice() -> None:
    truth, found = torch.zeros((2, 6, 6), dtype=torch.uint8)
    truth[:3], found[:2] = 1, 1
    evaluator = SegmentationEvaluator(("background", "vessel"), readout="binary")
    assert evaluator.primary == "dice"
    rows = evaluator.collect([found[None].float() - 0.5], batch_of([truth]))
    figures = evaluator.measure(rows, np.ones((1, 1), dtype=int))
    assert figures["dice"][0] == pytest.approx(2 * 12 / (12 + 18))
    assert figures["mean_iou"][0] == pytest.approx((12 / 18 + 18 / 24) / 2)


def test_several_classes_a_pixel() -> None:
    truth = torch.zeros((2, 4, 4), dtype=torch.uint8)
    truth[0, :2], truth[1, :, :2] = 1, 1
    truth[1, 3, 3] = 255
    found = truth.clone()
    found[1, 3, 3], found[0, 0, 0] = 1, 0
    evaluator = SegmentationEvaluator("ab", readout="sigmoid")
    rows = evaluator.collect([found.float() * 2 - 1], batch_of([truth]))
    figures = evaluator.measure(rows, np.ones((1, 1), dtype=int))
    assert figures["mean_iou"][0] == pytest.approx((7 / 8 + 1) / 2)
    assert "pixel_accuracy" not in figures
    assert evaluator.details(rows) == {}


def test_boundaries() -> None:
    square, everything = np.zeros((100, 100), dtype=bool), np.ones((100, 100), dtype=bool)
    square[20:60, 20:60] = True  # tolerance: 0.75% of 141 pixels, 1.06
    for shift, expected in ((0, 1.0), (1, 1.0), (30, 24 / 156)):  # two rows of 11, and a pixel below and above each
        assert boundary_f1(np.roll(square, shift, axis=1), square, everything) == pytest.approx(expected)
    assert math.isnan(boundary_f1(~everything, ~everything, everything))
    assert boundary_f1(square, ~everything, everything) == 0.0
    assert boundary_f1(~everything, square, everything) == 0.0
    assert math.isnan(boundary_f1(~square, everything, everything))  # what fills the picture has no boundary
    half = square.copy()
    half[40:] = False  # its last row is wrong but for two pixels at either end
    precision, recall = (116 - 36) / 116, 80 / 156
    expected = 2 * precision * recall / (precision + recall)
    assert boundary_f1(half, square, everything) == pytest.approx(expected)


def test_a_band_of_ignored_pixels_around_an_object_leaves_it_a_boundary() -> None:
    truth = np.zeros((100, 100), dtype=np.uint8)
    truth[18:62, 18:62] = 255
    truth[20:60, 20:60] = 1
    filled, counts = fill_ignored(truth, truth == 255)
    assert counts.mean() > 0.99
    found = np.zeros((100, 100), dtype=bool)
    found[19:61, 19:61] = True
    assert boundary_f1(found, filled == 1, counts) == 1.0
    deep = truth.copy()
    deep[:15] = 255
    assert not fill_ignored(deep, deep == 255)[1][:10].any()  # far from any label nothing is judged


def test_what_is_kept_rebuilds_the_evaluator(masks) -> None:
    evaluator = SegmentationEvaluator("abcd", readout="softmax", primary="dice")
    again = rebuild_evaluator(evaluator.description())
    assert (again.classes, again.readout, again.primary) == (tuple("abcd"), "softmax", "dice")
    assert evaluator.judges_as(SegmentationEvaluator("abcd", readout="softmax"))
    assert not evaluator.judges_as(SegmentationEvaluator("abce", readout="softmax"))


def test_between_epochs_boundaries_are_left_out(masks) -> None:
    found, truth = masks
    evaluator = SegmentationEvaluator("abcd", readout="softmax")
    evaluator.is_brief = True
    rows = evaluator.collect(logits_of(found, 4), batch_of(truth))
    assert set(rows) == {"labelled", "predicted", "correct"}
    assert "boundary_f1" not in evaluator.measure(rows, np.ones((1, 5), dtype=int))


def test_unknown_metrics_are_refused() -> None:
    with pytest.raises(UserError, match=r"Unknown metric for --select 'iou'\. Known: mean_iou, dice, pixel_accuracy"):
        SegmentationEvaluator("ab", readout="softmax", primary="iou")
