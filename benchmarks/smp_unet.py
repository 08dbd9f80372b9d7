"""What segmentation-models-pytorch's users write: its own Unet, a plain loop, the same weights and augmentation.

Run by ``segmentation_smp.py``, in a process of its own. It keeps the state with the best mean IoU on val, as onetrunk
does, and writes the classes of each test picture's pixels, in the pixels of the file.

    python benchmarks/smp_unet.py --data camvid/ --seed 0 --epochs 10 --canvas 128 160 --output peer.npz
"""

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from onetrunk.backbones import build_backbone
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.tv_tensors import Mask

CLASSES, VOID = 11, 255


class CamVid(Dataset):
    """Pictures and masks of a split; masks keep 0..10, everything else is void."""

    def __init__(self, root: Path, split: str, transform: v2.Transform) -> None:
        """List the files."""
        self.pictures = sorted((root / split).glob("*.jpg"))
        self.masks = [root / f"{split}annot" / f"{path.stem}.png" for path in self.pictures]
        self.transform = transform

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the picture and the mask on the canvas, and the mask in its own size."""
        values = np.array(Image.open(self.masks[index]))
        full = torch.from_numpy(np.where(values < CLASSES, values, VOID))
        picture, mask = self.transform(Image.open(self.pictures[index]).convert("RGB"), Mask(full))
        return picture, mask.as_subclass(torch.Tensor).long(), full.long()


def make_transform(canvas: tuple[int, int], *, is_training: bool) -> v2.Transform:
    """Return the augmentation of ``onetrunk segmentation train``, as torchvision has it."""
    ratio = canvas[1] / canvas[0]
    place = [
        v2.RandomResizedCrop(canvas, (0.35, 1.0), (ratio * 3 / 4, ratio * 4 / 3), antialias=True),
        v2.RandomHorizontalFlip(0.5),
    ]
    to_numbers = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
    return v2.Compose([*(place if is_training else [v2.Resize(canvas, antialias=True)]), *to_numbers])


def build_model() -> smp.Unet:
    """Return smp's Unet whose encoder has the pip-installed ImageNet weights."""
    model = smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None, classes=CLASSES)
    trunk = build_backbone("efficientnet_lite0").network.state_dict()
    target = model.encoder.model.state_dict()
    missing = target.keys() - trunk.keys()
    if missing:
        raise SystemExit(f"the encoder has other names: {sorted(missing)[:5]}")
    model.encoder.model.load_state_dict({name: trunk[name] for name in target})
    return model


def count(model: smp.Unet, loader: DataLoader) -> tuple[list[np.ndarray], float]:
    """Return each picture's confusion matrix, and the mean IoU of their sum."""
    model.eval()
    matrices = []
    with torch.no_grad():
        for pictures, _, full in loader:
            logits = torch.nn.functional.interpolate(model(pictures), size=full.shape[-2:], mode="bilinear")
            for found, truth in zip(logits.argmax(1), full, strict=True):
                known = truth != VOID
                cells = truth[known] * CLASSES + found[known]
                matrices.append(torch.bincount(cells, minlength=CLASSES**2).reshape(CLASSES, CLASSES).numpy())
    total = np.sum(matrices, axis=0)
    union = total.sum(0) + total.sum(1) - total.diagonal()
    return matrices, float((total.diagonal()[union > 0] / union[union > 0]).mean())


def train(arguments: argparse.Namespace) -> None:
    """Train, choose the best epoch, write what it makes of the test pictures."""
    canvas = tuple(arguments.canvas)
    torch.manual_seed(arguments.seed)
    splits = {
        split: CamVid(arguments.data, split, make_transform(canvas, is_training=split == "train"))
        for split in ("train", "val", "test")
    }
    loaders = {
        split: DataLoader(data, batch_size=8, shuffle=split == "train", num_workers=2, persistent_workers=True)
        for split, data in splits.items()
    }
    model = build_model()
    head = [*model.decoder.parameters(), *model.segmentation_head.parameters()]
    optimizer = torch.optim.AdamW(
        [{"params": model.encoder.parameters(), "lr": arguments.rate / 10}, {"params": head, "lr": arguments.rate}],
        weight_decay=0.05,
    )
    steps = arguments.epochs * len(loaders["train"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [arguments.rate / 10, arguments.rate], total_steps=steps, pct_start=0.05, cycle_momentum=False
    )
    best, state, started = -1.0, None, time.monotonic()
    for epoch in range(arguments.epochs):
        model.train()
        for pictures, masks, _ in loaders["train"]:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(pictures), masks, ignore_index=VOID)
            loss.backward()
            optimizer.step()
            schedule.step()
        found = count(model, loaders["val"])[1]
        print(f"epoch {epoch + 1} val_mean_iou {found:.4f} {time.monotonic() - started:.0f} s", flush=True)
        if found > best:
            best, state = found, copy.deepcopy(model.state_dict())
    seconds = time.monotonic() - started
    model.load_state_dict(state)
    matrices, mean_iou = count(model, loaders["test"])
    names = [f"test/{path.name}" for path in splits["test"].pictures]
    np.savez_compressed(arguments.output, matrices=np.stack(matrices), names=names, seconds=seconds)
    print(f"test mean IoU {mean_iou:.4f}, {seconds:.0f} s of training")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--canvas", type=int, nargs=2, default=(128, 160))
    parser.add_argument("--output", type=Path, required=True)
    train(parser.parse_args())
