"""What --tune trains, through the command line: the model files before and after, tensor by tensor."""

import json
from pathlib import Path

import pytest
import torch
from onetrunk.apps.cli import main
from onetrunk.backbones import build_backbone
from safetensors.torch import load_file

RANK = 2
TINY = (
    "--image-size 32 --batch-size 8 --workers 0 --device cpu --learning-rate 0.01 --optim.trunk-factor 1 --epochs 2"
).split()


def tune(data: Path, trained_run: Path, run: Path, *more: str) -> int:
    words = ["classification", "train", "--data", str(data), "--backbone", "timm/test_resnet", *TINY]
    return main([*words, "--weights", str(trained_run), "--output", str(run), *more])


def trunk_of(run: Path) -> dict[str, torch.Tensor]:
    state = load_file(run / "model" / "model.safetensors")
    prefix = "backbone.network."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def changed(before: Path, after: Path) -> set[str]:
    first, second = trunk_of(before), trunk_of(after)
    assert first.keys() == second.keys()
    return {name for name in first if not torch.equal(first[name], second[name])}


def card_of(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


def proof(card: dict, updates: str) -> str:
    """The line of the printed card about what could not change."""
    print_of_frozen = card["backbone"]["frozen_fingerprint"][:16]
    return f"frozen     proven: the SHA-256 of the trunk without the {updates} is {print_of_frozen}… before and after"


def layers(kind: type[torch.nn.Module]) -> list[tuple[str, torch.nn.Module]]:
    backbone = build_backbone("timm/test_resnet", weights="none", levels=["embedding"])
    return [(path, module) for path, module in backbone.network.named_modules() if isinstance(module, kind)]


def head_parameters(run: Path) -> int:
    state = load_file(run / "model" / "model.safetensors")
    return sum(tensor.numel() for name, tensor in state.items() if name.startswith("head."))


def test_norm_changes_the_scales_and_shifts_of_norms_and_nothing_else(
    trained_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert tune(pictures, trained_run, run, "--tune", "norm") == 0
    norms = layers(torch.nn.BatchNorm2d)
    assert changed(trained_run, run) == {f"{path}.{name}" for path, _ in norms for name in ("weight", "bias")}
    card = card_of(run)
    trained = sum(2 * norm.num_features for _, norm in norms)
    assert card["cost"]["trained_parameters"] == trained + head_parameters(run)
    assert card["backbone"]["fingerprint_before"] == card_of(trained_run)["backbone"]["fingerprint_after"]
    assert card["backbone"]["fingerprint_after"] != card["backbone"]["fingerprint_before"]
    assert proof(card, "scales and shifts of its norms") in capsys.readouterr().out


def test_lora_changes_the_weights_of_layers_and_nothing_else(
    trained_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert tune(pictures, trained_run, run, "--tune", "lora", "--lora.rank", str(RANK)) == 0
    convolutions = layers(torch.nn.Conv2d)
    assert changed(trained_run, run) == {f"{path}.weight" for path, _ in convolutions}
    card = card_of(run)
    trained = sum(
        RANK * (each.in_channels * each.kernel_size[0] * each.kernel_size[1] + each.out_channels)
        for _, each in convolutions
    )
    assert card["cost"]["trained_parameters"] == trained + head_parameters(run)
    assert card["cost"]["parameters"] == sum(p.numel() for p in build_parameters()) + head_parameters(run)
    # until they are folded in, the updates stand beside the weights of the run before
    assert card["backbone"]["frozen_fingerprint"] == card_of(trained_run)["backbone"]["fingerprint_after"]
    assert card["backbone"]["fingerprint_after"] != card["backbone"]["fingerprint_before"]
    assert proof(card, "low-rank updates of its layers") in capsys.readouterr().out


def build_parameters() -> list[torch.nn.Parameter]:
    return list(build_backbone("timm/test_resnet", weights="none", levels=["embedding"]).parameters())


@pytest.mark.parametrize(
    ("how", "what"), [("norm", "scales and shifts of its norms"), ("lora", "low-rank updates of its layers")]
)
def test_below_a_frozen_level_nothing_changes(
    how: str, what: str, trained_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert tune(pictures, trained_run, run, "--tune", how, "--freeze", "c3", "--fit.checkpoint-activations") == 0
    names = changed(trained_run, run)
    assert names
    assert all(name.startswith(("layer3", "layer4")) for name in names)
    assert f"of the trunk without the {what} above c3 is" in capsys.readouterr().out


def test_a_tuned_run_resumes_and_evaluates(trained_run: Path, pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert tune(pictures, trained_run, run, "--tune", "lora", "--lora.rank", str(RANK)) == 0
    words = ["classification", "evaluate", "--model", str(run), "--data", str(pictures), "--workers", "0"]
    assert main([*words, "--device", "cpu", "--output", str(tmp_path / "again")]) == 0
    assert card_of(tmp_path / "again")["metrics"] == card_of(run)["metrics"]
