"""Any number of labels an image: figures against torchmetrics, and the commands from end to end."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from onetrunk.apps.classification.metrics import rebuild_evaluator
from onetrunk.apps.classification.multilabel import MultiLabelEvaluator
from onetrunk.apps.cli import main
from onetrunk.apps.evaluated_images import EvaluatedImages, read_images
from onetrunk.apps.evaluation import Evaluation
from onetrunk.apps.intervals import proportion
from onetrunk.datasets import Batch, Context
from safetensors.torch import load_file
from torchmetrics.functional import classification as reference

TINY = "--backbone timm/test_resnet --weights none --image-size 32 --batch-size 8 --workers 0 --device cpu".split()
CLASSES = ["blue", "green", "red"]
LEARN = "--epochs 8 --learning-rate 0.02 --optim.trunk-factor 1 --augment.min-scale 1".split()


def evaluate(logits: torch.Tensor, labels: torch.Tensor) -> tuple[MultiLabelEvaluator, EvaluatedImages, Evaluation]:
    evaluator = MultiLabelEvaluator([f"class{index}" for index in range(labels.shape[1])])
    names = [f"{index}.png" for index in range(len(labels))]
    sizes = torch.full((len(labels), 2), 8)
    batch = Batch(None, None, Context((8, 8), sizes, sizes), {"labels": labels}, torch.arange(len(labels)), names)
    images = EvaluatedImages(np.arange(len(labels)), tuple(names), evaluator.collect(logits, batch))
    return evaluator, images, evaluator.evaluate(images)


@pytest.fixture(scope="module")
def outputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(80, 4, generator=generator) < torch.tensor([0.1, 0.3, 0.5, 0.8])).float()
    return torch.randn(80, 4, generator=generator) + 2 * labels - 1, labels


def test_values_equal_torchmetrics(outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = outputs
    found = {name: estimate.value for name, estimate in evaluate(logits, labels)[2].metrics.items()}
    truth = labels.int()
    expected = {
        "average_precision": reference.multilabel_average_precision(logits, truth, num_labels=4),
        "auroc": reference.multilabel_auroc(logits, truth, num_labels=4),
        "micro_f1": reference.multilabel_f1_score(logits, truth, num_labels=4, average="micro"),
        "macro_f1": reference.multilabel_f1_score(logits, truth, num_labels=4, average="macro"),
        "exact_match": reference.multilabel_exact_match(logits, truth, num_labels=4),
        "ece": reference.binary_calibration_error(logits.flatten(), truth.flatten(), n_bins=15),
    }
    assert found == {name: pytest.approx(float(value), abs=1e-6) for name, value in expected.items()}


def test_weights_are_repeated_images(outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    evaluator, images, _ = evaluate(*outputs)
    weights = np.random.default_rng(0).multinomial(80, np.full(80, 1 / 80), size=3)
    for metric, values in evaluator.measure(images.rows, weights).items():
        for counts, value in zip(weights, values, strict=True):
            repeated = images.select(np.repeat(np.arange(80), counts))
            assert value == pytest.approx(evaluator.values(repeated)[metric], abs=1e-9), metric


def test_every_value_stands_in_its_interval(outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    for name, estimate in evaluate(*outputs)[2].metrics.items():
        assert estimate.low < estimate.value < estimate.high, name


def test_classes_that_all_images_have_or_none_count_for_no_ranking() -> None:
    labels = torch.tensor([[1, 0, 1], [1, 0, 0], [1, 0, 1]]).float()
    _, _, found = evaluate(torch.tensor([[1.0, -1, 2], [2, -1, -1], [-1, 1, 3]]), labels)
    assert found.metrics["average_precision"].value == found.metrics["auroc"].value == 1
    always, never, sometimes = found.per_class
    assert (always["auroc"], always["average_precision"], always["precision"]) == (None, None, 1)
    assert (never["images"], never["recall"], never["predicted"], never["precision"]) == (0, None, 1, 0)
    assert (sometimes["auroc"]["value"], sometimes["average_precision"]) == (1, 1)
    _, _, nothing_to_rank = evaluate(torch.zeros(2, 1), torch.ones(2, 1))
    assert set(nothing_to_rank.metrics) == {"micro_f1", "macro_f1", "exact_match", "ece"}


def test_comparisons_see_each_image_and_each_class() -> None:
    labels = torch.tensor([[1, 0], [1, 1]]).float()
    evaluator, images, _ = evaluate(torch.tensor([[2.0, -2], [2, -2]]), labels)
    scores = evaluator.scores(images.rows)
    sure = torch.sigmoid(torch.tensor(2.0)).item()
    assert scores.correct.tolist() == [True, False]
    assert scores.probability.tolist() == pytest.approx([sure * sure, sure * (1 - sure)])
    recalls = {name: share.estimate for name, share in evaluator.recalls(images.rows).items()}
    assert recalls == {"class0": proportion(2, 2), "class1": proportion(0, 1)}


def test_the_evaluator_is_rebuilt_from_its_description() -> None:
    evaluator = MultiLabelEvaluator(CLASSES, primary="auroc")
    rebuilt = rebuild_evaluator(json.loads(json.dumps(evaluator.description())))
    assert isinstance(rebuilt, MultiLabelEvaluator)
    assert rebuilt.description() == evaluator.description()


def command(name: str, *words: str) -> int:
    return main(["classification", name, *words])


def card_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="session")
def label_run(label_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("multilabel") / "run"
    assert command("train", "--data", str(label_table), "--output", str(run), *TINY, *LEARN, "--resize", "stretch") == 0
    return run


def test_it_learns_and_the_card_says_so(label_run: Path) -> None:
    card = card_of(label_run)
    names = ["average_precision", "auroc", "micro_f1", "macro_f1", "exact_match", "ece"]
    assert list(card["metrics"]) == names
    assert card["metrics"]["average_precision"]["value"] > 0.9
    assert [row["class"] for row in card["per_class"]] == CLASSES
    assert all(row["images"] == 15 for row in card["per_class"])


def test_evaluate_repeats_the_card_and_its_rows_can_be_read(label_run: Path, label_table: Path, tmp_path: Path) -> None:
    words = ["--model", str(label_run), "--data", str(label_table), "--output", str(tmp_path), "--workers", "0"]
    assert command("evaluate", *words, "--device", "cpu", "--batch-size", "5") == 0
    found = card_of(tmp_path)["metrics"]
    for name, estimate in card_of(label_run)["metrics"].items():
        assert found[name] == {key: pytest.approx(value, abs=1e-6) for key, value in estimate.items()}
    images, evaluator = read_images(tmp_path / "images.npz")
    assert evaluator.values(images)["auroc"] == found["auroc"]["value"]
    rows = json.loads((tmp_path / "predictions.json").read_text())
    assert rows[0]["labels"] == ["blue"]
    assert all(row["correct"] == (sorted(row["predicted"]) == row["labels"]) for row in rows)


def test_predict_lists_what_holds_and_the_best(label_run: Path, label_table: Path, tmp_path: Path) -> None:
    words = ["--model", str(label_run), "--images", str(label_table.parent), "--output", str(tmp_path)]
    assert command("predict", *words, "--workers", "0", "--device", "cpu") == 0
    rows = json.loads((tmp_path / "predictions.json").read_text())
    assert len(rows) == 7 * 16
    for row in rows:
        assert len(row["top"]) == 3
        assert row["predicted"] == [entry["class"] for entry in row["top"] if entry["probability"] > 0.5]
    with (tmp_path / "predictions.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [row["predicted"] for row in table] == [";".join(row["predicted"]) for row in rows]
    assert {len(row["predicted"]) for row in rows} >= {0, 1, 2}


def test_a_folder_of_classes_can_be_taken_for_labels(label_run: Path, pictures: Path, tmp_path: Path) -> None:
    """A single label says that the image is of no other class: at training and at evaluation alike."""
    run = tmp_path / "run"
    words = ["--data", str(pictures), "--labels", "multi", "--epochs", "1", "--output", str(run)]
    assert command("train", *words, *TINY) == 0
    assert "exact_match" in card_of(run)["metrics"]
    words = ["--model", str(label_run), "--data", str(pictures), "--workers", "0", "--output", str(tmp_path / "out")]
    assert command("evaluate", *words) == 0
    assert card_of(tmp_path / "out")["samples"]["used"] == 15


def test_an_uncut_table_is_cut_once_for_labels_too(label_table: Path, tmp_path: Path) -> None:
    """The converted labels stand in the fingerprint by which a model knows its own data."""
    rows = [line.rsplit(",", 1)[0] for line in label_table.read_text().splitlines()]
    data = label_table.with_name("uncut.csv")
    data.write_text("\n".join(rows) + "\n")
    run = tmp_path / "run"
    assert command("train", "--data", str(data), "--output", str(run), "--epochs", "1", *TINY) == 0
    words = ["--model", str(run), "--data", str(data), "--workers", "0", "--output", str(tmp_path / "out")]
    assert command("evaluate", *words, "--device", "cpu") == 0
    assert card_of(tmp_path / "out")["data"]["fingerprint"] == card_of(run)["data"]["fingerprint"]


def test_rows_of_classes_are_kept_only_from_a_head_that_is_read_alike(
    label_run: Path, label_table: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, "--epochs", "1", "--learning-rate", "0"]
    words[words.index("none")] = str(label_run)
    assert command("train", "--data", str(pictures), "--output", str(tmp_path / "single"), *words) == 0
    assert "the head starts anew: the model was trained with another head" in capsys.readouterr().out
    lines = label_table.read_text().replace("green", "violet")
    for file in label_table.parent.glob("*.png"):
        shutil.copy(file, tmp_path / file.name.replace("green", "violet"))
    (tmp_path / "table.csv").write_text(lines)
    run = tmp_path / "multi"
    assert command("train", "--data", str(tmp_path / "table.csv"), "--output", str(run), *words) == 0
    assert "keeps the rows of 2 classes by name; 1 start anew" in capsys.readouterr().out
    before, after = (load_file(folder / "model" / "model.safetensors") for folder in (label_run, run))
    assert torch.equal(before["head.classifier.weight"][[0, 2]], after["head.classifier.weight"][[0, 1]])


@pytest.mark.parametrize(
    "more",
    [
        ["--loss.name", "focal", "--loss.class-weights", "balanced"],
        ["--loss.label-smoothing", "0.1", "--sampling", "balanced"],
        ["--augment.mixup", "0.2", "--augment.cutmix", "1", "--select", "macro_f1", "--head", "mlp"],
    ],
)
def test_other_losses_and_mixed_pictures_train(label_table: Path, tmp_path: Path, more: list[str]) -> None:
    words = ["--data", str(label_table), "--output", str(tmp_path / "run"), "--epochs", "1", *TINY]
    assert command("train", *words, *more) == 0
    assert np.isfinite(card_of(tmp_path / "run")["metrics"]["average_precision"]["value"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--loss.name", "cross_entropy"], "--loss.name cross_entropy is for one label an image"),
        (["--positive", "red"], "--positive is for one label an image, and these have any number. Leave it out."),
        (["--select", "top1"], "Unknown metric for --select 'top1'. Known: average_precision, auroc"),
        (["--select", "ece"], "Unknown metric for --select 'ece'"),
        (["--labels", "singel"], "singel"),
    ],
)
def test_what_does_not_go_with_labels_is_said(
    label_table: Path, tmp_path: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("train", "--data", str(label_table), "--output", str(tmp_path / "run"), *TINY, *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_one_class_is_enough_if_some_images_lack_it(
    label_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in label_table.parent.glob("*.png"):
        shutil.copy(file, tmp_path / file.name)
    rows = [line.split(",") for line in label_table.read_text().splitlines()]
    kept = [rows[0], *([name, "red" if "red" in labels else "", split] for name, labels, split in rows[1:])]
    (tmp_path / "table.csv").write_text("\n".join(map(",".join, kept)) + "\n")
    words = ["--output", str(tmp_path / "run"), "--epochs", "1", *TINY]
    assert command("train", "--data", str(tmp_path / "table.csv"), *words) == 0
    assert [row["class"] for row in card_of(tmp_path / "run")["per_class"]] == ["red"]
    everywhere = [rows[0], *([name, "red", split] for name, _, split in rows[1:])]
    (tmp_path / "everywhere.csv").write_text("\n".join(map(",".join, everywhere)) + "\n")
    words[1] = str(tmp_path / "other")
    assert command("train", "--data", str(tmp_path / "everywhere.csv"), *words) == 2
    assert "there is one class only, 'red'; there is nothing to tell apart" in capsys.readouterr().err


def test_a_metric_that_validation_leaves_undefined_chooses_nothing(
    label_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in label_table.parent.glob("*.png"):
        shutil.copy(file, tmp_path / file.name)
    rows = [line.split(",") for line in label_table.read_text().splitlines()]
    kept = [rows[0], *(row for row in rows[1:] if row[2] == "train" or row[1] == "red")]
    (tmp_path / "table.csv").write_text("\n".join(map(",".join, kept)) + "\n")
    words = ["--data", str(tmp_path / "table.csv"), "--output", str(tmp_path / "run"), "--epochs", "1", *TINY]
    assert command("train", *words) == 2
    assert "'average_precision' can't choose the checkpoint: the split 'val'" in capsys.readouterr().err
    assert command("train", *words, "--select", "micro_f1") == 0
    card = card_of(tmp_path / "run")
    assert "average_precision" not in card["metrics"]
    reason = "no class that some images have and others lack"
    assert card["details"]["undefined"] == {"average_precision": reason, "auroc": reason}
