"""Features beside timm's own way: images a second end to end, how far the numbers agree, what a probe makes of both.

Run: python benchmarks/features_timm.py
     python benchmarks/features_timm.py --data hymenoptera/ --rounds 1

timm's way is `timm_features.py`, which imports nothing of ours; ours is the command `onetrunk features extract`. Both
read the same files, with the same weights, batch size, workers and fp32, and write a file. Each is a process of its
own, timed from its start to its end; they take turns, and the figures are medians over the rounds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from onetrunk.apps import features
from onetrunk.apps.features import FeatureExtractor
from onetrunk.apps.features.probes import STRENGTHS
from onetrunk.apps.intervals import proportion
from onetrunk.backbones import build_backbone
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

#: Our names -> timm's.
NETWORKS = {"efficientnet_lite0": "tf_efficientnet_lite0", "resnet18": "resnet18", "resnet50": "resnet50"}
WEIGHTS = {"efficientnet_lite0": "imagenet"}


def write_photos(folder: Path, count: int) -> None:
    """Write JPEGs of 500 x 375 pixels, smooth with some noise, about as large as photographs of that size."""
    generator = np.random.default_rng(0)
    for index in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = np.clip(smooth + generator.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
        path = folder / "abc"[index % 3] / f"{index:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(path, quality=90)


def timm_settings(data: Path, output: Path, backbone: str, arguments: argparse.Namespace) -> str:
    """Return what timm's script takes, after saving the weights for it."""
    torch.manual_seed(0)  # random weights are those of the command's default seed
    trunk = build_backbone(backbone, weights=arguments.weights, levels=["embedding"])
    weights = output.with_name(f"{backbone}.pth")
    torch.save(trunk.network.state_dict(), weights)
    preprocessing = trunk.preprocessing
    settings = {
        "network": NETWORKS[backbone],
        "weights": str(weights),
        "data": str(data),
        "output": str(output),
        "batch_size": arguments.batch_size,
        "workers": arguments.workers,
        "preprocessing": {
            "input_size": [3, *preprocessing.image_size],
            "interpolation": preprocessing.interpolation,
            "mean": preprocessing.mean,
            "std": preprocessing.std,
            "crop_pct": preprocessing.crop_fraction,
        },
    }
    return json.dumps(settings)


def seconds_of(*words: object) -> float:
    """Return how long a command takes, as a process of its own."""
    started = time.monotonic()
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def compare_speed(data: Path, folder: Path, backbone: str, arguments: argparse.Namespace) -> None:
    """Print images a second of both, their ratio, and how far the numbers are apart."""
    output, plain = folder / f"{backbone}.npz", folder / "timm.npz"
    common = ["--weights", arguments.weights, "--batch-size", arguments.batch_size, "--workers", arguments.workers]
    own = ["--data", data, "--output", output, "--backbone", backbone, "--device", "cpu", "--overwrite", *common]
    onetrunk, peer = Path(sys.executable).with_name("onetrunk"), Path(__file__).with_name("timm_features.py")
    settings = timm_settings(data, plain, backbone, arguments)
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        ours.append(seconds_of(onetrunk, "features", "extract", *own))
        theirs.append(seconds_of(sys.executable, peer, settings))
    with np.load(plain) as stored:
        found, files = stored["features"], stored["files"].tolist()
    table = features.read_features(output)
    place = {Path(path).resolve(): row for row, path in enumerate(table.columns["path"])}
    rows = [place[Path(file).resolve()] for file in files]
    apart = np.abs(table.features["embedding"][rows] - found).max()
    ratios = sorted(theirs[index] / ours[index] for index in range(arguments.rounds))
    print(
        f"\n{backbone}, {len(rows)} images, fp32, batch {arguments.batch_size}, {arguments.workers} workers, "
        f"{torch.get_num_threads()} threads, {arguments.rounds} rounds\n"
        f"  onetrunk {len(rows) / median(ours):7.1f} images/s\n"
        f"  timm     {len(rows) / median(theirs):7.1f} images/s\n"
        f"  ratio    {median(ratios):7.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})\n"
        f"  largest difference of a feature {apart:.1e}, of values up to {np.abs(found).max():.1f}",
        flush=True,
    )
    if arguments.data is not None and {"train", "val"} <= set(table.columns["split"]):
        splits = np.array(table.columns["split"])[rows]
        labels = np.array(table.columns["label"])[rows]
        paths = np.array([str(file) for file in files])
        compare_accuracy(output, found, splits, labels, paths, FeatureExtractor(backbone, weights=arguments.weights))


def compare_accuracy(
    output: Path,
    plain: np.ndarray,
    splits: np.ndarray,
    labels: np.ndarray,
    paths: np.ndarray,
    extractor: FeatureExtractor,
) -> None:
    """Print what the same classifier makes of both, by the probe, in a pipeline, and from timm's features."""
    train, val = splits == "train", splits == "val"
    grid = {"logisticregression__C": list(STRENGTHS)}
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    top1 = features.probe(features.ProbeOptions(features=str(output)))["logistic_regression"].metrics["top1"]
    print(f"  probe                        {top1['value']:.4f} [{top1['low']:.4f}, {top1['high']:.4f}]")
    with tempfile.TemporaryDirectory() as memory:
        steps = [("features", extractor), *classifier.steps]
        search = GridSearchCV(Pipeline(steps, memory=memory), grid, cv=5).fit(paths[train], labels[train])
        report("Pipeline in a GridSearchCV", search.predict(paths[val]), labels[val])
    search = GridSearchCV(classifier, grid, cv=5).fit(plain[train], labels[train])
    report("timm's features", search.predict(plain[val]), labels[val])


def report(name: str, predicted: np.ndarray, labels: np.ndarray) -> None:
    estimate = proportion(int((predicted == labels).sum()), len(labels))
    print(f"  {name:<28} {estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="an image folder; unset: generated photographs")
    parser.add_argument("--images", type=int, default=512, help="how many to generate")
    parser.add_argument("--backbones", nargs="+", default=["efficientnet_lite0"], choices=NETWORKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--weights", help="unset: imagenet where they come with the installation, else none")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data
        if data is None:
            data = Path(folder) / "photos"
            write_photos(data, arguments.images)
        asked = arguments.weights
        for backbone in arguments.backbones:
            arguments.weights = asked or WEIGHTS.get(backbone, "none")
            compare_speed(data, Path(folder), backbone, arguments)


if __name__ == "__main__":
    main()
