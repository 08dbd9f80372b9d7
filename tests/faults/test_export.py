"""An export of features that is killed wherever it is, and run again, ends in the same file."""

import functools
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
from onetrunk.apps.features import read_features

IMAGES = 600  # three shards
SUFFIXES = (".parquet", ".npz", ".h5", ".safetensors")
KILLS = 20
WORDS = (
    "features extract --backbone timm/test_resnet --weights none --image-size 32 --workers 2 --device cpu "
    "--layers embedding c3"
).split()

Export = Callable[..., int]


class Whole(NamedTuple):
    """An export that was left alone."""

    content: bytes
    seconds: float


@pytest.fixture(scope="module")
def links(noisy_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of links to a few pictures, and one file that is none."""
    folder = tmp_path_factory.mktemp("links")
    pictures = sorted(noisy_pictures.rglob("*.png"))
    for index in range(IMAGES):
        (folder / f"{index:05}.png").symlink_to(pictures[index % len(pictures)])
    (folder / "00500.png").unlink()
    (folder / "00500.png").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def undisturbed(run_command: Export, links: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Whole]:
    """Returns the file of an export that is left alone, by its ending, and the seconds that it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")

    @functools.cache
    def whole(suffix: str) -> Whole:
        output = folder / f"file{suffix}"
        started = time.monotonic()
        assert run_command(*WORDS, "--data", links, "--output", output) == 0
        return Whole(output.read_bytes(), time.monotonic() - started)

    return whole


def check(output: Path, expected: bytes) -> None:
    """Compare with the file that was left alone: every row once, in order, and no part left."""
    assert output.read_bytes() == expected
    assert read_features(output).columns["name"] == [f"{index:05}.png" for index in range(IMAGES)]
    assert [path.name for path in output.parent.iterdir() if path.suffix != ".log"] == [output.name]


@pytest.mark.parametrize(
    ("signals", "saving", "code"),
    [(["SIGKILL"], 3, -9), (["SIGTERM"], 5, 143)],
)
def test_stopped_while_it_writes(signals, saving, code, run_command, links, undisturbed, tmp_path) -> None:
    """Between two parts, and when all are there and the file isn't."""
    words = [*WORDS, "--data", links, "--output", tmp_path / "file.parquet"]
    fault = {"place": "saving", "count": saving, "signals": signals}
    assert run_command(*words, log=tmp_path / "1.log", fault=fault) == code
    if code > 0:
        said = (tmp_path / "1.log").read_text()
        assert f"what was computed is in '{tmp_path}/file.parquet.part'. To go on, run the same command again" in said
    assert not (tmp_path / "file.parquet").exists()
    assert run_command(*words, log=tmp_path / "2.log") == 0
    check(tmp_path / "file.parquet", undisturbed(".parquet").content)


def test_a_full_disk_loses_nothing(run_command, links, undisturbed, tmp_path) -> None:
    words = [*WORDS, "--data", links, "--output", tmp_path / "file.parquet"]
    assert run_command(*words, log=tmp_path / "1.log", fault={"largest_file": 100_000}) == 2
    said = (tmp_path / "1.log").read_text()
    assert "can't be written: File too large" in said
    assert "make room, then run the same command again" in said
    assert run_command(*words, log=tmp_path / "2.log") == 0
    check(tmp_path / "file.parquet", undisturbed(".parquet").content)


@pytest.mark.slow
@pytest.mark.parametrize("case", range(KILLS))
def test_killed_at_a_random_moment(case: int, run_command, links, undisturbed, tmp_path) -> None:
    suffix = SUFFIXES[case % len(SUFFIXES)]
    output, whole = tmp_path / f"file{suffix}", undisturbed(suffix)
    words = [*WORDS, "--data", links, "--output", output]
    moment = random.Random(case).uniform(0, whole.seconds)
    for attempt in range(20):  # a kill that comes too late doesn't count
        code = run_command(*words, log=tmp_path / f"{attempt}.log", fault={"signals": ["SIGKILL"], "seconds": moment})
        if code == -9 and not (output.exists() and not output.with_name(output.name + ".part").exists()):
            break
        output.unlink()
        moment *= 0.8
    assert code == -9
    assert run_command(*words, log=tmp_path / "again.log") == 0
    check(output, whole.content)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(noisy_pictures: Path, tmp_path: Path) -> None:
    """The peak of the process that computes, with twenty times as many images."""
    pictures = sorted(noisy_pictures.rglob("*.png"))
    peaks = {}
    for count in (1000, 20_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for index in range(count):
            (folder / f"{index:05}.png").symlink_to(pictures[index % len(pictures)])
        measure = "import resource, sys; from onetrunk.apps.cli import main; main(sys.argv[1:]); "
        measure += "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        words = [*WORDS, "--data", str(folder), "--output", str(tmp_path / f"{count}.parquet")]
        said = subprocess.run(
            [sys.executable, "-c", measure, *words], check=True, capture_output=True, text=True
        ).stdout
        peaks[count] = int(said.split("peak")[1]) / 1024
        assert pq.read_metadata(tmp_path / f"{count}.parquet").num_rows == count
    print(f"peak memory, MiB: {peaks}")
    assert peaks[20_000] < 1.1 * peaks[1000]
    assert (peaks[20_000] - peaks[1000]) * 1024 / 19_000 < 3  # KiB an image: its row, never its features or pixels
