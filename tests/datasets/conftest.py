"""Generated pictures and folders; test modules can't import one another, so everything shared is a fixture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onetrunk.datasets import Record
from PIL import Image


def _draw(path: Path, height: int = 40, width: int = 56, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # coarse noise: every crop of it looks different, and JPEG keeps it small
    noise = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def draw() -> Callable[..., Path]:
    """Writes a picture of smooth noise: ``draw(path, height, width, seed)``."""
    return _draw


@pytest.fixture(scope="session")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder with ``train`` (12 cats, 11 dogs) and ``val`` (3 and 2)."""
    root = tmp_path_factory.mktemp("data") / "pets"
    counts = {("train", "cat"): 12, ("train", "dog"): 11, ("val", "cat"): 3, ("val", "dog"): 2}
    for seed, ((split, name), count) in enumerate(counts.items()):
        for index in range(count):
            _draw(root / split / name / f"{index:02}.jpg", seed=100 * seed + index)
    return root


@pytest.fixture(scope="session")
def unsplit_pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders without splits: 10 cats, 5 dogs, 2 eels."""
    root = tmp_path_factory.mktemp("data") / "unsplit"
    for seed, (name, count) in enumerate({"cat": 10, "dog": 5, "eel": 2}.items()):
        for index in range(count):
            _draw(root / name / f"{index}.png", height=8, width=8, seed=100 * seed + index)
    return root


@pytest.fixture
def records_of() -> Callable[[list[Path]], list[Record]]:
    """Makes records without targets of paths."""
    return lambda paths: [Record(path, {}, path.name) for path in paths]


def _write_mask(path: Path, values: object, mode: str | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(values)
    image = Image.fromarray(array if array.dtype in (np.uint16, bool) else array.astype(np.uint8))
    if mode == "P":
        image = image.copy()
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    elif mode is not None:
        image = image.convert(mode)
    image.save(path, **options)
    return path


@pytest.fixture
def write_mask() -> Callable[..., Path]:
    """Writes values as a mask: ``write_mask(path, values, mode)``; mode ``P`` keeps them as indices."""
    return _write_mask


@pytest.fixture
def make_pairs(tmp_path: Path) -> Callable[..., Path]:
    """Writes pictures ``{0}`` and masks of 8x10 pixels with the values 0 to 2 to paths below a folder: its result."""

    def make(picture: str, mask: str, names: tuple[str, ...] = ("a", "b", "c"), values: int = 3) -> Path:
        for seed, name in enumerate(names):
            _draw(tmp_path / "data" / picture.format(name), height=8, width=10, seed=seed)
            columns = np.tile((np.arange(10) + seed) % values, (8, 1))
            _write_mask(tmp_path / "data" / mask.format(name), columns)
        return tmp_path / "data"

    return make
