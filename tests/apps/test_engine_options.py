"""Each option of the engine, alone and in combinations: it trains, and its model evaluates to its card."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from onetrunk.apps.cli import main
from safetensors.torch import load_file

TINY = (
    "--backbone timm/test_resnet --weights none --image-size 32 --batch-size 8 --workers 0 --device cpu "
    "--epochs 2 --optim.trunk-factor 1 --learning-rate 0.01"
).split()

OPTIONS = {
    "layer decay": "--optim.layer-decay 0.7",
    "one cycle": "--optim.schedule one_cycle",
    "one cycle, sgd": "--optim.schedule one_cycle --optim.name sgd",
    "constant": "--optim.schedule constant",
    "ema": "--optim.ema 0.9",
    "early stopping": "--fit.patience 1",
    "accumulation": "--fit.accumulate 3",
    "clipping": "--fit.clip-norm 0.5",
    "mixup": "--augment.mixup 0.2",
    "cutmix": "--augment.cutmix 1",
    "randaugment": "--augment.policy randaugment",
    "trivialaugment": "--augment.policy trivialaugment",
    "erasing": "--augment.erasing 0.5",
    "vertical flips": "--augment.vertical-flip 0.5",
    "balanced sampling": "--sampling balanced",
    "class weights": "--loss.class-weights balanced",
    "label smoothing": "--loss.label-smoothing 0.1",
    "until": "--freeze until:1",
    "norms": "--tune norm",
    "lora": "--tune lora",
    "checkpointed activations": "--fit.checkpoint-activations",
}
#: Options that exclude each other.
EXCLUSIVE = [
    {"one cycle", "one cycle, sgd", "constant"},
    {"randaugment", "trivialaugment"},
    {"until", "norms", "lora"},
    {"balanced sampling", "class weights"},
]


def combination(seed: int) -> str:
    """Return seven options that go together."""
    generator = random.Random(seed)
    chosen: list[str] = []
    for name in generator.sample(sorted(OPTIONS), len(OPTIONS)):
        if len(chosen) < 7 and not any(name in group and group & set(chosen) for group in EXCLUSIVE):
            chosen.append(name)
    return " ".join(OPTIONS[name] for name in chosen)


CASES = {**OPTIONS, **{f"combination {seed}": combination(seed) for seed in range(3)}}


def train(data: Path, run: Path, *more: str) -> int:
    return main(["classification", "train", "--data", str(data), "--output", str(run), *TINY, *more])


@pytest.mark.parametrize("name", sorted(CASES))
def test_it_trains_and_evaluates(pictures: Path, tmp_path: Path, name: str) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert train(pictures, run, *CASES[name].split()) == 0
    words = ["classification", "evaluate", "--model", str(run), "--data", str(pictures), "--workers", "0"]
    # in the same batches: others may be rounded otherwise
    assert main([*words, "--device", "cpu", "--output", str(out), "--batch-size", "8"]) == 0
    first, second = (json.loads((folder / "results.json").read_text()) for folder in (run, out))
    assert first["metrics"] == second["metrics"]
    assert not [key for key in load_file(run / "model" / "model.safetensors") if "lora" in key]


def test_a_trunk_is_thawed_whole(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its weights stay as they are for an epoch; then they, and the statistics of its batch norms, move."""
    assert train(pictures, tmp_path / "thawed", "--freeze", "until:1", "--epochs", "3") == 0
    assert "parameters are trained, the trunk's from epoch 2 on\n" in capsys.readouterr().out
    assert train(pictures, tmp_path / "frozen", "--freeze", "all") == 0
    thawed, frozen = (
        torch.load(tmp_path / name / "checkpoints" / file, weights_only=True)
        for name, file in (("thawed", "last.ckpt"), ("frozen", "fixed.ckpt"))
    )
    thawed = thawed["state_dict"]
    moved = {key for key in thawed if key.startswith("backbone.") and not torch.equal(thawed[key], frozen[key])}
    assert {key for key in thawed if key.endswith(("running_mean", "conv1.weight"))} <= moved


def test_a_run_that_stops_early_before_the_thaw_says_so(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    more = ["--freeze", "until:4", "--epochs", "6", "--fit.patience", "1", "--learning-rate", "0"]
    assert train(pictures, run, *more) == 0
    said = "stopped early after epoch 2: the weights of epoch 1 are kept; the trunk was never thawed"
    assert said in capsys.readouterr().out
    card = json.loads((run / "results.json").read_text())
    assert card["details"]["training"] == {"epochs": 2, "best_epoch": 1, "stopped_early": True}
    assert card["backbone"]["frozen_fingerprint"] == card["backbone"]["fingerprint_after"]


def test_the_rest_of_an_epoch_is_averaged_over_what_it_has(pictures: Path, tmp_path: Path) -> None:
    """Of more batches than an epoch has, or of just so many: a step is the mean of all of them."""
    batches = -(-sum(1 for _ in (pictures / "train").rglob("*.png")) // 8)
    for name, accumulate in (("all", batches), ("more", 4 * batches)):
        more = ["--fit.accumulate", str(accumulate), "--optim.name", "sgd", "--epochs", "2"]
        assert train(pictures, tmp_path / name, *more) == 0
    log = [(tmp_path / name / "log.csv").read_text().splitlines()[1].split(",")[2] for name in ("all", "more")]
    assert float(log[0]) == pytest.approx(float(log[1]), rel=1e-6)
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("all", "more"))
    for key, tensor in first.items():
        torch.testing.assert_close(tensor, second[key])


def test_file_names_of_another_encoding_are_kept(pictures: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(pictures, data)
    picture = next((data / "val").rglob("*.png"))
    picture.rename(picture.with_name(os.fsdecode(b"caf\xe9.png")))
    assert train(data, run) == 0
    assert b"caf\xe9.png" in (run / "predictions.csv").read_bytes()
    rows = json.loads((run / "predictions.json").read_text())
    assert any(row["image"].endswith(os.fsdecode(b"caf\xe9.png")) for row in rows)
    words = ["classification", "predict", "--model", str(run), "--images", str(data / "val"), "--workers", "0"]
    assert main([*words, "--device", "cpu"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", r"what is frozen of the trunk changed: SHA-256 .* before, .* after"),  # at the first checkpoint
        ("--optim.ema 0.9", r"the frozen trunk changed: SHA-256 .* when thawed"),
    ],
)
def test_a_trunk_that_changes_while_it_is_frozen_stops_the_run(
    words: str, message: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onetrunk.backbones import Backbone

    def thaw(self: Backbone, mode: bool = True) -> Backbone:  # what happens where only gradients are stopped
        return torch.nn.Module.train(self, mode)

    monkeypatch.setattr(Backbone, "train", thaw)
    with pytest.raises(RuntimeError, match=message):
        train(pictures, tmp_path / "run", "--freeze", "until:1", *words.split())


def test_an_average_of_the_weights_leaves_a_frozen_trunk_as_it_is(pictures: Path, tmp_path: Path) -> None:
    assert train(pictures, tmp_path / "run", "--freeze", "all", "--optim.ema", "0.9") == 0
    backbone = json.loads((tmp_path / "run" / "results.json").read_text())["backbone"]
    assert backbone["fingerprint_before"] == backbone["fingerprint_after"]


def test_what_is_kept_is_the_average(pictures: Path, tmp_path: Path) -> None:
    """With a decay of 0 it is the last weights, with another one it isn't."""
    states = {}
    for decay in ("0", "0.9"):
        assert train(pictures, tmp_path / decay, "--optim.ema", decay) == 0
        last = torch.load(tmp_path / decay / "checkpoints" / "last.ckpt", weights_only=True)
        states[decay] = (last["state_dict"]["head.classifier.weight"], last["current_model_state"])
    assert torch.equal(states["0"][0], states["0"][1]["head.classifier.weight"])
    assert not torch.equal(states["0.9"][0], states["0.9"][1]["head.classifier.weight"])
    assert torch.equal(states["0"][0], states["0.9"][1]["head.classifier.weight"]), "training itself is the same"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--freeze until:2", "thaws the trunk after 2 epochs, but --epochs is 2"),
        ("--freeze until:x", r"takes none, all, a level such as c3, or until:N with N epochs, not 'until:x'"),
        ("--freeze until", "not 'until'"),
        ("--freeze until:²", "not 'until:²'"),
        ("--sampling balanced --loss.class-weights balanced", "together twice: use one of them"),
        ("--freeze c3:1", "not 'c3:1'"),
        ("--freeze all --tune norm", "--tune norm trains a part of the trunk and --freeze all forbids it"),
        ("--tune lora --lora.rank 0", "--lora.rank takes 1 or more"),
        ("--seeds 1 1", "--seeds takes different numbers"),
        ("--folds 1", "--folds takes 2 or more"),
        ("--fold 3", "--fold takes a number from 1 to --folds"),
        ("--seeds 0 1 --folds 3", "--seeds and --folds exclude each other"),
        ("--optim.ema 2", "--optim.ema takes 0 to 1"),
        ("--fit.patience 0", "--fit.patience takes 1 or more"),
        ("--strategy dpd", "--strategy dpd: takes auto, ddp, .* or ddp_find_unused_parameters_true; .*mean 'ddp'"),
        ("--strategy ddp_spawn", "--strategy ddp_spawn: takes auto, ddp, .*; others start processes in ways"),
        ("--strategy fsdp", "--strategy fsdp: takes auto, ddp, .* or save a model in parts"),
        ("--strategy deepspeed", "--strategy deepspeed: takes auto, ddp"),
        ("--strategy xla", "--strategy xla: takes auto, ddp"),
        ("--devices some", "--devices some"),
        ("--tune norms", "Did you mean 'norm'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    import re

    assert train(pictures, tmp_path / "run", *words.split()) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
