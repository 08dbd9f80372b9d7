"""Stores that are filled side by side, by one set of workers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onetrunk.apps import filling as filling_module
from onetrunk.apps import store as store_module
from onetrunk.apps.config import ComputeOptions
from onetrunk.apps.console import ImageProgress
from onetrunk.apps.extraction import FeatureNetwork
from onetrunk.apps.filling import Filling, fill
from onetrunk.apps.store import FeatureStore
from onetrunk.backbones import UserError, build_backbone
from onetrunk.datasets import DataError, Record, SampleDataset, eval_transform
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


def run(
    fillings: list[Filling], network: FeatureNetwork, workers: int = 0, bad_data: str = "error", batch_size: int = 4
) -> int:
    """Fill stores, and return how many rows were there before."""
    options = ComputeOptions(device="cpu", batch_size=batch_size, workers=workers, bad_data=bad_data)
    with ImageProgress(sum(len(each.store) for each in fillings)) as progress:
        fill(fillings, network, options, progress=progress)
    return progress.kept


def features_of(records: list[Record], network: FeatureNetwork) -> dict[str, torch.Tensor]:
    dataset = SampleDataset(records, eval_transform(CANVAS))
    return call(network, torch.stack([dataset[0, row].image for row in range(len(records))]))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of one batch, as those of large maps are."""
    monkeypatch.setattr(store_module, "_SHARD_ROWS", 4)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shard_rows", [4, 256])
def test_each_store_has_its_own_pictures_in_batches_of_its_own(
    pictures: list[Record],
    network: FeatureNetwork,
    tmp_path: Path,
    workers: int,
    shard_rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []

    def count(self: FeatureNetwork, images: torch.Tensor, **options: torch.dtype) -> dict[str, torch.Tensor]:
        sizes.append(len(images))
        return call(self, images, **options)

    monkeypatch.setattr(store_module, "_SHARD_ROWS", shard_rows)
    monkeypatch.setattr(FeatureNetwork, "__call__", count)
    parts = [pictures[:6], pictures[6:7], pictures[7:]]
    fillings = [make_filling(tmp_path / str(number), part, network) for number, part in enumerate(parts)]
    sizes.clear()
    run(fillings, network, workers)
    assert sizes == [4, 2, 1, 4, 2]
    for filling, part in zip(fillings, parts, strict=True):
        expected = features_of(part, network)
        for name, features in filling.store.read(range(len(part))).items():
            torch.testing.assert_close(features, expected[name])


def test_going_on_with_other_batches_keeps_rows_in_their_places(
    pictures: list[Record], network: FeatureNetwork, tmp_path: Path, small_shards: None
) -> None:
    filling = make_filling(tmp_path / "store", pictures, network)
    run([filling], network)
    (filling.store.folder / "000000.safetensors").unlink()
    (filling.store.folder / "000001.safetensors").unlink()
    again = make_filling(tmp_path / "store", pictures, network)
    assert run([again], network, batch_size=6) == 5
    for name, features in again.store.read(range(13)).items():
        torch.testing.assert_close(features, features_of(pictures, network)[name])


def test_what_is_there_is_not_computed_again(
    pictures: list[Record], network: FeatureNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (make_filling(tmp_path / name, pictures[:6], network) for name in ("first", "second"))
    assert run([first], network) == 0
    assert run([first, second], network) == 6
    assert "going on: 6 of 6 images are there" in capsys.readouterr().out
    assert second.missing() == []


def test_a_store_is_given_away_while_the_next_one_is_filled(
    pictures: list[Record], network: FeatureNetwork, tmp_path: Path
) -> None:
    found = []
    first, second = (make_filling(tmp_path / name, pictures, network) for name in ("first", "second"))
    run([second], network)
    (second.store.folder / "000000.safetensors").unlink()

    def look() -> None:
        found.append((len(first.missing()), len(second.missing())))

    run([replace(first, finished=look), replace(second, finished=look)], network)
    assert found == [(0, 13), (0, 0)]


def test_a_store_of_which_the_end_cannot_be_written_is_not_given_away(
    pictures: list[Record], network: FeatureNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    filling = replace(make_filling(tmp_path / "store", pictures, network), finished=lambda: found.append("given away"))

    def full(*_: object, **__: object) -> None:
        raise UserError("the disk is full")

    monkeypatch.setattr(FeatureStore, "write", full)
    with pytest.raises(UserError, match=r"the disk is full"):
        run([filling], network)
    assert found == []


@pytest.mark.parametrize("spoilt", [[1], [4, 5], [0, 1, 2, 3]], ids=["one of a batch", "a rest", "a whole batch"])
@pytest.mark.parametrize("shard_rows", [4, 256])
def test_pictures_that_cannot_be_read_have_zeros(
    pictures: list[Record],
    network: FeatureNetwork,
    tmp_path: Path,
    spoilt: list[int],
    shard_rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_module, "_SHARD_ROWS", shard_rows)
    monkeypatch.setattr(filling_module, "empty_rows", lambda rows, shape, dtype: torch.ones(rows, *shape, dtype=dtype))
    for place in spoilt:
        pictures[place].path.write_bytes(b"no picture")
    filling = make_filling(tmp_path / "store", pictures[:6], network, dtype="bf16")
    run([filling], network, bad_data="skip")
    assert [row for row, one in enumerate(filling.store.manifest()) if one.error] == spoilt
    for features in filling.store.read(range(6)).values():
        assert [row for row, one in enumerate(features) if not one.any()] == spoilt


def test_kept_rows_of_bad_pictures_are_refused_before_more_is_computed(
    pictures: list[Record], network: FeatureNetwork, tmp_path: Path
) -> None:
    pictures[2].path.write_bytes(b"no picture")
    first, second = (make_filling(tmp_path / name, pictures, network) for name in ("first", "second"))
    run([first], network, bad_data="skip")
    with pytest.raises(DataError, match=r"1 image can't be read:\n.*2.png"):
        run([first, second], network)
    assert not list(second.store.folder.glob("*.safetensors"))
