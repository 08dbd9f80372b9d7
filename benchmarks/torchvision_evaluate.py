"""What torchvision's users write to evaluate a classifier, and to use it; run by `evaluate_peers.py`.

Evaluation is the loop of its classification references: an image folder, the preset of resizing and cropping, a loader
with worker processes, the network in `torch.inference_mode`, hits counted. Prediction (`--predict`) is that of its
models' documentation: one picture after the other is decoded, transformed and classified.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torchvision
from torch.utils.data import DataLoader
from torchvision.io import decode_image
from torchvision.transforms import v2

NUMBERS = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
PLACE = [v2.Resize(256, antialias=True), v2.CenterCrop(224)]


def evaluate(model: torch.nn.Module, arguments: argparse.Namespace) -> dict[str, object]:
    images = torchvision.datasets.ImageFolder(arguments.data, v2.Compose([*PLACE, v2.PILToTensor(), *NUMBERS]))
    loader = DataLoader(images, batch_size=arguments.batch_size, num_workers=arguments.workers)
    hits = 0
    with torch.inference_mode():
        for pictures, labels in loader:
            hits += int((model(pictures.to(arguments.device)).argmax(1).cpu() == labels).sum())
    return {"images": len(images), "metrics": {"top1": hits / len(images)}}


def predict(model: torch.nn.Module, arguments: argparse.Namespace) -> dict[str, object]:
    transform = v2.Compose([*PLACE, *NUMBERS])
    files = sorted(arguments.data.rglob("*.jpg"))
    with torch.inference_mode():
        for file in files:
            batch = transform(decode_image(str(file))).unsqueeze(0)
            chances = model(batch.to(arguments.device)).squeeze(0).softmax(0)
            print(file, int(chances.argmax()), f"{float(chances.max()):.4f}")
    return {"images": len(files), "metrics": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the split's folder")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--predict", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    state = torch.load(arguments.weights, weights_only=True)
    model = torchvision.models.get_model(arguments.network, weights=None, num_classes=len(state["fc.bias"]))
    model.load_state_dict(state)
    model.eval().to(arguments.device)
    started = time.monotonic()
    found = predict(model, arguments) if arguments.predict else evaluate(model, arguments)
    arguments.output.write_text(json.dumps({**found, "seconds": time.monotonic() - started}))


if __name__ == "__main__":
    main()
