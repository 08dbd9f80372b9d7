"""Fine-tuning a whole ResNet beside torchvision's documented loop: images a second of training, and accuracy.

    python benchmarks/finetune_torchvision.py
    python benchmarks/finetune_torchvision.py --data hymenoptera/ --weights resnet18=resnet18-f37072fd.pth --epochs 5

The loop is that of PyTorch's transfer learning tutorial (`torchvision_finetune.py`): fp32, and the memory layout that
networks are created with. Ours is `onetrunk classification train` with that tutorial's optimizer, rates and
augmentation. Both start from the same weights, read the same pictures with as many workers and threads, and keep the
best epoch. Each is a process of its own, with the round's number as its seed.

Images a second are of training steps, with reading: between the end of an epoch's first step and that of its last, in
all epochs but the first. So neither start-up nor validation is in them; seconds of an epoch hold validation too.
Accuracy is that of all rounds' validation together, with Wilson's interval, in which a round's pictures count once.
"""

import argparse
import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from onetrunk.apps.evaluated_images import read_images
from onetrunk.apps.intervals import wilson
from random_weights import write_random_weights
from scenes import write_scenes
from turns import HERE, describe, make_parser, ratio, run, settle_device, spread, take_turns, working_folder

NETWORKS = ("resnet18", "resnet50")


@dataclass(frozen=True)
class Tuned:
    """What a training took, and what came out.

    Attributes:
        stamps: When each step ended, in seconds.
        seconds: Of each epoch, validation included.
        hits: How many validation pictures the best epoch has right.
        images: How many there are.
    """

    stamps: list[float]
    seconds: list[float]
    hits: int
    images: int

    def rate(self, batch_size: int, pictures: int) -> float:
        """Return images a second of training steps, by the training pictures of an epoch."""
        steps = len(self.stamps) // len(self.seconds)
        epochs = [self.stamps[start : start + steps] for start in range(steps, len(self.stamps), steps)]
        return len(epochs) * (pictures - batch_size) / sum(stamps[-1] - stamps[0] for stamps in epochs)


class Contest:
    """One network's two trainings, and the round they are in."""

    def __init__(self, network: str, weights: Path, data: Path, folder: Path, arguments: argparse.Namespace) -> None:
        self.network, self.weights, self.data, self.folder = network, weights, data, folder
        self.arguments = arguments
        self.rounds = {"onetrunk": 0, "torchvision": 0}

    def onetrunk(self) -> Tuned:
        given, output, steps = self.arguments, self.folder / "run", self.folder / "steps.json"
        words = ["--data", self.data, "--output", output, "--overwrite", "--weights", self.weights]
        words += ["--backbone", self.network, *self._common("onetrunk"), "--device", given.device]
        words += ["--learning-rate", given.rate, "--optim.name", "sgd", "--optim.trunk-factor", 1]
        words += ["--optim.weight-decay", 0, "--optim.schedule", "constant", "--optim.warmup-fraction", 0]
        words += ["--augment.min-scale", 0.08, "--image-size", 224]
        child = [sys.executable, HERE / "onetrunk_steps.py", steps]
        run(*child, "classification", "train", *words, threads=given.threads)
        with (output / "log.csv").open() as stream:
            seconds = [float(row["seconds"]) for row in csv.DictReader(stream)]
        rows = read_images(output / "images.npz")[0].rows
        hits = rows["top"][:, 0] == rows["label"]
        return Tuned(json.loads(steps.read_text()), seconds, int(hits.sum()), len(hits))

    def torchvision(self) -> Tuned:
        given, output = self.arguments, self.folder / "peer.json"
        words = ["--data", self.data, "--network", self.network, "--weights", self.weights, "--output", output]
        words += ["--rate", given.rate, *self._common("torchvision"), "--device", given.device]
        run(sys.executable, HERE / "torchvision_finetune.py", *words, threads=given.threads)
        return Tuned(**json.loads(output.read_text()))

    def _common(self, name: str) -> list[object]:
        given, seed = self.arguments, self.rounds[name]
        self.rounds[name] += 1
        words = ["--epochs", given.epochs, "--batch-size", given.batch_size, "--workers", given.workers]
        return [*words, "--seed", seed]


def compare(network: str, data: Path, folder: Path, arguments: argparse.Namespace) -> None:
    """Print images a second and accuracy of both."""
    weights, origin = given_weights(network, folder, arguments)
    contest = Contest(network, weights, data, folder, arguments)
    contenders = {"onetrunk": contest.onetrunk, "torchvision": contest.torchvision}
    found = take_turns(arguments.rounds, contenders)
    pictures = sum(path.is_file() for path in (data / "train").rglob("*"))
    print(f"\n{network}, {pictures} pictures, {origin}, {arguments.epochs} epochs, {describe(arguments)}")
    rates = {name: [each.rate(arguments.batch_size, pictures) for each in runs] for name, runs in found.items()}
    epochs = {name: [median(each.seconds[1:]) for each in runs] for name, runs in found.items()}
    for name, runs in found.items():
        top1 = wilson(sum(each.hits for each in runs) / sum(each.images for each in runs), runs[0].images)
        print(
            f"  {name:<12} {median(rates[name]):7.1f} images/s in steps, {spread(epochs[name])} s an epoch, "
            f"top1 {top1.value:.4f} [{top1.low:.4f}, {top1.high:.4f}]"
        )
    print(
        f"  ratio of images/s {ratio(rates['onetrunk'], rates['torchvision'])}, "
        f"of whole epochs {ratio(epochs['torchvision'], epochs['onetrunk'])}",
        flush=True,
    )


def given_weights(network: str, folder: Path, arguments: argparse.Namespace) -> tuple[Path, str]:
    """Return the file of weights that was given for a network, or one of random weights, and what to call it."""
    given = dict(pair.split("=", 1) for pair in arguments.weights)
    if network in given:
        return Path(given[network]), f"weights {Path(given[network]).name}"
    return write_random_weights(network, folder), "random weights"


def main() -> None:
    parser = make_parser(__doc__, batch_size=16)
    parser.add_argument("--data", type=Path, help="a folder with train/ and val/, a folder a class; unset: generated")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--weights", nargs="+", default=[], metavar="NETWORK=FILE", help="unset: random ones")
    parser.add_argument("--train", type=int, default=160, help="how many training pictures to generate")
    parser.add_argument("--val", type=int, default=48, help="how many validation pictures to generate")
    parser.add_argument("--epochs", type=int, default=3, help="at least 2 (default: 3)")
    parser.add_argument("--rate", type=float, default=0.001, help="the learning rate (default: the tutorial's 0.001)")
    arguments = parser.parse_args()
    if arguments.epochs < 2:
        parser.error("--epochs: at least 2, because the first isn't timed")
    if any("=" not in pair for pair in arguments.weights):
        parser.error("--weights: takes pairs such as resnet18=resnet18-f37072fd.pth")
    settle_device(arguments)
    with working_folder(None) as folder:
        data = arguments.data
        if data is None:
            write_scenes(folder, {"train": arguments.train, "val": arguments.val})
            data = folder / "pictures"
        for network in arguments.networks:
            compare(network, data, folder, arguments)


if __name__ == "__main__":
    main()
