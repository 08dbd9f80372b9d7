"""Whether a command's memory, and what an image costs, stay the same however many images there are.

Run: python benchmarks/memory.py
     python benchmarks/memory.py --images 200 2000 --commands extract

``features extract`` and ``classification evaluate`` run over small JPEGs, hard links of a few generated ones. Each
count is of a process of its own, which runs the command three times on 64 images first, because the second still does
some things for the first time: what is left of the time for many is that of the images, and not of imports. Memory is
the highest resident size of the process, and that of its largest worker, which shares most of its pages with it. What
is printed last compares the most images with the fewest.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

COMMANDS = ("extract", "evaluate")
CLASSES = ("blue", "red")
#: How many pictures are drawn; the others are links.
DRAWN = 64
#: What a child process is called with before its command.
CHILD = "--measured"
NETWORK = ["--backbone", "timm/test_resnet", "--weights", "none", "--image-size", "32"]


def write_pictures(folder: Path, count: int) -> Path:
    """Write pictures of two classes, ``count`` to measure on and two to train on; return the folder."""
    drawn = folder.parent / "drawn"
    if not drawn.exists():
        drawn.mkdir()
        for index in range(DRAWN):
            noise = Image.effect_noise((64, 48), 60).convert("RGB")
            disc = Image.new("RGB", (64, 48), CLASSES[index % 2])
            Image.blend(noise, disc, 0.4).save(drawn / f"{index}.jpg", quality=90)
    for split, images in (("train", 2), ("val", count)):
        for index in range(images):
            path = folder / split / CLASSES[index % 2] / f"{index:06}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(drawn / f"{index % DRAWN}.jpg", path)
    return folder


def words_of(command: str, data: Path, folder: Path, workers: int) -> list[str]:
    """Return the words of a command on a data set, below a folder with a trained ``run``."""
    common = ["--workers", str(workers), "--device", "cpu", "--overwrite"]
    if command == "extract":
        output = ["--output", str(folder / f"{data.name}.npz")]
        return ["features", "extract", "--data", str(data / "val"), "--plain", *output, *NETWORK, *common]
    output = ["--output", str(folder / f"{data.name}-evaluation")]
    return ["classification", "evaluate", "--data", str(data), "--model", str(folder / "run"), *output, *common]


def run_measured(command: str, data: Path, few: Path, workers: int) -> None:
    """Run a command on few images and then on all, in this process; print seconds and memory as JSON."""
    from onetrunk.apps.cli import main

    seconds = []
    for chosen in (few, few, few, data):
        started = time.monotonic()
        if main(words_of(command, chosen, data.parent, workers)) != 0:
            sys.exit(1)
        seconds.append(time.monotonic() - started)
    peaks = [resource.getrusage(who).ru_maxrss / 2**10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"few": seconds[-2], "all": seconds[-1], "own": peaks[0], "worker": peaks[1]}))


def measure(command: str, data: Path, few: Path, workers: int) -> dict[str, float]:
    """Return what a process of its own measures.

    Raises:
        SystemExit: It failed; with what it said.
    """
    words = [sys.executable, __file__, CHILD, command, str(data), str(few), str(workers)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)} ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def train(folder: Path, few: Path) -> None:
    """Train what is evaluated."""
    from onetrunk.apps.cli import main

    places = ["--data", str(few), "--output", str(folder / "run")]
    if main(["classification", "train", *places, *NETWORK, "--epochs", "1", "--workers", "0", "--device", "cpu"]):
        sys.exit("the model to evaluate couldn't be trained")


def compare(command: str, folder: Path, few: Path, arguments: argparse.Namespace) -> None:
    """Print a command's table, and how the most images compare with the fewest."""
    print(f"\n{command}, {arguments.workers} workers")
    print(f"  {'images':>8}{'seconds':>10}{'ms/image':>10}{'MiB':>8}{'MiB of a worker':>17}")
    rows = []
    for count in sorted(arguments.images):
        found = measure(command, folder / str(count), few, arguments.workers)
        cost = 1000 * (found["all"] - found["few"]) / (count - DRAWN)
        rows.append((cost, found["own"], found["worker"]))
        print(
            f"  {count:>8,}{found['all']:>10.2f}{cost:>10.2f}{found['own']:>8.0f}{found['worker']:>17.0f}", flush=True
        )
    cost, own, worker = (last / first - 1 if first else 0.0 for first, last in zip(rows[0], rows[-1], strict=True))
    print(f"  memory {own:+.1%}, of a worker {worker:+.1%}, cost of an image {cost:+.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 20_000], help=f"each above {DRAWN}")
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS), choices=COMMANDS)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    if min(arguments.images) <= DRAWN:
        parser.error(f"--images {min(arguments.images)}: more than {DRAWN}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        few = write_pictures(folder / "few", DRAWN)
        for count in arguments.images:
            write_pictures(folder / str(count), count)
        if "evaluate" in arguments.commands:
            # in a process of its own: what this one holds would count as the least that its children take
            subprocess.run([sys.executable, __file__, CHILD, "train", str(few)], check=True, stdout=subprocess.DEVNULL)
        for command in arguments.commands:
            compare(command, folder, few, arguments)


if __name__ == "__main__":
    if sys.argv[1:3] == [CHILD, "train"]:
        train(Path(sys.argv[3]).parent, Path(sys.argv[3]))
    elif sys.argv[1:2] == [CHILD]:
        run_measured(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
