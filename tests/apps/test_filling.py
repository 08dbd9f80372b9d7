"""Stores that are filled side by side, by one set of workers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onetrunk.apps.config import ComputeOptions
from onetrunk.apps.console import ImageProgress
from onetrunk.apps.extraction import FeatureNetwork
from onetrunk.apps.filling import Filling, fill
from onetrunk.apps.store import FeatureStore
from onetrunk.backbones import build_backbone
from onetrunk.datasets import Record, SampleDataset, eval_transform
from PIL import Image

CANVAS = (32, 32)
call = FeatureNetwork.__call__


@pytest.fixture
def network() -> FeatureNetwork:
    torch.manual_seed(0)
    backbone = build_backbone("timm/test_resnet", weights="none", levels=["c2", "embedding"])
    return FeatureNetwork(backbone, pooling="none", options=ComputeOptions(device="cpu", batch_size=4))


@pytest.fixture
def pictures(tmp_path: Path) -> list[Record]:
    found = []
    for number in range(13):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
        found.append(Record(path, {}, path.name))
    return found


def make_filling(folder: Path, records: list[Record], network: FeatureNetwork, dtype: str = "fp32") -> Filling:
    store = FeatureStore.create(
        folder, {}, network.shapes(CANVAS), dtype=dtype, rows=len(records), batch_size=4, replaces=True
    )
    return Filling(store, SampleDataset(records, eval_transform(CANVAS)))


def run(fillings: list[Filling], network: FeatureNetwork, workers: int = 0, bad_data: str = "error") -> int:
    """Fill stores, and return how many rows were there before."""
    options = ComputeOptions(device="cpu", batch_size=4, workers=workers, bad_data=bad_data)
    with ImageProgress(sum(len(each.store) for each in fillings)) as progress:
        fill(fillings, network, options, progress=progress)
    return progress.kept


@pytest.mark.parametrize("workers", [0, 2])
def test_each_store_has_its_own_pictures_in_batches_of_its_own(
    pictures: list[Record], network: FeatureNetwork, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def count(self: FeatureNetwork, images: torch.Tensor, **options: torch.dtype) -> dict[str, torch.Tensor]:
        sizes.append(len(images))
        return call(self, images, **options)

    monkeypatch.setattr(FeatureNetwork, "__call__", count)
    parts = [pictures[:6], pictures[6:7], pictures[7:]]
    fillings = [make_filling(tmp_path / str(number), part, network) for number, part in enumerate(parts)]
    sizes.clear()
    run(fillings, network, workers)
    assert sizes == [4, 2, 1, 4, 2]
    for filling, part in zip(fillings, parts, strict=True):
        images = torch.stack([SampleDataset(part, eval_transform(CANVAS))[0, row].image for row in range(len(part))])
        for name, features in filling.store.read(range(len(part))).items():
            torch.testing.assert_close(features, call(network, images)[name])


def test_what_is_there_is_not_computed_again(
    pictures: list[Record], network: FeatureNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (make_filling(tmp_path / name, pictures[:6], network) for name in ("first", "second"))
    assert run([first], network) == 0
    assert run([first, second], network) == 6
    assert "going on: 6 of 6 images are there" in capsys.readouterr().out
    assert second.missing() == []


@pytest.mark.parametrize("spoilt", [[1], [4, 5]], ids=["one of a batch", "a whole batch"])
def test_pictures_that_cannot_be_read_have_zeros(
    pictures: list[Record], network: FeatureNetwork, tmp_path: Path, spoilt: list[int]
) -> None:
    for place in spoilt:
        pictures[place].path.write_bytes(b"no picture")
    filling = make_filling(tmp_path / "store", pictures[:6], network, dtype="bf16")
    run([filling], network, bad_data="skip")
    assert [row for row, one in enumerate(filling.store.manifest()) if one.error] == spoilt
    for features in filling.store.read(range(6)).values():
        assert [row for row, one in enumerate(features) if not one.any()] == spoilt
