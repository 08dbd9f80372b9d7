"""On a GPU: the trunk's forms compute what the CPU computes, and commands give what they give there."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from onetrunk.apps import features
from onetrunk.apps.calibration import agree
from onetrunk.apps.cli import main
from onetrunk.apps.fast_trunk import FastTrunk, Form, choose_trunk
from onetrunk.apps.hardware import choose_device
from onetrunk.backbones import build_backbone
from torch import nn

pytestmark = pytest.mark.gpu

CANVAS, BATCH = (96, 96), 16


@pytest.fixture(scope="module")
def gpu():
    return choose_device("cuda")


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    backbone = build_backbone("resnet18", weights="none", levels=["c3", "c5", "embedding"]).eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
    return backbone


def sample(count=BATCH):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, *CANVAS), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def expected(backbone):
    """The levels on the CPU, in float64: what a form is off is its own."""
    exact = build_backbone("resnet18", weights="none", levels=["c3", "c5", "embedding"]).eval()
    exact.load_state_dict(backbone.state_dict())
    with torch.no_grad():
        return exact.double()(backbone.preprocessing.normalize(sample()).double())


def run(backbone, form, gpu, images):
    trunk = FastTrunk(backbone, form, device=gpu, canvas=CANVAS, batch_size=BATCH)
    levels = trunk(backbone.preprocessing.normalize(images.to(gpu)))
    assert trunk.form == form, "it fell back"
    assert (trunk.folded > 0) == form.is_compiled
    return trunk, {name: level.cpu() for name, level in levels.items()}


@pytest.mark.parametrize("is_compiled", [False, True], ids=["eager", "compiled"])
def test_fp32_is_fp32(backbone, gpu, expected, is_compiled):
    _, found = run(backbone, Form("fp32", is_compiled), gpu, sample())
    for name, level in expected.items():
        assert (found[name] - level).abs().max() <= 1e-4 * level.abs().max(), name


@pytest.mark.parametrize("is_compiled", [False, True], ids=["eager", "compiled"])
def test_bf16_agrees(backbone, gpu, expected, is_compiled):
    _, found = run(backbone, Form("bf16", is_compiled), gpu, sample())
    assert all(level.dtype == torch.float32 for level in found.values())
    assert agree(expected, found)


def test_the_next_pass_leaves_the_last_ones_levels_alone(backbone, gpu):
    images = backbone.preprocessing.normalize(sample(2 * BATCH).to(gpu))
    trunk = FastTrunk(backbone, Form("bf16", True), device=gpu, canvas=CANVAS, batch_size=BATCH)
    first = trunk(images[:BATCH])
    kept = {name: level.clone() for name, level in first.items()}
    again = [trunk(images[BATCH:]) for _ in range(3)][-1]
    for name, level in kept.items():
        assert torch.equal(first[name], level)
        assert not torch.equal(again[name], level)


def test_a_part_of_a_batch_is_not_compiled_for(backbone, gpu):
    trunk, whole = run(backbone, Form("fp32", True), gpu, sample())
    part = trunk(backbone.preprocessing.normalize(sample()[:3].to(gpu)))
    for name, level in part.items():
        assert (level.cpu() - whole[name][:3]).abs().max() <= 1e-4 * whole[name].abs().max(), name


def test_what_is_fastest_is_measured(backbone, gpu, tmp_path, monkeypatch):
    monkeypatch.setenv("ONETRUNK_CACHE", str(tmp_path))
    chosen = {
        "precision": "auto",
        "device": gpu,
        "canvas": (224, 224),
        "batch_size": 64,
        "images": 5000,
        "compiling": "auto",
    }
    images = torch.randint(0, 256, (8, 3, 224, 224), dtype=torch.uint8)
    assert choose_trunk(backbone, sample=images, **chosen).form.precision == "bf16"
    assert list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_extracted_features_are_those_of_the_cpu(pictures: Path, tmp_path: Path, precision: str) -> None:
    words = ["--data", str(pictures), "--backbone", "resnet18", "--weights", "none", "--image-size", "64"]
    found = {}
    for device, its_precision in (("cpu", "fp32"), ("cuda", precision)):
        output = tmp_path / f"{device}.npz"
        more = ["--output", str(output), "--device", device, "--precision", its_precision, "--workers", "2"]
        assert main(["features", "extract", *words, *more]) == 0
        found[device] = features.load(output).X.astype(np.float64)
    if precision == "fp32":
        apart = np.abs(found["cuda"] - found["cpu"]).max()
        assert apart <= 1e-4 * np.abs(found["cpu"]).max()
    else:
        lengths = np.prod([np.linalg.norm(rows, axis=1) for rows in found.values()], axis=0)
        cosines = (found["cuda"] * found["cpu"]).sum(axis=1) / lengths
        assert cosines.min() >= 0.995
        assert np.median(cosines) >= 0.999


def test_an_evaluation_on_the_gpu_gives_the_figures_of_the_cpu(pictures: Path, tmp_path: Path) -> None:
    run, data = tmp_path / "run", ["--data", str(pictures)]
    words = "--backbone timm/test_resnet --weights none --image-size 32 --epochs 4 --batch-size 8 --workers 0"
    assert main(["classification", "train", *data, "--output", str(run), *words.split(), "--device", "cpu"]) == 0
    found = {}
    for device in ("cpu", "cuda"):
        more = ["--output", str(tmp_path / device), "--device", device, "--precision", "fp32"]
        assert main(["classification", "evaluate", "--model", str(run), *data, *more]) == 0
        found[device] = json.loads((tmp_path / device / "results.json").read_text())["metrics"]
    for name, row in found["cpu"].items():
        assert found["cuda"][name]["value"] == pytest.approx(row["value"], abs=1e-6), name
