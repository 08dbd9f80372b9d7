"""Generated masks of other kinds, and a run that several tests share."""

from pathlib import Path

import numpy as np
import pytest
from onetrunk.apps.cli import main
from PIL import Image

TINY = "--backbone timm/test_resnet --weights none --image-size 64 --batch-size 2 --workers 0 --device cpu".split()
QUICK = [*TINY, "--head-options.width", "128", "--learning-rate", "0.01", "--optim.trunk-factor", "1"]


@pytest.fixture(scope="session")
def trained_masks(mask_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a small U-Net on the discs."""
    run = tmp_path_factory.mktemp("runs") / "masks"
    words = ["segmentation", "train", "--data", str(mask_folder), "--output", str(run), "--epochs", "12", *QUICK]
    assert main([*words, "--augment.min-scale", "0.6"]) == 0
    return run


@pytest.fixture(scope="session")
def binary_folder(mask_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures with masks of 0 and 255: disc or not."""
    root = tmp_path_factory.mktemp("binary")
    for path in sorted(mask_folder.rglob("masks/*.png")):
        split = path.parts[-3]
        values = np.asarray(Image.open(path))
        (root / split / "masks").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.where(values > 0, 255, 0).astype(np.uint8)).save(root / split / "masks" / path.name)
        (root / split / "images").mkdir(parents=True, exist_ok=True)
        Image.open(mask_folder / split / "images" / path.name).save(root / split / "images" / path.name)
    return root


@pytest.fixture(scope="session")
def class_masks(mask_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose pixels may be of several classes: a folder of masks for `disc`, and one for `left`."""
    root = tmp_path_factory.mktemp("classes")
    (root / "images").mkdir()
    for name in ("disc", "left"):
        (root / "masks" / name).mkdir(parents=True)
    for path in sorted(mask_folder.rglob("masks/*.png")):
        name = f"{path.parts[-3]}-{path.name}"
        values = np.asarray(Image.open(path))
        Image.open(mask_folder / path.parts[-3] / "images" / path.name).save(root / "images" / name)
        left = np.zeros_like(values)
        left[:, :24] = 255
        Image.fromarray(((values > 0) * 255).astype(np.uint8)).save(root / "masks" / "disc" / name)
        Image.fromarray(left).save(root / "masks" / "left" / name)
    return root
