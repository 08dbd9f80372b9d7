"""A run that was killed or asked to stop, then resumed, ends in the bits of the run that was left alone."""

import shutil
from pathlib import Path

import pytest

#: 28 training images in batches of 8: 4 steps an epoch, 3 epochs
STEPS = 4

FAULTS = [
    pytest.param("unfrozen", "step", 3, ["SIGKILL"], id="kill in the first epoch"),
    pytest.param("unfrozen", "step", STEPS, ["SIGKILL"], id="kill in an epoch's last step"),
    pytest.param("unfrozen", "step", STEPS + 1, ["SIGKILL"], id="kill in an epoch's first step"),
    pytest.param("unfrozen", "validation", 2, ["SIGKILL"], id="kill in validation"),
    pytest.param("unfrozen", "validation", 7, ["SIGKILL"], id="kill in the last evaluation"),
    pytest.param("unfrozen", "saving", 1, ["SIGKILL"], id="kill while the first file is written"),
    pytest.param("unfrozen", "saving", 6, ["SIGKILL"], id="kill while a file is written"),
    pytest.param("unfrozen", "epoch end", 2, ["SIGKILL"], id="kill at the end of an epoch"),
    pytest.param("unfrozen", "step", 6, ["SIGTERM"], id="term in a step"),
    pytest.param("unfrozen", "step", STEPS, ["SIGTERM"], id="term in an epoch's last step"),
    pytest.param("unfrozen", "validation", 3, ["SIGTERM"], id="term in validation"),
    pytest.param("unfrozen", "validation", 7, ["SIGTERM"], id="term in the last evaluation"),
    pytest.param("unfrozen", "step", 7, ["SIGTERM", "SIGTERM"], id="term twice"),
    pytest.param("unfrozen", "step", 10, ["SIGINT"], id="interrupt in a step"),
    pytest.param("frozen", "step", 6, ["SIGKILL"], id="kill a frozen trunk's run"),
    pytest.param("partly_frozen", "step", 6, ["SIGKILL"], id="kill between the batches of a step"),
    pytest.param("partly_frozen", "step", STEPS + 1, ["SIGTERM"], id="term between the batches of a step"),
    pytest.param("partly_frozen", "step", STEPS + 3, ["SIGTERM"], id="term where no step is left to save on"),
    pytest.param("partly_frozen", "step", 3 * STEPS, ["SIGINT"], id="interrupt in the last batch"),
    pytest.param("ema", "step", STEPS + 2, ["SIGKILL"], id="kill with an average of the weights"),
    pytest.param("accumulation", "step", STEPS + 4, ["SIGTERM"], id="term in a step of three batches"),
    pytest.param("until", "step", 2, ["SIGKILL"], id="kill while the trunk is frozen"),
    pytest.param("until", "step", STEPS + 3, ["SIGKILL"], id="kill once the trunk is thawed"),
    pytest.param("until", "validation", 2, ["SIGTERM"], id="term right before the trunk is thawed"),
    pytest.param("until", "validation", 7, ["SIGKILL"], id="kill a thawed trunk in its last evaluation"),
    pytest.param("stored", "storing", 2, ["SIGKILL"], id="kill while features are stored"),
    pytest.param("stored", "storing", 3, ["SIGTERM"], id="term while features are stored"),
    pytest.param("stored", "step", STEPS + 2, ["SIGKILL"], id="kill on stored features"),
    pytest.param("stored_partly", "storing", 2, ["SIGTERM"], id="term while a part's features are stored"),
    pytest.param("stored_partly", "step", STEPS + 2, ["SIGKILL"], id="kill behind stored features"),
    pytest.param("mixing", "step", STEPS + 2, ["SIGKILL"], id="kill with mixed pictures"),
    pytest.param("bf16", "step", STEPS + 2, ["SIGKILL"], id="kill in bf16, with clipped gradients"),
    pytest.param("lora", "step", STEPS + 2, ["SIGTERM"], id="term with low-rank updates"),
    pytest.param("detection", "step", STEPS + 2, ["SIGKILL"], id="kill a detection"),
    pytest.param("detection", "validation", 7, ["SIGTERM"], id="term a detection in its last evaluation"),
    pytest.param("segmentation", "step", STEPS + 2, ["SIGKILL"], id="kill a segmentation"),
    pytest.param("segmentation", "validation", 7, ["SIGTERM"], id="term a segmentation in its last evaluation"),
    pytest.param("localization", "step", STEPS + 3, ["SIGTERM"], id="term a localization"),
    pytest.param("captioning", "step", STEPS + 2, ["SIGKILL"], id="kill a captioning"),
    pytest.param("captioning", "validation", 7, ["SIGTERM"], id="term a captioning in its last evaluation"),
    pytest.param("vqa", "step", STEPS + 2, ["SIGTERM"], id="term a question answering"),
    pytest.param("vqa", "validation", 7, ["SIGKILL"], id="kill a question answering in its last evaluation"),
    pytest.param("two_processes", "step", STEPS + 3, ["SIGTERM"], id="term two processes"),
    pytest.param("together", "step", STEPS + 2, ["SIGKILL"], id="kill several tasks with learned weights"),
    pytest.param("together", "step", STEPS, ["SIGTERM"], id="term several tasks in an epoch's last step"),
    pytest.param("together", "validation", 6, ["SIGKILL"], id="kill several tasks in validation"),
    pytest.param("together_aggregated", "step", STEPS + 3, ["SIGKILL"], id="kill between aggregated gradients"),
    pytest.param("together_averaged", "step", 2 * STEPS + 1, ["SIGTERM"], id="term with weights that follow losses"),
    pytest.param("together_averaged", "saving", 9, ["SIGKILL"], id="kill while several tasks are saved"),
    pytest.param("together_thawed", "epoch end", 1, ["SIGTERM"], id="term several tasks where their trunk is thawed"),
    pytest.param("together_thawed", "step", STEPS + 3, ["SIGKILL"], id="kill several tasks on a trunk that was thawed"),
    pytest.param("together_frozen", "step", STEPS + 2, ["SIGKILL"], id="kill several tasks on a frozen trunk"),
    pytest.param("together_frozen", "epoch end", 3, ["SIGTERM"], id="term at the end, best epochs apart"),
    pytest.param("together_frozen", "validation", 14, ["SIGKILL"], id="kill several tasks in the last evaluation"),
    pytest.param("together_stored", "storing", 5, ["SIGKILL"], id="kill while a second data set is stored"),
    pytest.param("together_stored", "step", STEPS + 2, ["SIGTERM"], id="term several tasks on stored features"),
]


@pytest.mark.parametrize(("name", "place", "count", "signals"), FAULTS)
def test_resumed_equals_undisturbed(
    harness, tmp_path: Path, name: str, place: str, count: int, signals: list[str]
) -> None:
    harness.survives(name, tmp_path / "run", place, count, signals)


def test_interrupted_twice_still_ends_the_same(harness, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert harness.run("unfrozen", run, fault={"place": "step", "count": 3, "signals": ["SIGTERM"]})[0] == 143
    fault = {"place": "step", "count": 4, "signals": ["SIGKILL"]}
    assert harness.run("unfrozen", run, "--resume", fault=fault)[0] == -9
    harness.finish("unfrozen", run)


def test_early_stopping_is_remembered_after_a_kill(harness, tmp_path: Path) -> None:
    """The run was stopped early, and is killed in its last evaluation: it must not train on."""
    run, more = tmp_path / "run", ("--learning-rate", "0", "--epochs", "9")
    fault = {"place": "validation", "count": 5, "signals": ["SIGKILL"]}  # two epochs of two batches, then the last
    assert harness.run("ema", run, *more, fault=fault)[0] == -9
    assert harness.run("ema", run, *more, "--resume")[0] == 0
    assert len((run / "log.csv").read_text().splitlines()) == 3


def test_the_number_of_workers_changes_nothing(harness, tmp_path: Path) -> None:
    code, said = harness.run("unfrozen", tmp_path / "run", "--workers", "0")
    assert code == 0, said
    harness.finish("unfrozen", tmp_path / "run")


def test_keeping_no_activations_changes_nothing(harness, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert harness.run("accumulation", run, "--no-fit.checkpoint-activations")[0] == 0
    model = (run / "model" / "model.safetensors").read_bytes()
    assert model == harness.undisturbed("accumulation")["model"]


def test_a_damaged_checkpoint_is_named(harness, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert harness.run("unfrozen", run, fault={"place": "step", "count": 3, "signals": ["SIGKILL"]})[0] == -9
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    code, said = harness.run("unfrozen", run, "--resume")
    assert code == 2
    assert "last.ckpt' is damaged" in said


def test_changed_data_are_refused(harness, noisy_pictures: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(noisy_pictures, data)
    fault = {"place": "step", "count": 3, "signals": ["SIGKILL"]}
    assert harness.run("unfrozen", run, "--data", str(data), fault=fault)[0] == -9
    (data / "val" / "dark" / "00.png").unlink()
    code, said = harness.run("unfrozen", run, "--data", str(data), "--resume")
    assert code == 2
    assert "The data changed since the run" in said


def test_a_full_disk_loses_nothing(harness, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert harness.run("unfrozen", run, fault={"place": "step", "count": 3, "signals": ["SIGTERM"]})[0] == 143
    saved = (run / "checkpoints" / "last.ckpt").read_bytes()
    code, said = harness.run("unfrozen", run, "--resume", fault={"largest_file": 100_000})
    assert code == 2
    assert "can't be written" in said
    assert "go on with --resume" in said
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == saved
    assert not list(run.rglob("*.part"))
    harness.finish("unfrozen", run)


def test_a_disk_that_fills_up_with_the_model_loses_nothing(harness, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fault = {"place": "validation", "count": 7, "signals": ["SIGKILL"]}
    assert harness.run("unfrozen", run, fault=fault)[0] == -9
    code, said = harness.run("unfrozen", run, "--resume", fault={"largest_file": 1_000_000})
    assert code == 2
    assert "model.safetensors' can't be written" in said
    harness.finish("unfrozen", run)


def test_a_read_only_run_folder_is_refused_and_nothing_is_lost(harness, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert harness.run("unfrozen", run, fault={"place": "step", "count": 3, "signals": ["SIGTERM"]})[0] == 143
    for place in (run, *run.rglob("*")):
        place.chmod(0o555 if place.is_dir() else 0o444)
    code, said = harness.run("unfrozen", run, "--resume", fault={"is_unprivileged": True})
    assert code == 2
    assert "can't be written to" in said
    for place in (run, *run.rglob("*")):
        place.chmod(0o755 if place.is_dir() else 0o644)
    harness.finish("unfrozen", run)
