"""On a GPU: every app trains there, and with ``--deterministic`` a run that was killed ends in the same bits."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import DATA, Harness

pytestmark = pytest.mark.gpu

#: 4 steps an epoch
STEPS = 4
APPS = ("unfrozen", "captioning", "detection", "localization", "segmentation", "vqa")
KILLED = (*APPS, "ema", "lora", "mixing", "partly_frozen", "stored", "stored_partly")


def run_alone(*words: object, log: Path, fault: dict[str, Any] | None = None) -> int:
    """Run `onetrunk WORDS` in a process of its own, which sees the GPU."""
    job = {"words": [str(word) for word in words], "log": str(log), "fault": fault}
    script = Path(__file__).with_name("server.py")
    return subprocess.run([sys.executable, str(script), json.dumps(job)], check=False).returncode


@pytest.fixture(scope="module")
def on_gpu(noisy_pictures: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Harness:
    """A harness whose runs are on the GPU."""
    own = {recipe: request.getfixturevalue(fixture) for recipe, fixture in DATA.items()}
    folder = tmp_path_factory.mktemp("gpu")
    return Harness(run_alone, folder, noisy_pictures, own, always=("--device", "cuda", "--deterministic"))


@pytest.mark.parametrize("recipe", KILLED)
def test_resumed_equals_undisturbed(on_gpu: Harness, tmp_path: Path, recipe: str) -> None:
    on_gpu.survives(recipe, tmp_path / "run", "step", STEPS + 2, ["SIGKILL"])


@pytest.mark.parametrize(
    ("recipe", "more"),
    [
        *((recipe, "--precision bf16") for recipe in APPS),
        ("unfrozen", "--precision fp32"),
        ("unfrozen", "--fit.compile"),
        ("segmentation", "--fit.compile"),
    ],
)
def test_every_app_trains_as_users_run_it(on_gpu: Harness, tmp_path: Path, recipe: str, more: str) -> None:
    code, said = on_gpu.run(recipe, tmp_path / "run", "--no-deterministic", *more.split())
    assert code == 0, said
    assert "torch.compile" not in said, "a compilation that fails says so"
    card = json.loads((tmp_path / "run" / "results.json").read_text())
    assert card["cost"]["peak_memory_mib"] > 0
