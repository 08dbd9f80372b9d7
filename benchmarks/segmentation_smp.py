"""onetrunk's U-Net beside segmentation-models-pytorch's own: accuracy on CamVid's test split, and time.

    python benchmarks/segmentation_smp.py --data camvid/ --seeds 0 1 2 --epochs 10

Both start from the same EfficientNet-Lite0 weights, see the same canvas with the same augmentation in as many epochs,
with the same optimizer and rates, and keep the epoch with the best mean IoU on val. Each training is a process of its
own; the two take turns. The difference of the class-mean IoU, averaged over the seeds, has a paired bootstrap interval
over the test pictures; the time is that of the epochs, validation included.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from onetrunk.apps.evaluated_images import read_images
from onetrunk.apps.intervals import paired_difference, resamples

HERE = Path(__file__).parent
ONETRUNK = Path(sys.executable).with_name("onetrunk")


def run_ours(arguments: argparse.Namespace, seed: int, folder: Path) -> tuple[np.ndarray, list[str], float]:
    """Train and evaluate with onetrunk; return confusion matrices of the test pictures, their names and the seconds."""
    run, where = folder / f"ours-{seed}", folder / f"ours-{seed}-test"
    canvas = [str(side) for side in arguments.canvas]
    common = ["--data", str(arguments.data), "--batch-size", "8", "--workers", "2"]
    recipe = ["--backbone", "efficientnet_lite0", "--head", "unet", "--resize", "stretch", "--image-size", *canvas]
    recipe += ["--epochs", str(arguments.epochs), "--learning-rate", str(arguments.rate), "--seed", str(seed)]
    train = [ONETRUNK, "segmentation", "train", *common, *recipe, "--output", str(run), "--resume"]
    subprocess.run(train, check=True)
    test = ["--model", str(run), "--split", "test", "--output", str(where), "--overwrite"]
    subprocess.run([ONETRUNK, "segmentation", "evaluate", *common, *test], check=True)
    images, _ = read_images(where / "images.npz")
    with (run / "log.csv").open() as stream:
        seconds = sum(float(row["seconds"]) for row in csv.DictReader(stream))
    return images.rows["confusion"], list(images.names), seconds


def run_peer(arguments: argparse.Namespace, seed: int, folder: Path) -> tuple[np.ndarray, list[str], float]:
    """Train and evaluate with segmentation-models-pytorch; as ``run_ours``."""
    output = folder / f"peer-{seed}.npz"
    canvas = [str(side) for side in arguments.canvas]
    if not output.is_file():
        settings = ["--seed", str(seed), "--epochs", str(arguments.epochs), "--rate", str(arguments.rate)]
        settings += ["--canvas", *canvas, "--output", str(output)]
        subprocess.run([sys.executable, HERE / "smp_unet.py", "--data", str(arguments.data), *settings], check=True)
    stored = np.load(output)
    return stored["matrices"], stored["names"].tolist(), float(stored["seconds"])


def mean_iou(matrices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the class-mean IoU of weighted images, ``[R]``, from confusion matrices ``[N, K, K]``."""
    correct = weights @ matrices.diagonal(axis1=1, axis2=2)
    union = weights @ matrices.sum(axis=1) + weights @ matrices.sum(axis=2) - correct
    return np.where(union > 0, correct / np.maximum(union, 1), np.nan).mean(axis=1, where=union > 0)


def compare(arguments: argparse.Namespace, folder: Path) -> dict:
    """Run both for every seed, and return the figures."""
    ours, peers, ratios, seconds = [], [], [], []
    for seed in arguments.seeds:
        runs = [run_ours, run_peer] if seed % 2 == 0 else [run_peer, run_ours]
        found = {run.__name__: run(arguments, seed, folder) for run in runs}
        (mine, names, time), (theirs, other_names, other_time) = found["run_ours"], found["run_peer"]
        assert names == other_names, "the test pictures aren't the same"
        ours.append(mine)
        peers.append(theirs)
        ratios.append(time / other_time)
        seconds.append((time, other_time))
    one = np.ones((1, len(ours[0])), dtype=np.int64)
    drawn = np.concatenate([_mean_difference(ours, peers, weights) for weights in resamples(len(ours[0]), seed=0)])
    difference = paired_difference(float(_mean_difference(ours, peers, one)[0]), drawn)
    return {
        "canvas": list(arguments.canvas),
        "mean_iou": {"ours": [_value(m, one) for m in ours], "peer": [_value(m, one) for m in peers]},
        "difference": {"value": difference.value, "low": difference.low, "high": difference.high},
        "seconds": seconds,
        "time_ratio": {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)},
    }


def _value(matrices: np.ndarray, one: np.ndarray) -> float:
    return float(mean_iou(matrices, one)[0])


def _mean_difference(ours: list[np.ndarray], peers: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    pairs = zip(ours, peers, strict=True)
    return np.mean([mean_iou(mine, weights) - mean_iou(theirs, weights) for mine, theirs in pairs], axis=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--canvas", type=int, nargs=2, default=(128, 160))
    parser.add_argument("--output", type=Path, help="a folder to keep the runs in, and to go on from")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = given.output or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        print(json.dumps(compare(given, place), indent=1))
