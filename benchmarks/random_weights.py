"""Weights for benchmarks that need none that learned anything. Not a benchmark itself.

A ResNet with random weights in evaluation mode doubles its values from block to block, because its batch norms know
nothing yet of what they are to normalise; a head on it may not train at all. So they get the statistics of a few
generated pictures first. And what a block adds is made small beside what it adds to, as training makes it: else each
block multiplies what rounding did before it, and a ResNet-50 in bf16 gives other features than in fp32, so that no
command would choose it.
"""

from pathlib import Path

import torch
import torchvision
from PIL import Image
from scenes import write_scenes
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.transforms import v2

#: Backbones whose ImageNet weights come with the installation.
BUNDLED = {"efficientnet_lite0": "imagenet"}
_PICTURES = 24
#: The gain of the last norm of a block.
_BLOCK_GAIN = 0.2


def weights_for(backbone: str, folder: Path) -> str:
    """Return what ``--weights`` takes for a backbone where nothing has to be downloaded: perhaps a file in a folder."""
    if backbone.startswith("resnet"):
        return str(write_random_weights(backbone, folder))
    return BUNDLED.get(backbone, "none")


def write_random_weights(network: str, folder: Path) -> Path:
    """Write random weights of one of torchvision's networks with batch norms, the same ones each time."""
    path = folder / f"{network}-random.pth"
    if path.is_file():
        return path
    pictures = folder / "calibration"
    write_scenes(pictures, {"train": _PICTURES})
    torch.manual_seed(0)
    model = torchvision.models.get_model(network, weights=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean of all that it sees
        if isinstance(module, Bottleneck | BasicBlock):
            last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
            nn.init.constant_(last.weight, _BLOCK_GAIN)
    steps = [v2.Resize((224, 224)), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    transform = v2.Compose([*steps, v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    batch = torch.stack([transform(Image.open(file)) for file in sorted(pictures.rglob("*.jpg"))])
    with torch.no_grad():
        model.train()(batch)
    torch.save(model.state_dict(), path)
    return path
