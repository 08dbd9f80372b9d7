"""Runs `onetrunk` commands in forks of one process that has run one already: a start costs milliseconds.

Reads a JSON job a line: the command's words, a log file, and perhaps a fault:

- ``place`` and ``count``: before the n-th training step, validation step, rename of a file, shard of features, or
  end of an epoch, the process sends itself ``signals``;
- ``seconds``: that long after its start the process is sent ``signals`` from outside, wherever it is then;
- ``largest_file``: no file grows beyond so many bytes, as on a full disk;
- ``is_unprivileged``: the process gives up what makes every folder writable for root.

Answers with the exit code; a process that a signal ended has the signal's negative number.

``python server.py JOB`` runs one job in the process itself: on a GPU, which a fork can't share.
"""

import atexit
import ctypes
import gc
import itertools
import json
import os
import random
import resource
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

WARMING = (
    "classification train --backbone timm/test_resnet --weights none --image-size 32 --epochs 1 --batch-size 2 "
    "--workers 0 --device cpu"
)


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
    """Prepare this process for a fault that it brings on itself."""
    from onetrunk.apps.epoch_log import EpochLog
    from onetrunk.apps.multitask.learner import MultiTaskLearner
    from onetrunk.apps.store import FeatureStore
    from onetrunk.apps.task import Task

    def act() -> None:
        for name in fault["signals"]:
            os.kill(os.getpid(), getattr(signal, name))

    if "largest_file" in fault:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault["largest_file"], resource.RLIM_INFINITY))
    if fault.get("is_unprivileged") and os.getuid() == 0:
        obey_permissions()
    if "place" in fault:
        # of several tasks each keeps the steps of Task but for this one
        stepping = MultiTaskLearner if "multitask" in sys.argv else Task
        owner, method = {
            "step": (stepping, "training_step"),
            "validation": (Task, "validation_step"),
            "saving": (Path, "replace"),
            "storing": (FeatureStore, "write"),
            "epoch end": (EpochLog, "on_train_epoch_end"),
        }[fault["place"]]
        setattr(owner, method, at_count(getattr(owner, method), fault["count"], act))


def obey_permissions() -> None:
    """Drop root's capabilities to write and read whatever permissions say; it stays the owner of what is its own.

    Another user could not read this checkout where it lies in a folder of root's alone.
    """
    library = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, for capabilities below and above 32
    if library.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    for place in range(3):
        sets[place] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    if library.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def run(job: dict[str, Any]) -> int:
    """Run one command in this process."""
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(0)
    from onetrunk.apps.cli import main

    # several processes start one another by the command line
    sys.argv = [str(Path(sys.executable).with_name("onetrunk")), *job["words"]]
    forget_seeds()
    inject(job.get("fault") or {})
    return main(job["words"])


#: What a command returned; empty before, and where an error ends it.
exit_code: list[int] = []


def leave() -> None:
    """End a fork whose command returned, once all else that is to be done at exit is done.

    What is left then is that the interpreter takes apart the memory that it shares with the server, and so copies it.
    """
    if exit_code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code[0])


def serve(line: str) -> int:
    """Run one job in a fork, and return its exit code."""
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        exit_code.append(run(job))
        sys.exit(exit_code[0])
    fault = job.get("fault") or {}
    timers = [
        threading.Timer(fault["seconds"], os.kill, (child, getattr(signal, name)))
        for name in fault.get("signals", ())
        if "seconds" in fault
    ]
    for timer in timers:
        timer.start()
    # not reaped before the timers are stopped: its number could be another process's by then
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    for timer in timers:
        timer.cancel()
        timer.join()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def warm_up() -> None:
    """Run a command here, so that what only the first one imports and measures is there in every fork.

    No accelerator may be seen: autograd's threads for it would not survive a fork.
    """
    import peft  # noqa: F401  what the low-rank recipes import
    import torch
    from onetrunk.apps.cli import main
    from onetrunk.apps.multitask import together  # noqa: F401
    from PIL import Image

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        for split, name, index in itertools.product(("train", "val"), "ab", range(2)):
            picture = Path(folder, "data", split, name, f"{index}.png")
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(picture)
        words = f"{WARMING} --data {folder}/data --output {folder}/run"
        assert main(words.split()) == 0


def forget_seeds() -> None:
    """Leave the generators as different as those of two processes: no seed of the warming run is handed on."""
    import numpy as np
    import torch

    random.seed()
    np.random.seed()
    torch.seed()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(run(json.loads(sys.argv[1])))
    atexit.register(leave)  # before anything else is, to be the last that runs
    gc.disable()  # what is imported stays
    warm_up()
    gc.enable()
    gc.collect()
    gc.freeze()  # or each fork's collector walks, and so copies, the memory that it shares with this process
    for line in sys.stdin:
        print(serve(line), flush=True)
