"""The fork server as a fixture."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Run = Callable[..., int]


@pytest.fixture(scope="session")
def run_command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run `onetrunk WORDS` in a process of its own; returns its exit code. `fault`: see server.py."""
    script = Path(__file__).with_name("server.py")
    server = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    logs = tmp_path_factory.mktemp("logs")

    def run(*words: str, log: Path | None = None, fault: dict[str, Any] | None = None) -> int:
        assert server.stdin is not None
        assert server.stdout is not None
        job = {"words": [str(word) for word in words], "log": str(log or logs / "log.txt"), "fault": fault}
        server.stdin.write(json.dumps(job) + "\n")
        return int(server.stdout.readline())

    yield run
    assert server.stdin is not None
    server.stdin.close()
    server.wait(timeout=60)


@pytest.fixture(scope="session")
def noisy_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/ (2 x 14) and val/ (2 x 6) pictures."""
    root = tmp_path_factory.mktemp("noisy")
    for split, count in (("train", 14), ("val", 6)):
        for place, name in enumerate(("dark", "light")):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                noise = Image.effect_noise((40, 40), 80).point(lambda v, add=60 * place: min(255, v + add))
                noise.convert("RGB").save(root / split / name / f"{index:02}.png")
    return root
