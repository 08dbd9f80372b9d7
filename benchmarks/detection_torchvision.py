"""onetrunk's Faster R-CNN beside torchvision's own on the same trunk, in equal time.

    python benchmarks/detection_torchvision.py --data bccd/BCCD --split test --canvas 480 640 \
        --config configs/detection/bccd_efficientnet_lite0.yaml

Ours trains by the configuration; torchvision's (``torchvision_frcnn.py``) gets as many CPU seconds as that took with
everything, validation and start-up too. CPU seconds, not those of the clock, so that other work on the machine falls on
neither. The difference of AP50, and of AP, on the split has a paired bootstrap interval over its pictures.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from onetrunk.apps.evaluated_images import read_images
from onetrunk.apps.intervals import paired_bootstrap

HERE = Path(__file__).parent
ONETRUNK = Path(sys.executable).with_name("onetrunk")
#: One thread each: the two may then run side by side on other machines as well.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
METRICS = ("ap50", "ap", "voc07_ap50")


def run(words: list[object]) -> float:
    """Run a command and return the CPU seconds of it and its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(list(map(str, words)), check=True, env=ENVIRONMENT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(arguments: argparse.Namespace, folder: Path) -> dict:
    """Train both, and return the figures."""
    ours, theirs, test = folder / "run", folder / "peer.npz", folder / "ours"
    data = ["--data", arguments.data]
    train = [ONETRUNK, "detection", "train", *data, "--config", arguments.config, "--workers", "0", "--output", ours]
    seconds = run([*train, "--seed", arguments.seed])
    run([ONETRUNK, "detection", "evaluate", *data, "--model", ours, "--split", arguments.split, "--output", test])
    peer = [sys.executable, HERE / "torchvision_frcnn.py", *data, "--canvas", *arguments.canvas]
    peer += ["--levels", *arguments.levels, "--width", arguments.width]
    peer += ["--split", arguments.split, "--seed", arguments.seed, "--output", theirs]
    run([*peer, "--cpu-seconds", seconds])
    return {"cpu_seconds": seconds, **differences(test / "images.npz", theirs)}


def differences(ours: Path, theirs: Path) -> dict:
    """Return each metric of both, and by how much ours is higher."""
    (mine, evaluator), (peers, _) = read_images(ours), read_images(theirs)
    assert mine.names == peers.names, "the pictures aren't the same"
    measures = [partial(evaluator.measure, images.rows) for images in (peers, mine)]
    gains = paired_bootstrap(measures[0], measures[1], len(mine))
    values = {"ours": evaluator.values(mine), "torchvision": evaluator.values(peers)}
    return {
        name: {
            **{who: found[name] for who, found in values.items()},
            "difference": [gains[name].value, gains[name].low, gains[name].high],
        }
        for name in METRICS
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--canvas", type=int, nargs=2, default=(480, 640))
    parser.add_argument("--levels", nargs="+", default=["c3", "c4", "c5"], help="of torchvision's pyramid")
    parser.add_argument("--width", type=int, default=128, help="of torchvision's pyramid")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="a folder to keep the runs in")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = given.output or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        print(json.dumps(compare(given, place), indent=1))
