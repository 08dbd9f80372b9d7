"""Tables in a pipe hold names whole, on one line."""

from dataclasses import replace
from pathlib import Path

import pytest
from onetrunk.apps.card import Card, print_card
from onetrunk.apps.console import wide_console
from rich.table import Table


def test_nothing_is_cut_or_folded_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    name = "runs/" + "a long [name] of a run/" * 20
    table = Table("run", "metric", title="some runs")
    table.add_row(name, "balanced_accuracy")
    wide_console().print(table)
    shown = capsys.readouterr().out
    assert any(name in line and "balanced_accuracy" in line for line in shown.splitlines())
    assert max(map(len, shown.splitlines())) < len(name) + 40


def test_a_card_of_many_seeds_is_whole(
    trained_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    card = Card.read(trained_run / "results.json")
    each = {name: {"spread": 0.125, "values": [0.5, 0.6, 0.7, 0.8, 0.9]} for name in card.metrics}
    print_card(replace(card, repeats={"over": "seed", "numbers": list(range(5)), "metrics": each}))
    lines = capsys.readouterr().out.splitlines()
    figures = card.metrics["balanced_accuracy"]
    (line,) = (line for line in lines if "balanced_accuracy" in line)
    assert f"{figures['low']:.4f} to {figures['high']:.4f}" in line
    assert "0.9000" in line
