"""What torchvision's users write to evaluate a Faster R-CNN, and to use it; run by `evaluate_peers.py`.

Evaluation is the loop of its detection references: a loader that keeps pictures in lists, the model in
`torch.inference_mode`, pycocotools for the figures. Prediction (`--predict`) is that of its models' documentation: one
picture after the other is decoded and searched.
"""

import argparse
import contextlib
import csv
import io
import json
import time
from pathlib import Path

import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.io import decode_image
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn
from torchvision.transforms import v2

TRANSFORM = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])


class Boxes(Dataset):
    """Pictures of a split of a table, and what is in them; a picture's id is its place."""

    def __init__(self, table: Path, split: str) -> None:
        """Read the table."""
        with table.open() as stream:
            rows = [row for row in csv.DictReader(stream) if row["split"] == split]
        self.files = [table.parent / name for name in dict.fromkeys(row["path"] for row in rows)]
        self.labels = sorted({row["label"] for row in rows})
        self.annotations = []
        for number, row in enumerate(rows, start=1):
            left, top, right, bottom = (float(row[side]) for side in ("xmin", "ymin", "xmax", "ymax"))
            place = self.files.index(table.parent / row["path"])
            box, category = [left, top, right - left, bottom - top], self.labels.index(row["label"]) + 1
            about = {"id": number, "image_id": place, "category_id": category, "iscrowd": 0}
            self.annotations.append({**about, "bbox": box, "area": box[2] * box[3]})

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return the picture ``[3, h, w]`` and its id."""
        return TRANSFORM(Image.open(self.files[index]).convert("RGB")), index

    def truth(self) -> COCO:
        """Return what is in the pictures, as pycocotools wants it."""
        coco = COCO()
        categories = [{"id": place + 1, "name": name} for place, name in enumerate(self.labels)]
        images = [{"id": place} for place in range(len(self))]
        coco.dataset = {"images": images, "categories": categories, "annotations": self.annotations}
        coco.createIndex()
        return coco


def evaluate(model: FasterRCNN, images: Boxes, arguments: argparse.Namespace) -> dict[str, object]:
    loader = DataLoader(
        images,
        batch_size=arguments.batch_size,
        num_workers=arguments.workers,
        collate_fn=lambda batch: tuple(zip(*batch, strict=True)),
    )
    results = []
    with torch.inference_mode():
        for pictures, places in loader:
            found = model([picture.to(arguments.device) for picture in pictures])
            for place, one in zip(places, found, strict=True):
                sides = one["boxes"].cpu()
                boxes = torch.cat([sides[:, :2], sides[:, 2:] - sides[:, :2]], dim=1).tolist()
                results += [
                    {"image_id": place, "category_id": label, "bbox": box, "score": score}
                    for box, label, score in zip(boxes, one["labels"].tolist(), one["scores"].tolist(), strict=True)
                ]
    metrics = {"ap": 0.0, "ap50": 0.0, "detections": len(results) / len(images)}
    if results:
        truth = images.truth()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        metrics |= {"ap": float(evaluation.stats[0]), "ap50": float(evaluation.stats[1])}
    return {"images": len(images), "metrics": metrics}


def predict(model: FasterRCNN, images: Boxes, arguments: argparse.Namespace) -> dict[str, object]:
    to_numbers = v2.ToDtype(torch.float32, scale=True)
    with torch.inference_mode():
        for file in images.files:
            (found,) = model([to_numbers(decode_image(str(file))).to(arguments.device)])
            kept = found["scores"] > 0.5
            print(file, found["labels"][kept].tolist(), found["boxes"][kept].tolist())
    return {"images": len(images), "metrics": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a table of path, label, xmin .. ymax and split")
    parser.add_argument("--split", default="test")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--canvas", type=int, nargs=2, default=(320, 416))
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--predict", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    state = torch.load(arguments.weights, weights_only=True)
    classes = len(state["roi_heads.box_predictor.cls_score.bias"])
    sides = {"min_size": min(arguments.canvas), "max_size": max(arguments.canvas)}
    model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=classes, **sides)
    model.load_state_dict(state)
    model.eval().to(arguments.device)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools' own lines
        images = Boxes(arguments.data, arguments.split)
        started = time.monotonic()
        found = predict(model, images, arguments) if arguments.predict else evaluate(model, images, arguments)
    arguments.output.write_text(json.dumps({**found, "seconds": time.monotonic() - started}))


if __name__ == "__main__":
    main()
