"""Every shipped configuration goes through the real command line."""

import re
from pathlib import Path

import pytest
from onetrunk.apps.cli import main

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda file: file.stem)
def test_it_runs(config: Path, pictures: Path, tmp_path: Path) -> None:
    words = [config.parent.name, "train", "--config", str(config), "--data", str(pictures)]
    more = ["--output", str(tmp_path / "run"), "--epochs", "1", "--workers", "0", "--device", "cpu"]
    assert main([*words, *more]) == 0


@pytest.mark.parametrize("config", CONFIGS, ids=lambda file: file.stem)
def test_it_opens_with_its_command_and_the_result_to_expect(config: Path) -> None:
    comment = [line for line in config.read_text().splitlines() if line.startswith("#")]
    assert any(f"onetrunk {config.parent.name} train --config configs/" in line for line in comment)
    assert any(re.match(r"# Expect .*0\.\d", line) for line in comment)
