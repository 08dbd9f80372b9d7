"""Two classes, one of which is looked for: figures against torchmetrics, and the commands from end to end."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from onetrunk.apps.classification.binary import choose_positive
from onetrunk.apps.classification.metrics import ClassificationEvaluator, rebuild_evaluator
from onetrunk.apps.cli import main
from onetrunk.apps.evaluated_images import EvaluatedImages
from onetrunk.apps.intervals import Estimate, auroc_interval, proportion
from onetrunk.backbones.errors import UserError
from onetrunk.datasets import Batch, Context
from torchmetrics.functional import classification as reference

TINY = "--backbone timm/test_resnet --weights none --image-size 32 --batch-size 8 --workers 0 --device cpu".split()
CLASSES = ("healthy", "sick")


def images_of(evaluator: ClassificationEvaluator, logits: torch.Tensor, labels: torch.Tensor) -> EvaluatedImages:
    names = [f"{index}.png" for index in range(len(labels))]
    sizes = torch.full((len(labels), 2), 8)
    batch = Batch(None, None, Context((8, 8), sizes, sizes), {"label": labels}, torch.arange(len(labels)), names)
    return EvaluatedImages(np.arange(len(labels)), tuple(names), evaluator.collect(logits, batch))


@pytest.fixture(scope="module")
def outputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(90, generator=generator) < 0.3).long()
    return torch.randn(90, 2, generator=generator) + torch.eye(2)[labels], labels


@pytest.mark.parametrize("positive", [0, 1])
def test_values_equal_torchmetrics(outputs: tuple[torch.Tensor, torch.Tensor], positive: int) -> None:
    logits, labels = outputs
    evaluator = ClassificationEvaluator(CLASSES, positive=CLASSES[positive])
    found = evaluator.values(images_of(evaluator, logits, labels))
    probability, truth = logits.softmax(dim=1)[:, positive], (labels == positive).int()
    for name, value in {
        "auroc": reference.binary_auroc(probability, truth),
        "average_precision": reference.binary_average_precision(probability, truth),
        "sensitivity": reference.binary_recall(probability, truth),
        "specificity": reference.binary_specificity(probability, truth),
        "ece": reference.multiclass_calibration_error(logits, labels, num_classes=2, n_bins=15),
    }.items():
        assert found[name] == pytest.approx(float(value), abs=1e-6), name


def test_weights_are_repeated_images(outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    evaluator = ClassificationEvaluator(CLASSES, positive="sick")
    images = images_of(evaluator, *outputs)
    weights = np.random.default_rng(0).multinomial(90, np.full(90, 1 / 90), size=3)
    for metric, values in evaluator.measure(images.rows, weights).items():
        for counts, value in zip(weights, values, strict=True):
            repeated = images.select(np.repeat(np.arange(90), counts))
            assert value == pytest.approx(evaluator.values(repeated)[metric], abs=1e-9), metric


def test_intervals_are_closed_where_there_are_closed_ones(outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = outputs
    evaluator = ClassificationEvaluator(CLASSES, positive="sick")
    found = evaluator.evaluate(images_of(evaluator, logits, labels)).metrics
    is_sick, is_called_sick = labels == 1, logits.argmax(dim=1) == 1
    assert found["sensitivity"] == proportion(int((is_sick & is_called_sick).sum()), int(is_sick.sum()))
    assert found["specificity"] == proportion(int((~is_sick & ~is_called_sick).sum()), int((~is_sick).sum()))
    odds = (logits[:, 1] - logits[:, 0]).double()
    expected = auroc_interval(odds[is_sick].numpy(), odds[~is_sick].numpy())
    for bound in ("value", "low", "high"):
        assert getattr(found["auroc"], bound) == pytest.approx(getattr(expected, bound), abs=1e-6)


def test_what_rounds_to_certainty_is_still_ranked() -> None:
    """In float32 both probabilities are 1, but one network output says more than the other."""
    evaluator = ClassificationEvaluator(CLASSES, positive="sick")
    images = images_of(evaluator, torch.tensor([[0.0, 30], [0, 40]]), torch.tensor([0, 1]))
    assert images.rows["probability"][:, 0].tolist() == [1, 1]
    assert evaluator.values(images)["auroc"] == 1


def test_without_images_of_a_class_its_figures_are_left_out() -> None:
    evaluator = ClassificationEvaluator(CLASSES, positive="sick")
    found = evaluator.evaluate(images_of(evaluator, torch.tensor([[2.0, 1], [0, 1]]), torch.tensor([0, 0]))).metrics
    assert set(found) == {"top1", "macro_f1", "balanced_accuracy", "specificity", "ece"}
    assert isinstance(found["specificity"], Estimate)


@pytest.mark.parametrize(("only", "missing"), [(0, "sick"), (1, "healthy")])
def test_what_is_left_out_is_listed_with_the_reason(only: int, missing: str) -> None:
    evaluator = ClassificationEvaluator(CLASSES, positive="sick")
    evaluation = evaluator.evaluate(images_of(evaluator, torch.tensor([[2.0, 1], [0, 1]]), torch.tensor([only] * 2)))
    left_out = {"auroc", "average_precision", "sensitivity" if missing == "sick" else "specificity"}
    assert evaluation.details["undefined"] == dict.fromkeys(left_out, f"no image of '{missing}'")
    assert (
        set(evaluator.measure(evaluation.images.rows, np.ones((1, 2), dtype=int))) - set(evaluation.metrics) == left_out
    )


def test_a_class_against_the_rest_is_read_as_its_share_of_all_sigmoids() -> None:
    evaluator = ClassificationEvaluator(CLASSES, positive="sick", readout="one_vs_rest")
    images = images_of(evaluator, torch.tensor([[-1.0, 2], [-200, -300]]), torch.tensor([1, 1]))
    yes, no = torch.sigmoid(torch.tensor([2.0, -1])).tolist()
    assert images.rows["probability"][0].tolist() == pytest.approx([yes / (yes + no), no / (yes + no)])
    assert images.rows["probability"][1].tolist() == pytest.approx([1, 0])  # where both sigmoids are nearly 0


def test_the_evaluator_is_rebuilt_from_its_description() -> None:
    evaluator = ClassificationEvaluator(CLASSES, positive="sick", primary="auroc", readout="one_vs_rest")
    rebuilt = rebuild_evaluator(json.loads(json.dumps(evaluator.description())))
    assert rebuilt.description() == evaluator.description()
    assert rebuilt.primary == "auroc"


def test_the_positive_class_is_the_rarer_one_or_the_last() -> None:
    assert choose_positive({"healthy": 10, "sick": 4}, None) == "sick"
    assert choose_positive({"healthy": 4, "sick": 10}, None) == "healthy"
    assert choose_positive({"healthy": 4, "sick": 4}, None) == "sick"
    assert choose_positive({"healthy": 4, "sick": 4}, "healthy") == "healthy"
    assert choose_positive({"a": 1, "b": 2, "c": 3}, None) is None
    with pytest.raises(UserError, match=r"--positive names one of two classes, but these data have 3\. Leave it out"):
        choose_positive({"a": 1, "b": 2, "c": 3}, "a")
    with pytest.raises(UserError, match=r"Unknown class for --positive 'sikc'\. .*Did you mean 'sick'"):
        choose_positive({"healthy": 10, "sick": 4}, "sikc")


@pytest.fixture(scope="module")
def two_colours(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven blue and seven red pictures to train on, five of each to validate."""
    root = tmp_path_factory.mktemp("binary") / "data"
    for split in ("train", "val"):
        for name in ("blue", "red"):
            shutil.copytree(pictures / split / name, root / split / name)
    for index in range(7, 11):
        (root / "train" / "red" / f"{index:02}.png").unlink()
    return root


def train(data: Path, run: Path, *more: str) -> int:
    return main(["classification", "train", "--data", str(data), "--output", str(run), *TINY, *more])


def card_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def binary_run(two_colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("binary") / "run"
    more = "--select auroc --loss.name bce --loss.class-weights balanced --epochs 8 --learning-rate 0.02".split()
    assert train(two_colours, run, *more, "--optim.trunk-factor", "1", "--augment.min-scale", "1") == 0
    return run


def test_the_card_has_the_figures_of_the_positive_class(binary_run: Path) -> None:
    card = card_of(binary_run)
    assert card["details"]["positive"] == "red"
    assert json.loads((binary_run / "model" / "model.json").read_text())["positive"] == "red"
    names = "top1 macro_f1 balanced_accuracy auroc average_precision sensitivity specificity ece".split()
    assert list(card["metrics"]) == names
    assert card["metrics"]["auroc"]["value"] >= 0.9
    assert card["metrics"]["sensitivity"] == {**card["per_class"][1]["recall"]}
    assert card["metrics"]["specificity"] == {**card["per_class"][0]["recall"]}


def test_the_metric_that_was_asked_for_chooses_the_epoch(binary_run: Path) -> None:
    lines = (binary_run / "log.csv").read_text().splitlines()
    column = lines[0].split(",").index("val_auroc")
    best = max(float(line.split(",")[column]) for line in lines[1:])
    assert card_of(binary_run)["metrics"]["auroc"]["value"] == pytest.approx(best, abs=1e-6)


def test_evaluate_keeps_the_positive_class_and_predict_names_classes(
    binary_run: Path, two_colours: Path, tmp_path: Path
) -> None:
    """Also where the other class is the rarer one."""
    data = tmp_path / "data"
    shutil.copytree(two_colours / "val", data / "val")
    (data / "val" / "blue" / "00.png").unlink()
    words = ["--model", str(binary_run), "--workers", "0", "--device", "cpu"]
    assert main(["classification", "evaluate", *words, "--data", str(data), "--output", str(tmp_path / "e")]) == 0
    card = card_of(tmp_path / "e")
    assert card["details"]["positive"] == "red"
    assert card["metrics"]["sensitivity"] == card_of(binary_run)["metrics"]["sensitivity"]
    out = str(tmp_path / "p")
    assert main(["classification", "predict", *words, "--images", str(data / "val"), "--output", out]) == 0
    rows = json.loads((tmp_path / "p" / "predictions.json").read_text())
    evaluated = json.loads((tmp_path / "e" / "predictions.json").read_text())
    assert [row["top"] for row in rows] == [row["top"] for row in evaluated]
    assert sum(entry["probability"] for entry in rows[0]["top"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "more",
    [
        ["--loss.name", "focal", "--loss.gamma", "1", "--loss.alpha", "0.5", "--augment.mixup", "0.2"],
        ["--loss.name", "bce", "--loss.label-smoothing", "0.1", "--augment.cutmix", "1"],
        ["--loss.class-weights", "balanced", "--augment.mixup", "0.2", "--positive", "blue", "--select", "sensitivity"],
    ],
)
def test_other_losses_and_mixed_pictures_train(two_colours: Path, tmp_path: Path, more: list[str]) -> None:
    assert train(two_colours, tmp_path / "run", "--epochs", "1", *more) == 0
    assert card_of(tmp_path / "run")["details"]["positive"] == ("blue" if "blue" in more else "red")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--positive", "rde"], "Unknown class for --positive 'rde'. Known: blue, red. Did you mean 'red'?"),
        (["--select", "top5"], "Unknown metric for --select 'top5'. Known: top1, macro_f1, balanced_accuracy, auroc"),
        (["--select", "ece"], "Unknown metric for --select 'ece'"),
        (["--loss.name", "hinge"], "hinge"),
        (["--loss.name", "focal", "--loss.label-smoothing", "0.1"], "not with focal"),
    ],
)
def test_what_does_not_go_with_two_classes_is_said(
    two_colours: Path, tmp_path: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(two_colours, tmp_path / "run", *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_figures_of_two_classes_are_not_for_three(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures, tmp_path / "run", "--select", "auroc") == 2
    assert "Unknown metric for --select 'auroc'. Known: top1, macro_f1, balanced_accuracy." in capsys.readouterr().err
    assert train(pictures, tmp_path / "run", "--positive", "red") == 2
    assert "--positive names one of two classes, but these data have 3" in capsys.readouterr().err


def test_a_metric_that_validation_leaves_undefined_chooses_nothing(
    two_colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(two_colours, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "val" / "red")
    assert train(tmp_path / "data", tmp_path / "run", "--select", "auroc") == 2
    assert "'auroc' can't choose the checkpoint: the split 'val' doesn't hold" in capsys.readouterr().err
    assert train(tmp_path / "data", tmp_path / "run", "--epochs", "1") == 0
    line = "undefined and left out: auroc, average_precision, sensitivity (no image of 'red')\n"
    assert line in capsys.readouterr().out
    assert set(card_of(tmp_path / "run")["details"]["undefined"]) == {"auroc", "average_precision", "sensitivity"}


def spoil(picture: Path, *, keep_ends: bool) -> None:
    """Cut a picture off in the middle, or damage its middle so that only decoding it shows that."""
    content = bytearray(picture.read_bytes())
    middle = len(content) // 2
    if keep_ends:
        content[middle - 400 : middle + 400] = bytes(800)
    picture.write_bytes(content if keep_ends else content[:middle])


@pytest.mark.parametrize(("keep_ends", "patience"), [(False, []), (True, []), (True, ["--fit.patience", "1"])])
def test_a_metric_that_skipped_images_leave_undefined_chooses_nothing(
    two_colours: Path, tmp_path: Path, keep_ends: bool, patience: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(two_colours, tmp_path / "data")
    for picture in (tmp_path / "data" / "val" / "red").iterdir():
        spoil(picture, keep_ends=keep_ends)
    more = ["--bad-data", "skip", "--select", "auroc", *patience]
    assert train(tmp_path / "data", tmp_path / "run", *more) == 2
    error = capsys.readouterr().err
    if keep_ends:
        assert "'auroc' can't choose the checkpoint: the images of the validation split that can be read leave" in error
        assert "Choose another metric with --select, or mend the images" in error
    else:
        assert "'auroc' can't choose the checkpoint: the split 'val' doesn't hold" in error
        assert "(no image of 'red', and 5 of its images can't be read)" in error
        assert not (tmp_path / "run").exists()


def test_folds_of_balanced_data_look_for_the_same_class(pictures: Path, tmp_path: Path) -> None:
    """Seven of each leave three and four to train on, in one fold this way and in the other that way."""
    for name in ("blue", "red"):
        for index in range(7):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(pictures / "train" / name / f"{index:02}.png", tmp_path / "data" / name)
    assert train(tmp_path / "data", tmp_path / "run", "--folds", "2", "--epochs", "1") == 0
    assert [card_of(tmp_path / "run" / name)["details"]["positive"] for name in ("", "fold-1", "fold-2")] == ["red"] * 3
