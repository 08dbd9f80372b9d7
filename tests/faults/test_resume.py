"""A run that was killed or asked to stop, then resumed, ends in the bits of the run that was left alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

#: 28 training images in batches of 8: 4 steps an epoch, 3 epochs
STEPS = 4


def words(data: Path, output: Path, *more: str) -> list[str]:
    """A recipe with augmentation, dropout, worker processes, and batch norm in a trunk that is trained."""
    recipe = (
        "--backbone timm/test_resnet --weights none --image-size 32 --epochs 3 --batch-size 8 --workers 2 "
        "--learning-rate 0.01 --head mlp --head-options.dropout 0.3 --augment.color-jitter 0.4 --fit.save-every 0 "
        "--optim.trunk-factor 1 --device cpu"
    )
    return ["classification", "train", "--data", str(data), "--output", str(output), *recipe.split(), *more]


def outcome(run: Path) -> dict[str, Any]:
    """What a run leaves that must not depend on interruptions."""
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    card = json.loads((run / "results.json").read_text())
    log = [line.rsplit(",", 1)[0] for line in (run / "log.csv").read_text().splitlines()]  # all but the seconds
    return {
        "model": (run / "model" / "model.safetensors").read_bytes(),
        "weights": {name: tensor.numpy().tobytes() for name, tensor in last["state_dict"].items()},
        "momenta": [
            {name: torch.as_tensor(value).numpy().tobytes() for name, value in state.items()}
            for state in last["optimizer_states"][0]["state"].values()
        ],
        "metrics": card["metrics"],
        "log": log,
    }


#: The trunk frozen up to a level, two batches a step, clipping, and another optimizer and schedule
OTHER = [
    *["--freeze", "c3", "--fit.accumulate", "2", "--fit.clip-norm", "0.5", "--optim.name", "sgd"],
    *["--optim.schedule", "constant", "--head", "linear"],
]


@pytest.fixture(scope="module")
def other_undisturbed(run_command, noisy_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = tmp_path_factory.mktemp("other") / "run"
    assert run_command(*words(noisy_pictures, run, *OTHER)) == 0
    return outcome(run)


@pytest.mark.parametrize(
    ("count", "signals"),
    [
        pytest.param(6, ["SIGKILL"], id="kill between the batches of a step"),
        pytest.param(STEPS + 1, ["SIGTERM"], id="term between the batches of a step"),
        pytest.param(STEPS + 3, ["SIGTERM"], id="term where no step is left to save on"),
        pytest.param(3 * STEPS, ["SIGINT"], id="interrupt in the last batch"),
    ],
)
def test_resumed_equals_undisturbed_with_other_options(
    run_command,
    noisy_pictures: Path,
    other_undisturbed: dict[str, Any],
    tmp_path: Path,
    count: int,
    signals: list[str],
) -> None:
    run, log = tmp_path / "run", tmp_path / "log.txt"
    fault = {"place": "step", "count": count, "signals": signals}
    expected = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}[signals[0]]
    assert run_command(*words(noisy_pictures, run, *OTHER), log=log, fault=fault) == expected, log.read_text()
    if expected > 0:
        assert "stopped by" in log.read_text()
    assert run_command(*words(noisy_pictures, run, *OTHER, "--resume"), log=log) == 0, log.read_text()
    assert outcome(run) == other_undisturbed


def test_a_damaged_checkpoint_is_named(run_command, noisy_pictures: Path, tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log.txt"
    fault = {"place": "step", "count": 3, "signals": ["SIGKILL"]}
    assert run_command(*words(noisy_pictures, run), fault=fault) == -9
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    assert run_command(*words(noisy_pictures, run, "--resume"), log=log) == 2
    assert "last.ckpt' is damaged" in log.read_text()


def test_changed_data_are_refused(run_command, noisy_pictures: Path, tmp_path: Path) -> None:
    data, run, log = tmp_path / "data", tmp_path / "run", tmp_path / "log.txt"
    shutil.copytree(noisy_pictures, data)
    fault = {"place": "step", "count": 3, "signals": ["SIGKILL"]}
    assert run_command(*words(data, run), fault=fault) == -9
    (data / "val" / "dark" / "00.png").unlink()
    assert run_command(*words(data, run, "--resume"), log=log) == 2
    assert "The data changed since the run" in log.read_text()


@pytest.fixture(scope="module")
def undisturbed(run_command, noisy_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    assert run_command(*words(noisy_pictures, run)) == 0
    return outcome(run)


FAULTS = [
    pytest.param("step", 3, ["SIGKILL"], id="kill in the first epoch"),
    pytest.param("step", STEPS + 2, ["SIGKILL"], id="kill inside the second epoch"),
    pytest.param("step", STEPS, ["SIGKILL"], id="kill in an epoch's last step"),
    pytest.param("step", STEPS + 1, ["SIGKILL"], id="kill in an epoch's first step"),
    pytest.param("validation", 2, ["SIGKILL"], id="kill in validation"),
    pytest.param("validation", 7, ["SIGKILL"], id="kill in the last evaluation"),
    pytest.param("saving", 6, ["SIGKILL"], id="kill while a file is written"),
    pytest.param("step", 6, ["SIGTERM"], id="term in a step"),
    pytest.param("step", STEPS, ["SIGTERM"], id="term in an epoch's last step"),
    pytest.param("validation", 3, ["SIGTERM"], id="term in validation"),
    pytest.param("validation", 7, ["SIGTERM"], id="term in the last evaluation"),
    pytest.param("step", 7, ["SIGTERM", "SIGTERM"], id="term twice"),
    pytest.param("step", 10, ["SIGINT"], id="interrupt in a step"),
]


@pytest.mark.parametrize(("place", "count", "signals"), FAULTS)
def test_resumed_equals_undisturbed(
    run_command,
    noisy_pictures: Path,
    undisturbed: dict[str, Any],
    tmp_path: Path,
    place: str,
    count: int,
    signals: list[str],
) -> None:
    run, log = tmp_path / "run", tmp_path / "log.txt"
    fault = {"place": place, "count": count, "signals": signals}
    expected = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}[signals[0]]
    assert run_command(*words(noisy_pictures, run), log=log, fault=fault) == expected, log.read_text()
    if expected > 0:
        assert "Go on with the same command and --resume" in log.read_text()
    assert run_command(*words(noisy_pictures, run, "--resume"), log=log) == 0, log.read_text()
    found = outcome(run)
    for part, value in undisturbed.items():
        assert found[part] == value, part


def test_interrupted_twice_still_ends_the_same(
    run_command,
    noisy_pictures: Path,
    undisturbed: dict[str, Any],
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    first = {"place": "step", "count": 3, "signals": ["SIGTERM"]}
    second = {"place": "step", "count": 4, "signals": ["SIGKILL"]}
    assert run_command(*words(noisy_pictures, run), fault=first) == 143
    assert run_command(*words(noisy_pictures, run, "--resume"), fault=second) == -9
    assert run_command(*words(noisy_pictures, run, "--resume")) == 0
    assert outcome(run) == undisturbed


def test_the_number_of_workers_changes_nothing(
    run_command,
    noisy_pictures: Path,
    undisturbed: dict[str, Any],
    tmp_path: Path,
) -> None:
    recipe = words(noisy_pictures, tmp_path / "run")
    recipe[recipe.index("--workers") + 1] = "0"
    assert run_command(*recipe) == 0
    assert outcome(tmp_path / "run") == undisturbed
