"""Classification figures against torchmetrics on the same predictions."""

from pathlib import Path

import pytest
import torch
from onetrunk.apps.classification.metrics import ClassificationEvaluator
from onetrunk.apps.evaluation import Piece, join_pieces
from onetrunk.datasets import BadSample, Batch, Context, DataError
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score, multiclass_precision


def make_batch(labels: torch.Tensor, start: int, skipped: tuple[BadSample, ...] = ()) -> Batch:
    sizes = torch.full((len(labels), 2), 8)
    return Batch(
        images=None,
        features=None,
        context=Context((8, 8), sizes, sizes),
        targets={"label": labels},
        indices=torch.arange(start, start + len(labels)),
        names=[f"{start + i}.png" for i in range(len(labels))],
        skipped=list(skipped),
    )


def piece(evaluator: ClassificationEvaluator, logits: torch.Tensor, batch: Batch) -> Piece:
    return Piece(batch.indices.numpy(), batch.names, evaluator.collect(logits, batch), batch.skipped, 0.0)


def run(logits: torch.Tensor, labels: torch.Tensor, batch_size: int):
    evaluator = ClassificationEvaluator([f"class{i}" for i in range(logits.shape[1])])
    starts = list(range(0, len(labels), batch_size))
    pieces = []
    for start in starts[::-1]:  # the order of batches doesn't matter
        part = slice(start, start + batch_size)
        pieces.append(piece(evaluator, logits[part], make_batch(labels[part], start)))
    return evaluator.evaluate(*join_pieces(pieces))


@pytest.fixture(scope="module")
def outputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 9, (101,), generator=generator)
    return torch.randn(101, 10, generator=generator) + 1.5 * torch.eye(10)[labels], labels


def test_values_equal_torchmetrics(outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = outputs
    found = run(logits, labels, 16)
    settings = {"num_classes": 10, "average": "micro"}
    assert found.metrics["top1"].value == pytest.approx(float(multiclass_accuracy(logits, labels, **settings)))
    assert found.metrics["top5"].value == pytest.approx(float(multiclass_accuracy(logits, labels, top_k=5, **settings)))
    recall = multiclass_accuracy(logits, labels, num_classes=10, average=None)[:9]  # class 9 has no images
    assert found.metrics["balanced_accuracy"].value == pytest.approx(float(recall.mean()))
    f1 = multiclass_f1_score(logits, labels, num_classes=10, average=None)[:9]
    assert found.metrics["macro_f1"].value == pytest.approx(float(f1.mean()))
    recalls = multiclass_accuracy(logits, labels, num_classes=10, average=None)
    precisions = multiclass_precision(logits, labels, num_classes=10, average=None)
    for row, recall, precision in zip(found.per_class[:9], recalls, precisions, strict=False):
        assert row["recall"]["value"] == pytest.approx(float(recall))
        assert row["precision"] == pytest.approx(float(precision))


def test_a_class_without_images_has_no_recall(outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    row = run(*outputs, 16).per_class[9]
    assert (row["images"], row["recall"]) == (0, None)


def test_batch_size_and_order_change_nothing(outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    small, large = run(*outputs, 7), run(*outputs, 101)
    for part in ("metrics", "per_class", "details", "predictions", "used"):
        assert getattr(small, part) == getattr(large, part)


def test_top5_is_left_out_where_it_says_nothing() -> None:
    logits, labels = torch.randn(20, 5), torch.randint(0, 5, (20,))
    assert "top5" not in run(logits, labels, 20).metrics


def test_macro_f1_stands_in_its_interval_when_classes_without_images_are_predicted() -> None:
    """As on a folder with two of ImageNet's thousand classes."""
    labels = torch.arange(150) % 2
    logits = torch.eye(1000)[torch.where(torch.arange(150) % 7 == 0, torch.arange(150) + 5, labels)]
    macro_f1 = run(logits, labels, 50).metrics["macro_f1"]
    assert macro_f1.low < macro_f1.value < macro_f1.high
    assert macro_f1.value > 0.9


def test_confusion_matrix_has_labels_in_rows() -> None:
    logits = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    details = run(logits, torch.tensor([0, 0, 0]), 3).details
    assert details["confusion_matrix"]["rows_are_labels"] == [[1, 2], [0, 0]]
    assert details["most_confused"] == [{"label": "class0", "predicted": "class1", "images": 2}]


def test_skipped_images_keep_their_row_with_the_reason() -> None:
    evaluator = ClassificationEvaluator(["a", "b"])
    bad = BadSample(index=1, name="1.png", path=Path("1.png"), reason="1.png: truncated")
    batch = make_batch(torch.tensor([0, 1]), 0, (bad,))
    batch.indices = torch.tensor([0, 2])
    found = evaluator.evaluate(*join_pieces([piece(evaluator, torch.tensor([[2.0, 1.0], [0.0, 3.0]]), batch)]))
    assert [row.get("error") for row in found.predictions] == [None, "1.png: truncated", None]
    assert found.used == 2
    assert found.skipped == (bad,)


def test_nothing_to_evaluate_is_said() -> None:
    with pytest.raises(DataError, match="nothing to evaluate"):
        join_pieces([])


def test_the_probability_of_a_label_below_the_best_five_is_kept() -> None:
    logits, labels = torch.arange(8.0)[None].repeat(2, 1), torch.tensor([0, 7])
    evaluator = ClassificationEvaluator([f"class{i}" for i in range(8)])
    images, _ = join_pieces([piece(evaluator, logits, make_batch(labels, 0))])
    scores = evaluator.scores(images.rows)
    assert scores.correct.tolist() == [False, True]
    assert scores.probability == pytest.approx(logits.softmax(dim=1)[0, [0, 7]].numpy(), rel=1e-5)
