"""A network whose numbers are no longer finite gets no card, no model, and no checkpoint."""

import math
from pathlib import Path

import pytest
import torch
from onetrunk.apps.classification.head import ClassificationHead
from onetrunk.apps.cli import main
from onetrunk.apps.divergence import is_finite
from onetrunk.apps.task import Task

TINY = "--backbone timm/test_resnet --weights none --image-size 32 --batch-size 8 --workers 0 --device cpu".split()


def train(data: Path, run: Path, *more: str) -> int:
    return main(["classification", "train", "--data", str(data), "--output", str(run), *TINY, "--epochs", "3", *more])


def test_a_learning_rate_that_is_much_too_high_is_said(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures, tmp_path / "run", "--learning-rate", "1e12") == 2
    error = capsys.readouterr().err
    assert "The training diverged in epoch 1: the network's outputs or its loss are NaN or infinite" in error
    assert "smaller --learning-rate than 1e+12, or with --fit.clip-norm 1" in error
    assert not (tmp_path / "run" / "results.json").exists()
    assert not (tmp_path / "run" / "model").exists()
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.parametrize("factor", [math.nan, 1.0], ids=["weights too", "loss only"])
@pytest.mark.parametrize("save_every", ["0", "300"])
def test_the_checkpoints_before_stay(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    save_every: str,
    factor: float,
) -> None:
    right = Task.training_step

    def diverge(self: Task, *arguments: object) -> torch.Tensor:
        loss = right(self, *arguments)
        return loss * factor + math.inf if self.current_epoch == 1 else loss

    monkeypatch.setattr(Task, "training_step", diverge)
    assert train(pictures, tmp_path / "run", "--fit.save-every", save_every) == 2
    assert "The training diverged in epoch 2" in capsys.readouterr().err
    for name in ("best", "last"):
        checkpoint = torch.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert is_finite(checkpoint["state_dict"])
    assert checkpoint["global_step"] == 5, "that of the first epoch's end"


def test_an_evaluation_of_such_a_network_is_none(
    trained_run: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    right = ClassificationHead.forward

    def spoil_one(self: ClassificationHead, *arguments: object) -> torch.Tensor:
        logits = right(self, *arguments)
        logits[0, 0] = -math.inf  # its loss may be finite all the same
        return logits

    monkeypatch.setattr(ClassificationHead, "forward", spoil_one)
    words = ["--model", str(trained_run), "--data", str(pictures), "--device", "cpu", "--workers", "0"]
    assert main(["classification", "evaluate", *words, "--output", str(tmp_path / "out")]) == 2
    assert "The network's outputs on this split, or their loss, are NaN or infinite" in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.json").exists()


def test_outputs_of_any_structure_are_looked_through() -> None:
    fine, bad = torch.ones(2), torch.tensor([1.0, math.nan])
    assert is_finite({"boxes": [fine, (fine, "word")], "labels": torch.arange(3), "nothing": None})
    for output in (bad, [fine, bad], {"boxes": [(bad,)]}, fine * math.inf):
        assert not is_finite(output)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_number_among_many_is_found(dtype: torch.dtype, bad: float) -> None:
    numbers = torch.linspace(-6e4, 6e4, 1_001, dtype=torch.float64).to(dtype).reshape(7, 11, 13)
    assert is_finite(numbers)
    assert is_finite({"levels": [numbers.requires_grad_(), numbers[:0]], "classes": (numbers > 0, torch.arange(3))})
    spoiled = numbers.detach().clone()
    spoiled[3, 5, 8] = bad
    assert not is_finite(spoiled)
    assert not is_finite({"levels": [numbers, spoiled], "count": 3})
    maps = spoiled.reshape(1, 7, 11, 13).contiguous(memory_format=torch.channels_last)
    assert not is_finite(maps)
    maps[0, 3, 5, 8] = 0
    assert is_finite(maps)
