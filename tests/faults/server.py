"""Runs `onetrunk` commands in forks of one process that has imported everything: a start costs milliseconds.

Reads a JSON job a line: the command's words, a log file, and perhaps a fault. Answers with the exit code; a process
that a signal ended has the signal's negative number.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def at_count(function: Callable[..., Any], count: int, act: Callable[[], None]) -> Callable[..., Any]:
    """Return the function that also acts before its ``count``-th call."""
    calls = 0

    def counted(*arguments: Any, **settings: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            act()
        return function(*arguments, **settings)

    return counted


def inject(fault: dict[str, Any]) -> None:
    """Send this process the fault's signals at its place: before the n-th training step, validation or rename."""
    from pathlib import Path

    from onetrunk.apps.task import Task

    def act() -> None:
        for name in fault["signals"]:
            os.kill(os.getpid(), getattr(signal, name))

    owner, method = {
        "step": (Task, "training_step"),
        "validation": (Task, "validation_step"),
        "saving": (Path, "replace"),
    }[fault["place"]]
    setattr(owner, method, at_count(getattr(owner, method), fault["count"], act))


def run(job: dict[str, Any]) -> int:
    """Run one command in this process."""
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(0)
    from onetrunk.apps.cli import main

    if job.get("fault"):
        inject(job["fault"])
    return main(job["words"])


if __name__ == "__main__":
    # all that a run imports on its way, so that no fork does it again
    import jsonargparse  # noqa: F401
    import onetrunk.apps.arguments
    import onetrunk.apps.classification.task
    import onetrunk.apps.fit  # noqa: F401
    import torch
    import torch.utils.tensorboard
    from PIL import Image

    Image.init()

    torch.set_num_threads(1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            sys.exit(run(json.loads(line)))
        status = os.waitpid(child, 0)[1]
        print(os.waitstatus_to_exitcode(status), flush=True)
