"""Features beside timm's own way: images a second end to end, how far the numbers agree, what a probe makes of both.

    python benchmarks/features_timm.py
    python benchmarks/features_timm.py --data hymenoptera/ --backbones efficientnet_lite0 --rounds 1 --pipeline
    python benchmarks/features_timm.py --backbones resnet50 --thingsvision old/bin/python

timm's way is `timm_features.py`, which imports nothing of ours: as documented, in fp32; and with what its users add in
a line each, channels-last and, where the machine has bf16, autocast. Ours is the command `onetrunk features extract`.
thingsvision wants older packages (2.7.3: torchvision 0.15.2, NumPy 1), so it runs, as `thingsvision_features.py`, in an
environment of its own where one is given.
All read the same files with the same weights, batch size, workers and threads, and write a file. Each is a process of
its own, timed from its start to its end; they take turns, and the figures are medians over the rounds.
"""

import argparse
import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from onetrunk.apps import features
from onetrunk.apps.features import FeatureExtractor
from onetrunk.apps.features.probes import STRENGTHS
from onetrunk.apps.intervals import proportion
from onetrunk.backbones import build_backbone
from random_weights import weights_for
from scenes import write_scenes
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from turns import (
    HERE,
    ONETRUNK,
    describe,
    has_bf16,
    make_parser,
    ratio,
    run,
    settle_device,
    take_turns,
    working_folder,
)

#: Our names -> timm's.
NETWORKS = {
    "resnet50": "resnet50",
    "vgg16": "vgg16",
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "resnet18": "resnet18",
}


@dataclass(frozen=True)
class Found:
    """Features of the same pictures in the same order: ours, and timm's documented ones, ``[N, D]``."""

    output: Path
    ours: np.ndarray
    theirs: np.ndarray
    files: list[str]
    splits: np.ndarray
    labels: np.ndarray


def timm_settings(data: Path, output: Path, backbone: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Return what timm's documented script takes, after saving the weights for it."""
    torch.manual_seed(0)  # random weights are those of the command's default seed
    trunk = build_backbone(backbone, weights=arguments.weights, levels=["embedding"])
    weights = output.with_name(f"{backbone}.pth")
    torch.save(to_timm(backbone, trunk.network.state_dict()), weights)
    preprocessing = trunk.preprocessing
    return {
        "network": NETWORKS[backbone],
        "weights": str(weights),
        "data": str(data),
        "output": str(output),
        "batch_size": arguments.batch_size,
        "workers": arguments.workers,
        "device": arguments.device,
        "channels_last": False,
        "autocast": False,
        "preprocessing": {
            "input_size": [3, *preprocessing.image_size],
            "interpolation": preprocessing.interpolation,
            "mean": preprocessing.mean,
            "std": preprocessing.std,
            "crop_pct": preprocessing.crop_fraction,
        },
    }


def to_timm(backbone: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights under timm's names: its VGG has convolutions in place of the first two linear layers."""
    if not backbone.startswith("vgg"):
        return state
    moved = {
        "classifier.0.": ("pre_logits.fc1.", (-1, 512, 7, 7)),
        "classifier.3.": ("pre_logits.fc2.", (-1, 4096, 1, 1)),
    }
    renamed = {}
    for name, tensor in state.items():
        theirs, shape = next((each for start, each in moved.items() if name.startswith(start)), ("", ()))
        values = tensor.reshape(shape) if theirs and name.endswith("weight") else tensor
        renamed[theirs + name.rpartition(".")[2] if theirs else name] = values
    return renamed


def compare(data: Path, folder: Path, backbone: str, arguments: argparse.Namespace) -> None:
    """Print images a second of all, the ratios, and how far the numbers are apart."""
    output, plain = folder / f"{backbone}.npz", folder / "timm.npz"
    settings = timm_settings(data, plain, backbone, arguments)
    has_autocast = has_bf16(torch.device(arguments.device))
    better = {**settings, "output": str(folder / "better.npz"), "channels_last": True, "autocast": has_autocast}
    own = ["--data", data, "--output", output, "--backbone", backbone, "--device", arguments.device, "--overwrite"]
    own += ["--weights", arguments.weights, "--batch-size", arguments.batch_size, "--workers", arguments.workers]
    own += ["--precision", arguments.precision]
    peer, threads = HERE / "timm_features.py", arguments.threads
    with_lines = "timm, channels-last and autocast" if has_autocast else "timm, channels-last (no bf16 here)"
    contenders = {
        "onetrunk": lambda: run(ONETRUNK, "features", "extract", *own, threads=threads)[0],
        "timm, as documented": lambda: run(sys.executable, peer, json.dumps(settings), threads=threads)[0],
        with_lines: lambda: run(sys.executable, peer, json.dumps(better), threads=threads)[0],
    }
    rows = folder / "thingsvision"
    if arguments.thingsvision is not None:
        other = {**settings, "weights": arguments.weights, "output": str(rows), "module": "avgpool"}
        script = HERE / "thingsvision_features.py"
        contenders["thingsvision, as documented"] = lambda: run(
            arguments.thingsvision, script, json.dumps(other), threads=threads
        )[0]
    seconds = take_turns(arguments.rounds, contenders)
    found = read_both(output, plain)
    print(f"\n{backbone}, {len(found.files)} images, weights {arguments.weights}, {describe(arguments)}")
    for name, taken in seconds.items():
        beside = "" if name == "onetrunk" else f"   ratio {ratio(taken, seconds['onetrunk'])}"
        print(f"  {name:<34} {len(found.files) / median(taken):7.1f} images/s{beside}")
    print_agreement("timm", found.ours, found.theirs)
    if arguments.thingsvision is not None:
        files = (rows / "file_names.txt").read_text().splitlines()
        place = {Path(file).resolve(): row for row, file in enumerate(files)}
        theirs = np.load(rows / "features.npy")[[place[Path(file).resolve()] for file in found.files]]
        print_agreement("thingsvision", found.ours, theirs)
    if {"train", "val"} <= set(found.splits):
        compare_accuracy(found, FeatureExtractor(backbone, weights=arguments.weights) if arguments.pipeline else None)


def read_both(output: Path, plain: Path) -> Found:
    with np.load(plain) as stored:
        theirs, files = stored["features"], stored["files"].tolist()
    table = features.read_features(output)
    place = {Path(path).resolve(): row for row, path in enumerate(table.columns["path"])}
    rows = [place[Path(file).resolve()] for file in files]
    columns = {name: np.array(table.columns[name])[rows] for name in ("split", "label") if name in table.columns}
    nothing = np.array([""] * len(rows))
    ours = table.features["embedding"][rows]
    return Found(output, ours, theirs, files, columns.get("split", nothing), columns.get("label", nothing))


def print_agreement(peer: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines = (ours * theirs).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    apart = np.abs(ours - theirs).max()
    print(
        f"  from {peer}'s: largest difference of a feature {apart:.1e}, of values up to {np.abs(theirs).max():.1f}; "
        f"cosine at least {cosines.min():.5f}, median {np.median(cosines):.5f}",
        flush=True,
    )


def compare_accuracy(found: Found, extractor: FeatureExtractor | None) -> None:
    """Print what the same classifier makes of both, by the probe, and from an extractor in a pipeline."""
    train, val = found.splits == "train", found.splits == "val"
    grid = {"logisticregression__C": list(STRENGTHS)}
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    with contextlib.redirect_stdout(io.StringIO()):  # its own table
        cards = features.probe(features.ProbeOptions(features=str(found.output)))
    top1 = cards["logistic_regression"].metrics["top1"]
    print(f"  probe                        {top1['value']:.4f} [{top1['low']:.4f}, {top1['high']:.4f}]")
    if extractor is not None:
        paths = np.array(found.files)
        with working_folder(None) as memory:
            pipeline = Pipeline([("features", extractor), *classifier.steps], memory=str(memory))
            search = GridSearchCV(pipeline, grid, cv=5).fit(paths[train], found.labels[train])
            report("Pipeline in a GridSearchCV", search.predict(paths[val]), found.labels[val])
    for name, rows in (("our features", found.ours), ("timm's features", found.theirs)):
        search = GridSearchCV(classifier, grid, cv=5).fit(rows[train], found.labels[train])
        report(name, search.predict(rows[val]), found.labels[val])


def report(name: str, predicted: np.ndarray, labels: np.ndarray) -> None:
    estimate = proportion(int((predicted == labels).sum()), len(labels))
    print(f"  {name:<28} {estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]", flush=True)


def main() -> None:
    parser = make_parser(__doc__, batch_size=32)
    parser.add_argument("--data", type=Path, help="an image folder; unset: generated pictures")
    parser.add_argument("--images", type=int, default=512, help="how many to generate, a quarter of them val")
    parser.add_argument("--backbones", nargs="+", default=list(NETWORKS)[:3], choices=NETWORKS)
    parser.add_argument("--weights", help="unset: imagenet where they come with the installation, else random ones")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of onetrunk")
    parser.add_argument("--pipeline", action="store_true", help="also the extractor in a scikit-learn pipeline")
    parser.add_argument("--thingsvision", help="the Python of an environment that has it; for --backbones resnet50")
    arguments = parser.parse_args()
    if arguments.thingsvision is not None and (arguments.backbones != ["resnet50"] or arguments.weights):
        parser.error(
            "--thingsvision: only with --backbones resnet50 and without --weights, as it takes torchvision's file"
        )
    settle_device(arguments)
    with working_folder(None) as folder:
        data = arguments.data
        if data is None:
            write_scenes(folder, {"train": arguments.images - arguments.images // 4, "val": arguments.images // 4})
            data = folder / "pictures"
        asked = arguments.weights
        for backbone in arguments.backbones:
            arguments.weights = asked or weights_for(backbone, folder)
            compare(data, folder, backbone, arguments)


if __name__ == "__main__":
    main()
