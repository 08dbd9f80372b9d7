"""`evaluate` and `predict` beside the loops that torchvision and segmentation-models-pytorch document.

    python benchmarks/evaluate_peers.py
    python benchmarks/evaluate_peers.py --apps detection --images 100 --rounds 3

A ResNet-50 classifier (beside `torchvision_evaluate.py`), a U-Net on it (`smp_evaluate.py`) and a Faster R-CNN on it
(`torchvision_detect.py`) are trained a little on generated pictures, so that there is something to find; then both
sides run the same weights over the same pictures of the split test, on the same canvas. Each is a process of its own,
timed from its start to its end; they take turns. Of an evaluation the loop alone is given too, reading included.
Predictions are printed, not drawn. The figures of both have to agree: torchvision's detectors resize pictures in
another way, which moves theirs a little.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from onetrunk.apps import load_model
from onetrunk.apps.task import Task
from random_weights import write_random_weights
from scenes import data_path, write_scenes
from torch import Tensor
from turns import (
    HERE,
    ONETRUNK,
    describe,
    make_parser,
    ratio,
    run,
    settle_device,
    take_turns,
    working_folder,
)

State = dict[str, Tensor]


def classifier_state(task: Task) -> State:
    return {**task.backbone.network.state_dict(), **_renamed(task.head.classifier.state_dict(), "", "fc.")}


def unet_state(task: Task) -> dict[str, State]:
    decoder = task.head.decoder
    parts = {"encoder": task.backbone.network, "decoder": decoder.decoder, "classifier": decoder.classifier}
    return {name: dict(part.state_dict()) for name, part in parts.items()}


def detector_state(task: Task) -> State:
    body = _renamed(task.backbone.network.state_dict(), "", "backbone.body.")
    return {**body, **_renamed(task.head.state_dict(), "pyramid.fpn.", "backbone.fpn.")}


def _renamed(state: State, start: str, theirs: str) -> State:
    """Return tensors whose names begin in another way; those that begin otherwise stay as they are."""
    return {theirs + key.removeprefix(start) if key.startswith(start) else key: each for key, each in state.items()}


@dataclass(frozen=True)
class App:
    """What is compared of an app.

    Attributes:
        peer: Its script.
        options: Of training ours; the head is the peer's.
        canvas: Height and width.
        images: How many pictures are evaluated where nothing else is asked for.
        batch_size: Of both.
        epochs: Of training.
        export: Makes the peer's weights of the trained model.
    """

    peer: str
    options: str
    canvas: tuple[int, int]
    images: int
    batch_size: int
    epochs: int
    export: Callable[[Task], object]


APPS = {
    "classification": App("torchvision_evaluate.py", "--freeze all", (224, 224), 384, 32, 2, classifier_state),
    "segmentation": App("smp_evaluate.py", "--resize stretch --freeze all", (224, 224), 192, 16, 2, unet_state),
    "detection": App(
        "torchvision_detect.py",
        "--head-options.width 256 --head-options.hidden 1024 --head-options.proposals 1000 --freeze all",
        (320, 416),
        48,
        4,
        4,
        detector_state,
    ),
}


@dataclass(frozen=True)
class Contest:
    """The model of an app that both sides run."""

    name: str
    app: App
    folder: Path
    arguments: argparse.Namespace

    @property
    def data(self) -> Path:
        """What ``--data`` of the app takes."""
        return data_path(self.folder, self.name)

    @property
    def pictures(self) -> Path:
        """The pictures of the split."""
        return self.folder / "pictures" / "test"

    def prepare(self) -> None:
        """Generate the pictures, train, and write the peer's weights."""
        given = self.arguments
        write_scenes(self.folder, {"train": given.train, "val": 8, "test": given.images or self.app.images})
        weights = write_random_weights("resnet50", self.folder)
        words = ["--data", self.data, "--output", self.folder / "run", "--backbone", "resnet50", "--weights", weights]
        words += [
            "--image-size",
            *self.app.canvas,
            "--epochs",
            self.app.epochs,
            "--batch-size",
            4,
            "--workers",
            given.workers,
        ]
        words += ["--device", given.device, *self.app.options.split()]
        run(ONETRUNK, self.name, "train", *words, threads=given.threads)
        torch.save(self.app.export(load_model(self.folder / "run")), self.folder / "peer.pth")

    def ours(self, command: str) -> tuple[float, dict]:
        """Return the seconds of a command, and its card, where there is one."""
        where = self.folder / "evaluation"
        words = ["--model", self.folder / "run", *self._common()]
        if command == "evaluate":
            words += ["--data", self.data, "--split", "test", "--output", where, "--overwrite"]
        else:
            words += ["--images", self.pictures]
        seconds, _ = run(ONETRUNK, self.name, command, *words, threads=self.arguments.threads)
        if command == "predict":
            return seconds, {}
        card = json.loads((where / "results.json").read_text())
        if self.name == "detection":  # how many an image; AP may be 0 of both
            rows = json.loads((where / "predictions.json").read_text())
            card["metrics"]["detections"] = {"value": sum(len(row["objects"]) for row in rows) / len(rows)}
        return seconds, card

    def theirs(self, command: str) -> tuple[float, dict]:
        """Return the seconds of the peer's script, and what it wrote."""
        output = self.folder / "peer.json"
        data = self.pictures if self.name == "classification" else self.data
        words = ["--data", data, "--weights", self.folder / "peer.pth", "--output", output, *self._common()]
        words += [] if self.name == "classification" else ["--canvas", *self.app.canvas]
        words += ["--predict"] if command == "predict" else []
        seconds, _ = run(sys.executable, HERE / self.app.peer, *words, threads=self.arguments.threads)
        return seconds, json.loads(output.read_text())

    def _common(self) -> list[object]:
        given = self.arguments
        return ["--batch-size", given.batch_size, "--workers", given.workers, "--device", given.device]


def compare(name: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Print the figures of an app."""
    contest = Contest(name, APPS[name], folder, arguments)
    contest.prepare()
    peer = APPS[name].peer
    images = arguments.images or APPS[name].images
    print(f"\n{name}, {images} pictures on {contest.app.canvas}, {describe(arguments)}")
    for command in arguments.commands:
        contenders = {"ours": partial(contest.ours, command), "theirs": partial(contest.theirs, command)}
        found = take_turns(arguments.rounds, contenders)
        ours, theirs = ([seconds for seconds, _ in found[who]] for who in ("ours", "theirs"))
        print(
            f"  {command:<10} onetrunk {images / median(ours):7.2f} images/s, {peer} {images / median(theirs):7.2f}; "
            f"ratio {ratio(theirs, ours)}",
            flush=True,
        )
        if command == "evaluate":
            print_loops([card for _, card in found["ours"]], [said for _, said in found["theirs"]])


def print_loops(cards: list[dict], peers: list[dict]) -> None:
    """Print the rates of the loops alone, and the figures that both gave."""
    ours = [card["cost"]["images_per_second"] for card in cards]
    theirs = [said["images"] / said["seconds"] for said in peers]
    print(
        f"  its loop   onetrunk {median(ours):7.2f} images/s, peer {median(theirs):7.2f}; ratio {ratio(ours, theirs)}"
    )
    for metric, value in peers[0]["metrics"].items():
        own = cards[0]["metrics"][metric]["value"]
        print(f"  {metric:<10} onetrunk {own:.4f}, peer {value:.4f}, apart {abs(own - value):.1e}", flush=True)


def main() -> None:
    parser = make_parser(__doc__, batch_size=None)
    parser.add_argument("--apps", nargs="+", choices=APPS, default=list(APPS))
    parser.add_argument("--commands", nargs="+", choices=("evaluate", "predict"), default=["evaluate", "predict"])
    parser.add_argument("--images", type=int, help="how many to evaluate; unset: 384, 192 and 48 of the apps in order")
    parser.add_argument("--train", type=int, default=48, help="how many to train on (default: 48)")
    arguments = parser.parse_args()
    settle_device(arguments)
    asked = arguments.batch_size
    for name in arguments.apps:
        arguments.batch_size = asked or APPS[name].batch_size
        with working_folder(None) as folder:
            compare(name, folder, arguments)


if __name__ == "__main__":
    main()
