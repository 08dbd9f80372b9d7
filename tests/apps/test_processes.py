"""Which of several processes writes, as each of them finds out by itself before and after they meet."""

import os
import sys
from pathlib import Path

import pytest
from onetrunk.apps.cli import main
from onetrunk.apps.processes import end_with_parent, is_first

VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_NTASKS", "SLURM_PROCID")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that knows of no other process."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"NODE_RANK": "0"}, True),
        ({"NODE_RANK": "1"}, False),  # started by a person on a second machine; Lightning sets LOCAL_RANK later
        ({"GROUP_RANK": "1"}, False),
        ({"NODE_RANK": "0", "GROUP_RANK": "1"}, True),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"GROUP_RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "0"}, True),
        ({"NODE_RANK": "0", "LOCAL_RANK": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}, True),  # torchrun
        ({"RANK": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, False),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, True),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}, False),
    ],
)
def test_one_process_of_all_is_the_first(
    alone: pytest.MonkeyPatch, environment: dict[str, str], expected: bool
) -> None:
    for name, value in environment.items():
        alone.setenv(name, value)
    assert is_first() is expected


def test_what_a_person_started_on_another_machine_goes_on_without_its_shell(alone: pytest.MonkeyPatch) -> None:
    alone.setenv("NODE_RANK", "1")
    alone.setattr("threading.Thread.start", lambda self: pytest.fail("it watches its parent"))
    end_with_parent()


def test_a_rank_that_does_not_go_with_the_options_is_refused(
    alone: pytest.MonkeyPatch, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such a training would be alone and write nothing."""
    alone.setenv("NODE_RANK", "1")
    alone.setattr(sys, "stdout", sys.stdout)  # the command closes its own
    words = "--backbone timm/test_resnet --weights none --image-size 32 --epochs 1 --workers 0 --device cpu".split()
    run = tmp_path / "run"
    assert main(["classification", "train", "--data", str(pictures), "--output", str(run), *words]) == 2
    assert "NODE_RANK=1" in (said := capsys.readouterr().err)
    assert "--devices 1 --num-nodes 1" in said
    assert not run.exists()
    assert os.environ["NODE_RANK"] == "1"
