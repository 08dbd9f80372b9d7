"""Temperatures against hand-made cases, and through the command line."""

import json
from pathlib import Path

import pytest
import torch
from onetrunk.apps import load_model
from onetrunk.apps.classification.calibration import fit_temperature, log_loss
from onetrunk.apps.cli import main

GENERATOR = torch.Generator().manual_seed(0)
TINY = "--backbone timm/test_resnet --weights none --image-size 32 --batch-size 8 --workers 0 --device cpu".split()


def test_overconfident_logits_get_the_factor_by_which_they_were_stretched() -> None:
    honest = 2 * torch.randn(20_000, 4, generator=GENERATOR, dtype=torch.float64)
    labels = torch.multinomial(torch.softmax(honest, dim=1), 1, generator=GENERATOR)[:, 0]
    assert fit_temperature(3 * honest, labels, "softmax") == pytest.approx(3, rel=0.03)
    assert fit_temperature(0.5 * honest, labels, "softmax") == pytest.approx(0.5, rel=0.03)


def test_sigmoids_have_one_temperature_too() -> None:
    honest = 2 * torch.randn(20_000, 3, generator=GENERATOR, dtype=torch.float64)
    labels = torch.bernoulli(torch.sigmoid(honest), generator=GENERATOR)
    assert fit_temperature(3 * honest, labels, "sigmoid") == pytest.approx(3, rel=0.03)


def test_classes_against_the_rest_have_one_too() -> None:
    honest = 2 * torch.randn(20_000, 3, generator=GENERATOR, dtype=torch.float64)
    shares = torch.sigmoid(honest) / torch.sigmoid(honest).sum(dim=1, keepdim=True)
    labels = torch.multinomial(shares, 1, generator=GENERATOR)[:, 0]
    assert float(log_loss(honest, labels, "one_vs_rest")) == pytest.approx(
        float(-shares.gather(1, labels[:, None]).log().mean())
    )
    assert fit_temperature(3 * honest, labels, "one_vs_rest") == pytest.approx(3, rel=0.05)


def test_two_images_by_hand() -> None:
    # one right and one wrong of four alike, the other way round in the ratio 3 to 1: p = 3/4, so logit / T = log 3
    logits = torch.tensor([[2.0, 0.0]] * 4, dtype=torch.float64)
    temperature = fit_temperature(logits, torch.tensor([0, 0, 0, 1]), "softmax")
    assert temperature == pytest.approx(2 / float(torch.tensor(3.0).log()), rel=1e-4)


@pytest.mark.parametrize("labels", [[0, 1], [1, 0]], ids=["all right", "all wrong"])
def test_there_is_none_where_the_loss_falls_for_ever(labels: list[int]) -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    assert fit_temperature(logits, torch.tensor(labels), "softmax") is None


def train(data: Path, run: Path, *more: str) -> dict:
    words = ["classification", "train", "--data", str(data), "--output", str(run), "--epochs", "4", *TINY]
    assert main([*words, "--learning-rate", "0.01", *more]) == 0
    return json.loads((run / "results.json").read_text())


@pytest.fixture(scope="module")
def mislabelled(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table in which every third validation picture has the wrong label, so that no network is right to be sure."""
    table = tmp_path_factory.mktemp("mislabelled") / "t.csv"
    rows, wrong = ["path,label,split"], {"blue": "green", "green": "red", "red": "blue"}
    for place, picture in enumerate(sorted(pictures.rglob("*.png"))):
        split, label = picture.parts[-3:-1]
        rows.append(f"{picture},{wrong[label] if split == 'val' and place % 3 == 0 else label},{split}")
    table.write_text("\n".join(rows) + "\n")
    return table


@pytest.fixture(scope="module")
def runs(mislabelled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("calibrated")
    train(mislabelled, folder / "plain")
    train(mislabelled, folder / "calibrated", "--calibrate")
    return folder / "plain", folder / "calibrated"


def read(folder: Path, name: str) -> list | dict:
    return json.loads((folder / name).read_text())


def test_the_card_tells_before_and_after(runs: tuple[Path, Path]) -> None:
    plain, calibrated = (read(run, "results.json") for run in runs)
    about = calibrated["details"]["calibration"]
    assert about["images"] == 15
    assert about["after"]["log_loss"] < about["before"]["log_loss"]
    assert about["before"]["ece"] == pytest.approx(plain["metrics"]["ece"]["value"], abs=1e-6)
    assert about["after"]["ece"] == pytest.approx(calibrated["metrics"]["ece"]["value"], abs=1e-6)
    assert "the same images" in about["note"]
    assert "calibration" not in plain["details"]


def test_what_is_best_stays_best(runs: tuple[Path, Path]) -> None:
    for before, after in zip(*(read(run, "predictions.json") for run in runs), strict=True):
        assert [one["class"] for one in before["top"]] == [one["class"] for one in after["top"]]
        assert before["top"][0]["probability"] != after["top"][0]["probability"]
    assert read(runs[0], "results.json")["metrics"]["top1"] == read(runs[1], "results.json")["metrics"]["top1"]


def test_the_model_file_carries_the_temperature(runs: tuple[Path, Path], mislabelled: Path, tmp_path: Path) -> None:
    temperature = read(runs[1], "results.json")["details"]["calibration"]["temperature"]
    plain, calibrated = (load_model(run) for run in runs)
    assert (plain.head.temperature, calibrated.head.temperature) == (1.0, temperature)
    words = ["classification", "evaluate", "--model", str(runs[1]), "--data", str(mislabelled), "--workers", "0"]
    assert main([*words, "--device", "cpu", "--output", str(tmp_path), "--batch-size", "8"]) == 0
    assert read(tmp_path, "results.json")["metrics"] == read(runs[1], "results.json")["metrics"]


def test_training_knows_no_temperature(runs: tuple[Path, Path]) -> None:
    plain, calibrated = (load_model(run) for run in runs)
    assert (runs[0] / "log.csv").read_text().count("\n") == 5
    features = {"embedding": torch.randn(2, plain.backbone.embedding_dim, generator=GENERATOR)}
    logits = plain.head(features, None)
    assert torch.allclose(calibrated.head(features, None) * calibrated.head.temperature, logits, atol=1e-6)
    assert torch.equal(calibrated.head.train()(features, None), logits)


def test_a_split_without_errors_determines_none(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = train(pictures, tmp_path / "run", "--calibrate", "--epochs", "8")
    assert card["metrics"]["top1"]["value"] == 1.0
    assert "calibration: no temperature is best" in capsys.readouterr().out
    about = card["details"]["calibration"]
    assert about["temperature"] == load_model(tmp_path / "run").head.temperature == 1.0
    assert "no temperature is best on these images" in about["note"]


def test_any_number_of_labels(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["path,labels,split"]
    for place, picture in enumerate(sorted(pictures.rglob("*.png"))):
        split, label = picture.parts[-3:-1]
        rows.append(f"{picture},{label}{';striped' if place % 3 else ''},{split}")
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    about = train(tmp_path / "t.csv", tmp_path / "run", "--calibrate")["details"]["calibration"]
    assert f"calibration: temperature {about['temperature']:.4f}, log loss" in capsys.readouterr().out
    assert about["after"]["log_loss"] <= about["before"]["log_loss"]
    assert load_model(tmp_path / "run").head.temperature == about["temperature"]
