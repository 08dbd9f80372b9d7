"""What torchvision's users write: its FasterRCNN on the same trunk and weights, and the loop of its tutorial.

Run by ``detection_torchvision.py``, in a process of its own. Everything that isn't said here is torchvision's default:
a pyramid of 256 channels on four levels (less where that is asked for: on a CPU it is slow), its anchors, 2,000
proposals, 512 of them trained on, the first stages of the trunk frozen. The loop is that of the
fine-tuning tutorial and of the detection references: SGD with momentum 0.9, weight decay 0.0005, a learning rate of
0.005 after a warm-up, a tenth of it from 2/3 of the time on and a hundredth from 8/9 on; mirror images; batches of two.
It trains until it has used as many CPU seconds as it was given, and needs no validation for that.

    python benchmarks/torchvision_frcnn.py --data bccd/BCCD --canvas 480 640 --cpu-seconds 900 --output peer.npz
"""

import argparse
import resource
import time
from pathlib import Path

import torch
from onetrunk.apps.detection.detections import Detections
from onetrunk.apps.detection.metrics import make_evaluator
from onetrunk.apps.evaluation import Piece, join_pieces
from onetrunk.backbones import build_backbone
from onetrunk.datasets import SampleDataset, collate, eval_transform, open_dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool


class Trunk(nn.Module):
    """A trunk with torchvision's pyramid: what ``BackboneWithFPN`` makes of its own networks."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Load the weights."""
        super().__init__()
        levels, width = arguments.levels, arguments.width
        self.body = build_backbone(arguments.backbone, weights="imagenet", levels=levels)
        self.body.freeze(arguments.freeze)
        channels = [self.body.specs[level].channels for level in levels]
        self.fpn = FeaturePyramidNetwork(channels, width, extra_blocks=LastLevelMaxPool())
        self.levels, self.out_channels = levels, width

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps, named 0, 1, ... and pool."""
        maps = self.body(images)
        return self.fpn({str(place): maps[level] for place, level in enumerate(self.levels)})


def build_model(arguments: argparse.Namespace, num_classes: int) -> FasterRCNN:
    """Return the detector; with fewer levels than torchvision's five it needs anchors for as many."""
    trunk = Trunk(arguments)
    numbers = range(len(arguments.levels))
    sizes = tuple((32 * 2 ** (place + int(arguments.levels[0][1]) - 2),) for place in range(len(numbers) + 1))
    preprocessing = trunk.body.preprocessing
    return FasterRCNN(
        trunk,
        num_classes,
        min_size=min(arguments.canvas),
        max_size=max(arguments.canvas),
        image_mean=list(preprocessing.mean),
        image_std=list(preprocessing.std),
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        box_roi_pool=MultiScaleRoIAlign([str(place) for place in numbers], output_size=7, sampling_ratio=2),
    )


def used() -> float:
    """Return the CPU seconds of this process and of workers that ended."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def load(arguments: argparse.Namespace, split: str, batch: int) -> tuple[DataLoader, tuple[str, ...], list[str]]:
    """Return the loader of a split in the pictures' own sizes fitted to the canvas, the classes and the names."""
    images = open_dataset(arguments.data, split, kind="objects")
    samples = SampleDataset(images.records, eval_transform(tuple(arguments.canvas), mode="pad"), classes=images.classes)
    keys = [(0, place) for place in range(len(images))]
    loader = DataLoader(
        keys, batch_size=batch, shuffle=split == "train", collate_fn=lambda each: collate([samples[k] for k in each])
    )
    return loader, images.classes, [record.name for record in images.records]


def train(model: FasterRCNN, loader: DataLoader, seconds: float) -> tuple[int, float]:
    """Train until the seconds are used up; return the steps and the passes over the data."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.005, momentum=0.9, weight_decay=0.0005)
    warm_up = min(1000, len(loader) - 1)
    model.train()
    started, steps = used(), 0
    while True:
        for batch in loader:
            share = (used() - started) / seconds
            if share >= 1:
                return steps, steps / len(loader)
            factor = 1.0 if share < 2 / 3 else 0.1 if share < 8 / 9 else 0.01
            for group in optimizer.param_groups:
                group["lr"] = 0.005 * factor * min(1.0, (steps + 1) / warm_up)
            pictures, targets = prepare(batch)
            loss = sum(model(pictures, targets).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            if steps % 20 == 0:
                print(f"step {steps}, {share:.0%} of the time, loss {float(loss):.3f}", flush=True)


def prepare(batch: object) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return pictures without padding, and their targets, half of them mirrored."""
    pictures, targets = [], []
    for image, size, boxes, classes in zip(
        batch.images, batch.context.valid_sizes.tolist(), batch.targets["boxes"], batch.targets["classes"], strict=True
    ):
        picture, moved = image[:, : size[0], : size[1]] / 255, boxes
        if torch.rand(()) < 0.5:
            picture = picture.flip(-1)
            moved = torch.stack([size[1] - boxes[:, 2], boxes[:, 1], size[1] - boxes[:, 0], boxes[:, 3]], dim=1)
        pictures.append(picture)
        targets.append({"boxes": moved, "labels": classes + 1})
    return pictures, targets


def evaluate(model: FasterRCNN, arguments: argparse.Namespace) -> None:
    """Write what it finds in the split, as onetrunk's evaluations are written."""
    loader, classes, _ = load(arguments, arguments.split, 4)
    evaluator = make_evaluator(classes)
    pieces = []
    model.eval()
    with torch.no_grad():
        for batch in loader:
            sizes = batch.context.valid_sizes.tolist()
            found = model([each[:, : s[0], : s[1]] / 255 for each, s in zip(batch.images, sizes, strict=True)])
            scales = (batch.context.original_sizes / batch.context.valid_sizes).flip(-1).repeat(1, 2)
            output = [
                Detections(one["boxes"] * scale, one["scores"], one["labels"] - 1)
                for one, scale in zip(found, scales, strict=True)
            ]
            rows = evaluator.collect({"detections": output}, batch)
            pieces.append(Piece(batch.indices.numpy(), batch.names, rows, [], 0.0))
    images, _ = join_pieces(pieces)
    images.save(arguments.output, evaluator)
    print({name: round(value, 4) for name, value in evaluator.values(images).items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--levels", nargs="+", default=["c2", "c3", "c4", "c5"])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--freeze", default="c2", help="what torchvision calls trainable_layers=3")
    parser.add_argument("--canvas", type=int, nargs=2, default=(480, 640))
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="test")
    parser.add_argument("--cpu-seconds", type=float, required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    data, names, _ = load(given, "train", given.batch_size)
    detector = build_model(given, len(names) + 1)
    began = time.monotonic()
    done, passes = train(detector, data, given.cpu_seconds)
    print(f"{done} steps, {passes:.1f} passes, {time.monotonic() - began:.0f} s by the clock", flush=True)
    evaluate(detector, given)
