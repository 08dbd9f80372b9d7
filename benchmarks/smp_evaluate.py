"""What segmentation-models-pytorch's users write to evaluate its Unet, and to use it; run by `evaluate_peers.py`.

Evaluation is a plain loop over a loader with worker processes, the logits resized to the masks, `smp.metrics` counting
pixels. Prediction (`--predict`) takes one picture after the other, and gives the share of each class.
"""

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2


class Masks(Dataset):
    """Pictures and masks of a split of a table."""

    def __init__(self, table: Path, split: str, canvas: tuple[int, int]) -> None:
        """List the files."""
        with table.open() as stream:
            self.rows = [row for row in csv.DictReader(stream) if row["split"] == split]
        self.root = table.parent
        to_numbers = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
        normalize = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        self.transform = v2.Compose([v2.Resize(canvas, antialias=True), *to_numbers, normalize])

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the picture on the canvas and the mask in its own size."""
        row = self.rows[index]
        mask = torch.from_numpy(np.array(Image.open(self.root / row["mask"])))
        return self.transform(Image.open(self.root / row["path"]).convert("RGB")), mask.long()


def segment(model: smp.Unet, pictures: Tensor, size: tuple[int, int], device: str) -> Tensor:
    """Return the classes of pixels ``[B, h, w]``."""
    logits = torch.nn.functional.interpolate(model(pictures.to(device)), size=size, mode="bilinear")
    return logits.argmax(1)


def evaluate(model: smp.Unet, images: Masks, classes: int, arguments: argparse.Namespace) -> dict[str, object]:
    loader = DataLoader(images, batch_size=arguments.batch_size, num_workers=arguments.workers)
    counts: list[list[Tensor]] = [[], [], [], []]
    with torch.inference_mode():
        for pictures, masks in loader:
            found = segment(model, pictures, tuple(masks.shape[-2:]), arguments.device)
            batch = smp.metrics.get_stats(found.cpu(), masks, mode="multiclass", num_classes=classes)
            for kept, values in zip(counts, batch, strict=True):
                kept.append(values)
    mean_iou = smp.metrics.iou_score(*(torch.cat(kept) for kept in counts), reduction="macro")
    return {"images": len(images), "metrics": {"mean_iou": float(mean_iou)}}


def predict(model: smp.Unet, images: Masks, classes: int, arguments: argparse.Namespace) -> dict[str, object]:
    with torch.inference_mode():
        for row in images.rows:
            picture = Image.open(images.root / row["path"]).convert("RGB")
            size = (picture.height, picture.width)
            found = segment(model, images.transform(picture)[None], size, arguments.device)
            print(row["path"], torch.bincount(found.flatten(), minlength=classes).tolist())
    return {"images": len(images), "metrics": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a table of path, mask and split")
    parser.add_argument("--split", default="test")
    parser.add_argument("--weights", type=Path, required=True, help="of encoder, decoder and segmentation head")
    parser.add_argument("--canvas", type=int, nargs=2, default=(224, 224))
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--predict", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    state = torch.load(arguments.weights, weights_only=True)
    classes = len(state["classifier"]["bias"])
    model = smp.Unet("resnet50", encoder_weights=None, classes=classes)
    model.encoder.load_state_dict(state["encoder"])
    model.decoder.load_state_dict(state["decoder"])
    model.segmentation_head[0].load_state_dict(state["classifier"])
    model.eval().to(arguments.device)
    images = Masks(arguments.data, arguments.split, tuple(arguments.canvas))
    started = time.monotonic()
    run = predict if arguments.predict else evaluate
    found = run(model, images, classes, arguments)
    arguments.output.write_text(json.dumps({**found, "seconds": time.monotonic() - started}))


if __name__ == "__main__":
    main()
