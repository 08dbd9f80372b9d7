"""What is frozen is written once beside the checkpoints; they have the rest."""

import json
import re
from pathlib import Path

import pytest
import torch
from onetrunk.apps import load_model
from onetrunk.apps.cli import main

WORDS = (
    "classification train --backbone timm/test_resnet --weights none --image-size 32 --batch-size 8 --workers 0 "
    "--device cpu --epochs 2 --seed 1"
)


def train(data: Path, run: Path, words: str) -> int:
    return main([*f"{WORDS} {words}".split(), "--data", str(data), "--output", str(run)])


def trunk_of(file: Path) -> set[str]:
    content = torch.load(file, map_location="cpu", weights_only=True)
    state = content.get("state_dict", content)
    return {name.removeprefix("backbone.") for name in state if name.startswith("backbone.")}


@pytest.mark.parametrize(
    ("freeze", "in_checkpoint", "beside"),
    [("all", "none", "all"), ("c3", "some", "some"), ("none", "all", "none"), ("until:1", "all", "all")],
)
def test_the_frozen_part_lies_beside_the_checkpoints(
    freeze: str, in_checkpoint: str, beside: str, pictures: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train(pictures, run, f"--freeze {freeze}") == 0
    names = set(load_model(run).backbone.state_dict())
    saved = {name: trunk_of(run / "checkpoints" / f"{name}.ckpt") for name in ("last", "best")}
    fixed = trunk_of(run / "checkpoints" / "fixed.ckpt") if beside != "none" else set()
    assert (run / "checkpoints" / "fixed.ckpt").exists() == (beside != "none")
    for found, expected in ((saved["last"], in_checkpoint), (fixed, beside)):
        share = {"none": found == set(), "all": found == names, "some": set() < found < names}
        assert share[expected]
    assert saved["last"] | fixed == saved["best"] | fixed == names


def test_a_damaged_file_is_named(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert train(pictures, run, "--freeze all") == 0
    (run / "results.json").unlink()  # as if it had been killed before its end
    fixed = run / "checkpoints" / "fixed.ckpt"
    fixed.write_bytes(fixed.read_bytes()[:1000])
    assert train(pictures, run, "--freeze all --resume") == 2
    assert re.search(r"fixed.ckpt' is damaged. Start the run anew: --overwrite", capsys.readouterr().err)


@pytest.mark.parametrize("words", ["", "--augment.flip 0 --augment.min-scale 1 --cache on", "--optim.ema 0.9"])
def test_a_run_goes_on_with_its_own_trunk(words: str, pictures: Path, tmp_path: Path) -> None:
    """The weights' own file may be another by then."""
    first, run = tmp_path / "first", tmp_path / "run"
    assert train(pictures, first, "--freeze none") == 0
    assert train(pictures, run, f"{words} --freeze all --weights {first}") == 0
    whole = (run / "model" / "model.safetensors").read_bytes()
    figures = json.loads((run / "results.json").read_text())["metrics"]
    (run / "results.json").unlink()
    assert train(pictures, first, "--freeze none --seed 2 --overwrite") == 0
    assert train(pictures, run, f"{words} --freeze all --weights {first} --resume") == 0
    assert (run / "model" / "model.safetensors").read_bytes() == whole
    assert json.loads((run / "results.json").read_text())["metrics"] == figures
