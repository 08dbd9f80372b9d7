"""Localization figures on six images that were worked out by hand."""

import pytest
import torch
from onetrunk.apps.evaluation import Piece, join_pieces
from onetrunk.apps.localization.metrics import LocalizationEvaluator, make_evaluator, rebuild_evaluator
from onetrunk.backbones import UserError
from onetrunk.datasets import Batch, Context

CLASSES = ["a", "b", "c", "d", "e", "f", "g"]
MEAN = (0.0, 0.0, 0.5, 1.0)

#: label, predicted class, predicted box, true boxes; pictures of 10 x 20, canvas 20 x 20
CASES = [
    (0, 0, (0, 0, 10, 10), [(0, 0, 10, 10)]),  # right: 1
    (1, 1, (0, 0, 10, 10), [(0, 0, 10, 5)]),  # right, just: 1/2
    (2, 2, (0, 0, 10, 10), [(0, 0, 4, 10)]),  # wrong box: 2/5
    (3, 4, (0, 0, 10, 10), [(0, 0, 10, 10)]),  # wrong class, 3 is second: 1
    (5, 5, (10, 0, 20, 10), [(0, 0, 10, 10), (10, 0, 20, 8)]),  # the second true box: 4/5
    (6, 0, (10, 0, 20, 10), [(0, 0, 10, 10)]),  # all wrong, 6 is not among five: 0
]


def batch_of(cases: list, start: int) -> tuple[dict[str, torch.Tensor], Batch]:
    logits = torch.zeros(len(cases), 7)
    for place, (label, predicted, _, _) in enumerate(cases):
        logits[place] = torch.tensor([0.05 * (6 - index) for index in range(7)])
        logits[place, label] += 0 if label == 6 else 3
        logits[place, predicted] += 5
    count = len(cases)
    boxes = torch.tensor([box for _, _, box, _ in cases]).float()
    truths = [torch.tensor(boxes).float() for _, _, _, boxes in cases]
    batch = Batch(
        images=None,
        features=None,
        context=Context((20, 20), torch.tensor([[20, 20]] * count), torch.tensor([[10, 20]] * count)),
        targets={"label": torch.tensor([label for label, *_ in cases]), "full_boxes": truths},
        indices=torch.arange(start, start + count),
        names=[f"{start + place}.png" for place in range(count)],
    )
    # on the canvas pictures are stretched to twice their height
    return {"logits": logits, "boxes": boxes * torch.tensor([1, 2, 1, 2])}, batch


def evaluate(batch_size: int = 6):
    evaluator = LocalizationEvaluator(CLASSES, MEAN)
    pieces = []
    for start in range(0, 6, batch_size):
        output, batch = batch_of(CASES[start : start + batch_size], start)
        pieces.append(Piece(batch.indices.numpy(), batch.names, evaluator.collect(output, batch), [], 0.0))
    return evaluator, evaluator.evaluate(join_pieces(pieces)[0])


def test_the_figures_are_those_worked_out_by_hand() -> None:
    _, evaluation = evaluate()
    assert {name: estimate.value for name, estimate in evaluation.metrics.items()} == {
        "localization_top1": pytest.approx(3 / 6),
        "known_label_accuracy": pytest.approx(4 / 6),
        "mean_box_iou": pytest.approx((1 + 0.5 + 0.4 + 1 + 0.8 + 0) / 6),
        "top1": pytest.approx(4 / 6),
        "localization_top5": pytest.approx(4 / 6),
        "top5": pytest.approx(5 / 6),
    }
    assert evaluation.metrics["localization_top1"].low == pytest.approx(0.1876, abs=1e-4)  # Wilson, 3 of 6
    assert [row["correct"] for row in evaluation.predictions] == [True, True, False, False, True, False]
    assert [row["iou"] for row in evaluation.predictions] == pytest.approx([1, 0.5, 0.4, 1, 0.8, 0])
    assert evaluation.predictions[4]["true_box"] == {"xmin": 0, "ymin": 0, "xmax": 10, "ymax": 10}
    assert evaluation.predictions[4]["box"] == {"xmin": 10, "ymin": 0, "xmax": 20, "ymax": 10}


def test_baselines_get_the_models_labels_and_boxes_of_their_own() -> None:
    _, evaluation = evaluate()
    baselines = evaluation.details["baselines"]
    # left half: 1, 1/2, 2/5, 1, 1, 1
    assert baselines["mean_box"]["mean_box_iou"]["value"] == pytest.approx((1 + 0.5 + 0.4 + 1 + 1 + 1) / 6)
    assert baselines["mean_box"]["known_label_accuracy"]["value"] == pytest.approx(5 / 6)
    assert baselines["mean_box"]["localization_top1"]["value"] == pytest.approx(3 / 6)
    # image by image 0, 0, 0, 0, -1/5, -1; right are 3 and 3, of known labels 4 and 5
    gain = baselines["mean_box"]["gain"]
    assert gain["mean_box_iou"]["value"] == pytest.approx(-1.2 / 6)
    assert gain["localization_top1"]["value"] == 0
    assert gain["known_label_accuracy"]["value"] == pytest.approx(-1 / 6)
    # the middle, 10 x 5 of 20 x 10 pixels, which covers a quarter of a half
    expected = (25 / 125 + 12.5 / 87.5 + 0 + 25 / 125 + 25 / 105 + 25 / 125) / 6
    assert baselines["centre_box"]["mean_box_iou"]["value"] == pytest.approx(expected)
    assert baselines["mean_box"]["mean_box_iou"]["low"] < baselines["mean_box"]["mean_box_iou"]["value"]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_batches_change_nothing(batch_size: int) -> None:
    whole, parts = evaluate()[1], evaluate(batch_size)[1]
    assert parts.metrics == whole.metrics
    assert parts.predictions == whole.predictions
    assert parts.details == whole.details


def test_classes_have_rows_and_images_scores() -> None:
    evaluator, evaluation = evaluate()
    rows = {row["class"]: row for row in evaluation.per_class}
    assert list(rows) == ["a", "b", "c", "d", "f", "g"]
    assert rows["c"]["localization"]["value"] == 0
    assert rows["d"]["known_label_accuracy"]["value"] == 1
    assert rows["f"]["mean_label_iou"] == pytest.approx(0.8)
    scores = evaluator.scores(evaluation.images.rows)
    assert scores.correct.tolist() == [True, True, False, False, True, False]
    assert scores.probability[0] > 0.9 > scores.probability[3]


def test_what_a_run_keeps_makes_the_same_evaluator() -> None:
    evaluator = make_evaluator(CLASSES, MEAN, select="mean_box_iou")
    again = rebuild_evaluator(evaluator.description())
    assert again.description() == evaluator.description()
    assert again.judges_as(LocalizationEvaluator(CLASSES, (0.1, 0.1, 0.9, 0.9)))
    assert not again.judges_as(LocalizationEvaluator(CLASSES[:3], MEAN))


def test_of_few_classes_there_is_no_top5_and_of_one_no_top1() -> None:
    assert "localization_top5" not in LocalizationEvaluator(CLASSES[:5], MEAN).selectable
    assert LocalizationEvaluator(["a"], MEAN).selectable == (
        "localization_top1",
        "known_label_accuracy",
        "mean_box_iou",
    )


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UserError, match=r"Unknown metric for --select 'top5'.*localization_top1"):
        make_evaluator(["a"], MEAN, select="top5")
