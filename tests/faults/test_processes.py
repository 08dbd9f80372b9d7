"""Two processes: what they evaluate equals one process, and what they train is refused to another number."""

import contextlib
import json
import time
from pathlib import Path


def evaluation(harness, model: Path, output: Path, devices: int) -> tuple[dict, list, bytes]:
    words = f"classification evaluate --model {model} --data {harness.data} --batch-size 5 --workers 0 --device cpu"
    log = output.with_suffix(".log")
    code = harness.run_command(*words.split(), "--output", output, "--devices", str(devices), log=log)
    assert code == 0, log.read_text()
    assert log.read_text().count("top1") == 1, "only the first process prints"
    card = json.loads((output / "results.json").read_text())
    return card["metrics"], json.loads((output / "predictions.json").read_text()), (output / "images.npz").read_bytes()


def test_two_processes_evaluate_and_train_as_stated(harness, tmp_path: Path) -> None:
    harness.undisturbed("two_processes")
    run = harness.folder / "two_processes"
    # 12 images in batches of 5: two batches for one process and one for the other
    one, two = (evaluation(harness, run, tmp_path / str(devices), devices) for devices in (1, 2))
    assert one == two
    said = run.with_suffix(".log").read_text()
    assert said.count("epoch 1/3") == 1
    code, said = harness.run("two_processes", run, "--resume", "--devices", "1")
    assert code == 2
    assert "--devices was 2 and is now 1" in said


def test_no_process_is_left_when_the_first_is_killed_at_its_start(harness, tmp_path: Path) -> None:
    """It is killed before the second has imported anything, so that they never meet."""
    run = tmp_path / "run"
    harness.undisturbed("two_processes")
    moment = 0.25 * harness.seconds["two_processes"]
    assert harness.run("two_processes", run, fault={"seconds": moment, "signals": ["SIGKILL"]})[0] == -9
    until = time.monotonic() + 60
    while time.monotonic() < until and processes_with(str(run)):
        time.sleep(0.2)
    assert not processes_with(str(run))


def processes_with(word: str) -> list[str]:
    """The command lines of this machine's processes that hold a word."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # ended meanwhile
            found.append(file.read_text(errors="replace"))
    return [line for line in found if word in line]
