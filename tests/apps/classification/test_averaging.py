"""Averaged probabilities, and the views whose outputs are averaged, through the command line."""

import json
from pathlib import Path

import pytest
import torch
from onetrunk.apps.classification.averaging import mean_sigmoid, mean_softmax
from onetrunk.apps.cli import main

LOGITS = [torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


def test_the_softmax_of_the_average_is_the_average_of_softmaxes() -> None:
    expected = sum(torch.softmax(one, dim=1) for one in LOGITS) / 3
    assert torch.allclose(torch.softmax(mean_softmax(LOGITS), dim=1), expected)


def test_the_sigmoid_of_the_average_is_the_average_of_sigmoids() -> None:
    expected = sum(torch.sigmoid(one) for one in LOGITS) / 3
    assert torch.allclose(torch.sigmoid(mean_sigmoid(LOGITS)), expected)


def test_certainty_stays_finite() -> None:
    sure = [torch.tensor([[200.0, -200.0]]), torch.tensor([[199.0, -201.0]])]
    assert torch.isfinite(mean_sigmoid(sure)).all()
    assert torch.isfinite(mean_softmax(sure)).all()


def command(name: str, run: Path, out: Path, *more: str) -> list[dict]:
    words = ["classification", name, "--model", str(run), "--output", str(out), "--workers", "0", "--device", "cpu"]
    assert main([*words, *more]) == 0
    return json.loads((out / "predictions.json").read_text())


@pytest.mark.parametrize(
    ("more", "views"), [(["--flips"], 2), (["--crops", "5"], 5), (["--flips", "--crops", "5"], 10)]
)
def test_evaluate_and_predict_look_at_several_views(
    trained_run: Path, pictures: Path, tmp_path: Path, more: list[str], views: int
) -> None:
    evaluated = command("evaluate", trained_run, tmp_path / "e", "--data", str(pictures), *more)
    card = json.loads((tmp_path / "e" / "results.json").read_text())
    assert len(card["details"]["views"]) == views
    predicted = command("predict", trained_run, tmp_path / "p", "--images", str(pictures / "val"), *more)
    plain = command("predict", trained_run, tmp_path / "plain", "--images", str(pictures / "val"))
    assert [row["top"] for row in evaluated] == [row["top"] for row in predicted]
    assert [row["top"] for row in plain] != [row["top"] for row in predicted]


def test_a_card_without_views_names_none(trained_run: Path) -> None:
    assert "views" not in json.loads((trained_run / "results.json").read_text())["details"]
