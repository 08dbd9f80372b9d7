"""Heads on a frozen trunk: how near training from stored features is to what it must cost at least.

    python benchmarks/head_training.py
    python benchmarks/head_training.py --apps classification --backbones resnet50 --data hymenoptera/ --rounds 1

For each app and backbone `onetrunk APP train --freeze all` runs with `--cache on` for all epochs and with `--cache off`
for a few, in turn; then for the same few from what the first has stored. All without augmentation, each a process of
its own.

- total: seconds of the whole command with stored features, start-up and the last evaluation included.
- T: seconds of the trunk's one pass over train and val, as that run says when everything is on the disk.
- H: seconds of an epoch from stored features, validation included, the median of that run's epochs from the second on.
- ideal: T + epochs x H; what the total is above it is start-up, the last evaluation and what is written: the rest.
- speed-up: the total without stored features over that with them. It is extrapolated from the few epochs: their total,
  and for each of the others the median epoch from the second on.
- filling: T over the seconds in which `features extract` computes the means of the same levels of the same pictures,
  with the same batches and workers, and so writes next to nothing; canvases are of the same size, cropped and not
  padded. Measured of generated pictures.

The metric is that of the two short runs, which differ in nothing but where the features come from.
"""

import argparse
import csv
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from random_weights import weights_for
from scenes import data_path, write_scenes
from turns import (
    ONETRUNK,
    describe,
    make_parser,
    ratio,
    run,
    settle_device,
    spread,
    take_turns,
    working_folder,
)

#: App -> what leaves nothing of a training picture to chance, and the metric that is compared.
APPS = {
    "classification": ("--augment.flip 0 --augment.min-scale 1", "top1"),
    "segmentation": ("--augment.flip 0 --augment.min-scale 1", "mean_iou"),
    "detection": ("--augment.flip 0 --augment.min-zoom 1 --augment.max-zoom 1", "ap50"),
    "captioning": ("", "cider"),
    "vqa": ("", "vqa_accuracy"),
}


@dataclass(frozen=True)
class Trained:
    """What a training took, in seconds, and what came out.

    Attributes:
        total: Of the whole command.
        epochs: Of each epoch, validation included.
        stored: Of the pass that filled the store; 0 without one.
        plain: Of `features extract` for the same; 0 where it wasn't measured.
        bytes: Of the store.
        metric: Value, low and high.
    """

    total: float
    epochs: tuple[float, ...]
    stored: float
    plain: float
    bytes: int
    metric: tuple[float, float, float]

    @property
    def epoch(self) -> float:
        """The median epoch; the first also warms up and is left out."""
        return median(self.epochs[1:] or self.epochs)


def train(
    app: str, backbone: str, folder: Path, arguments: argparse.Namespace, *, cache: str, epochs: int, store: Path
) -> Trained:
    """Train a head; what an earlier run has stored in ``store`` is used."""
    fixed, metric = APPS[app]
    output = folder / f"{app}-{backbone}-{cache}-{epochs}"
    data = data_path(folder, app) if arguments.data is None else arguments.data
    words = ["--data", data, "--output", output, "--overwrite", "--freeze", "all", "--cache", cache, *fixed.split()]
    words += ["--cache-folder", store]
    words += ["--backbone", backbone, "--weights", arguments.weights or weights_for(backbone, folder)]
    words += ["--epochs", epochs, "--batch-size", arguments.batch_size, "--workers", arguments.workers]
    words += ["--image-size", *arguments.image_size] if arguments.image_size else []
    words += ["--device", arguments.device]
    total, said = run(ONETRUNK, app, "train", *words, threads=arguments.threads)
    card = json.loads((output / "results.json").read_text())
    with (output / "log.csv").open() as stream:
        seconds = tuple(float(row["seconds"]) for row in csv.DictReader(stream))
    stored = card["details"]["training"].get("stored") or {"bytes": 0}
    found = card["metrics"][metric]
    return Trained(
        total=total,
        epochs=seconds,
        stored=float((re.findall(r"^stored features of .* in ([\d.]+) s", said, re.MULTILINE) or [0])[0]),
        bytes=stored["bytes"],
        plain=0.0,
        metric=(found["value"], found["low"], found["high"]),
    )


def extract(backbone: str, folder: Path, arguments: argparse.Namespace, *, store: Path) -> float:
    """Return the seconds that `features extract` takes for what a training has stored, without writing maps."""
    about = json.loads(next(store.glob("*/store.json")).read_text())
    words = ["--data", folder / "pictures", "--output", folder / "plain.npz", "--overwrite"]
    words += ["--layers", *about["layers"]]
    words += ["--backbone", backbone, "--weights", arguments.weights or weights_for(backbone, folder)]
    words += ["--batch-size", arguments.batch_size, "--workers", arguments.workers, "--device", arguments.device]
    words += ["--precision", "auto"]  # that of stored features
    words += ["--image-size", *arguments.image_size] if arguments.image_size else []
    _, said = run(ONETRUNK, "features", "extract", *words, threads=arguments.threads)
    images, rate = re.findall(r"([\d,]+) rows;.* ([\d.]+) images/s", said)[-1]
    return int(images.replace(",", "")) / float(rate)


def compare(app: str, backbone: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Print the figures of an app on a backbone."""
    few, epochs = min(arguments.uncached_epochs, arguments.epochs), arguments.epochs

    store = folder / f"{app}-{backbone}-store"

    def trained(cache: str, count: int) -> Trained:
        return train(app, backbone, folder, arguments, cache=cache, epochs=count, store=store)

    def trained_from_nothing() -> Trained:
        shutil.rmtree(store, ignore_errors=True)
        found = trained("on", epochs)
        if arguments.data is not None:
            return found
        return replace(found, plain=extract(backbone, folder, arguments, store=store))

    found = take_turns(arguments.rounds, {"cached": trained_from_nothing, "off": lambda: trained("off", few)})
    cached, off = found["cached"], found["off"]
    again = [trained("on", few)]
    ideal = [each.stored + epochs * each.epoch for each in cached]
    uncached = [each.total + (epochs - few) * each.epoch for each in off]
    rest = [each.total - bound for each, bound in zip(cached, ideal, strict=True)]
    totals, stored = [each.total for each in cached], [each.stored for each in cached]
    filling = "not measured" if arguments.data else ratio(stored, [each.plain for each in cached])
    how = f"extrapolated from {few} epochs" if few < epochs else "measured"
    print(
        f"\n{app} on {backbone}, {epochs} epochs, {describe(arguments)}\n"
        f"  total {spread(totals)} s; T {spread(stored)} s, H {spread([each.epoch for each in cached])} s, "
        f"store {cached[0].bytes / 2**20:.1f} MiB\n"
        f"  total / (T + {epochs} H)          {ratio(totals, ideal)}; the rest {spread(rest)} s\n"
        f"  total without stored features  {spread(uncached)} s, {how}\n"
        f"  speed-up                       {ratio(uncached, totals)}\n"
        f"  filling over a plain pass      {filling}\n"
        f"  {APPS[app][1]} after {few} epochs: stored {figure(again)}, not stored {figure(off)}",
        flush=True,
    )


def figure(runs: Sequence[Trained]) -> str:
    value, low, high = runs[0].metric
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"


def main() -> None:
    parser = make_parser(__doc__, batch_size=16)
    parser.add_argument("--apps", nargs="+", choices=APPS, default=list(APPS))
    parser.add_argument("--backbones", nargs="+", default=["efficientnet_lite0", "resnet50"])
    parser.add_argument("--data", type=Path, help="a data set that the apps can open; unset: generated pictures")
    parser.add_argument("--train", type=int, default=240, help="how many training pictures to generate")
    parser.add_argument("--val", type=int, default=60, help="how many validation pictures to generate")
    parser.add_argument("--image-size", type=int, nargs="+", help="the canvas; unset: the weights' own")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--uncached-epochs", type=int, default=3, help="at least 2; the rest is extrapolated")
    parser.add_argument("--weights", help="unset: imagenet where they come with the installation, else random ones")
    arguments = parser.parse_args()
    if not 2 <= arguments.uncached_epochs <= arguments.epochs:
        parser.error("--uncached-epochs: at least 2, at most --epochs")
    settle_device(arguments)
    with working_folder(None) as folder:
        if arguments.data is None:
            write_scenes(folder, {"train": arguments.train, "val": arguments.val})
        for app in arguments.apps:
            for backbone in arguments.backbones:
                compare(app, backbone, folder, arguments)


if __name__ == "__main__":
    main()
