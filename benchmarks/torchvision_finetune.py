"""What torchvision's users write: the loop of PyTorch's transfer learning tutorial, on one of its ResNets.

Run by `finetune_torchvision.py`, in a process of its own. Image folders, random crops and mirror images for training, a
new last layer, SGD with momentum 0.9, a phase of training and one of validation in every epoch, the best state kept;
fp32 and the memory layout that networks are created with. The tutorial's rate falls to a tenth only after seven epochs.

    python benchmarks/torchvision_finetune.py --data pets/ --network resnet18 --weights r18.pth --output peer.json
"""

import argparse
import copy
import json
import time
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

NORMALIZE = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
TRANSFORMS = {
    "train": [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()],
    "val": [transforms.Resize(256), transforms.CenterCrop(224)],
}


def load(arguments: argparse.Namespace) -> dict[str, DataLoader]:
    """Return a loader for each split."""
    loaders = {}
    for split, steps in TRANSFORMS.items():
        images = datasets.ImageFolder(
            arguments.data / split, transforms.Compose([*steps, transforms.ToTensor(), NORMALIZE])
        )
        loaders[split] = DataLoader(
            images, batch_size=arguments.batch_size, shuffle=split == "train", num_workers=arguments.workers
        )
    return loaders


def build_model(arguments: argparse.Namespace, classes: int) -> nn.Module:
    """Return the network with a new last layer."""
    model = getattr(torchvision.models, arguments.network)(weights=None)
    model.load_state_dict(torch.load(arguments.weights, weights_only=True))
    model.fc = nn.Linear(model.fc.in_features, classes)
    return model.to(arguments.device)


def train(model: nn.Module, loaders: dict[str, DataLoader], arguments: argparse.Namespace) -> dict[str, object]:
    """Train and validate; return when each step ended, the seconds of each epoch, and the best epoch's hits."""
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=arguments.rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    stamps, seconds, best, state = [], [], -1, model.state_dict()
    for epoch in range(arguments.epochs):
        started = time.monotonic()
        for phase, loader in loaders.items():
            model.train(phase == "train")
            hits, loss_sum = 0, 0.0
            for pictures, targets in loader:
                labels = targets.to(arguments.device)
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    logits = model(pictures.to(arguments.device))
                    loss = criterion(logits, labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                        stamps.append(time.monotonic())
                loss_sum += loss.item() * len(labels)
                hits += int((logits.argmax(1) == labels).sum())
            total = len(loader.dataset)
            print(f"epoch {epoch + 1} {phase} loss {loss_sum / total:.4f} top1 {hits / total:.4f}", flush=True)
        schedule.step()
        seconds.append(time.monotonic() - started)
        if hits > best:
            best, state = hits, copy.deepcopy(model.state_dict())
    model.load_state_dict(state)
    return {"stamps": stamps, "seconds": seconds, "hits": best, "images": total}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0.001)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    loaders = load(arguments)
    model = build_model(arguments, len(loaders["train"].dataset.classes))
    arguments.output.write_text(json.dumps(train(model, loaders, arguments)))


if __name__ == "__main__":
    main()
