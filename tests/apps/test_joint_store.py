"""Stores of pictures with targets of several tasks, not all of which are known of each picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onetrunk.apps.config import ComputeOptions
from onetrunk.apps.console import ImageProgress
from onetrunk.apps.extraction import FeatureNetwork
from onetrunk.apps.filling import Filling, fill
from onetrunk.apps.inputs import make_loader
from onetrunk.apps.store import FeatureStore
from onetrunk.apps.stored_features import StoredLooks
from onetrunk.backbones import build_backbone
from onetrunk.datasets import (
    JointEncoder,
    Objects,
    Record,
    ResumableLoader,
    TargetEncoder,
    eval_transform,
    join_records,
    split_batch,
)
from onetrunk.datasets.stored import StoredDataset
from PIL import Image

CANVAS = (32, 32)
OPTIONS = ComputeOptions(device="cpu", workers=0, batch_size=4, bad_data="skip")


@pytest.fixture
def records(tmp_path: Path) -> tuple[Record, ...]:
    """Six pictures: of the even ones an object is known, of the first two and the last one a box, of all a label."""
    found = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        noise = np.random.default_rng(number).integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        found.append(Record(path, {}, path.name))
    box = (2.0, 3.0, 20.0, 15.0)
    objects = Objects(boxes=(box, (1.0, 1.0, 9.0, 9.0)), names=("cat", "dog"))
    by_task = {
        "classification": [replace(each, targets={"label": "cat"}) for each in found],
        "detection": [replace(each, targets={"objects": objects, "labels": ("cat", "dog")}) for each in found[::2]],
        "localization": [
            replace(found[number], targets={"label": "dog", "boxes": (box,) * (number + 1)}) for number in (0, 1, 5)
        ],
    }
    return join_records(by_task)


def test_a_store_keeps_of_each_picture_the_targets_that_are_known(records: tuple[Record, ...], tmp_path: Path) -> None:
    records[4].path.write_bytes(b"no picture")
    backbone = build_backbone("timm/test_resnet", weights="none", levels=["embedding"])
    network = FeatureNetwork(backbone, pooling="none", options=OPTIONS)
    transform = eval_transform(CANVAS, mode="pad")
    encoder = JointEncoder({task: TargetEncoder(("cat", "dog")) for task in ("classification", "detection")})
    encoder.encoders["localization"] = TargetEncoder(("dog",))
    loader = make_loader(records, transform, OPTIONS, channels=3, targets=encoder)
    shapes = network.shapes(CANVAS)
    folder = tmp_path / "store"
    store = FeatureStore.create(folder, encoder.recipe(), shapes, dtype="fp32", rows=len(records), batch_size=4)
    filling = Filling(store, loader.dataset, annotations=[record.annotation for record in records])
    with ImageProgress(len(records)) as progress:
        fill([filling], network, OPTIONS, progress=progress)
    looks = StoredLooks([store], loader.dataset, CANVAS)
    stored = ResumableLoader(StoredDataset(loader.dataset, looks), batch_size=4)
    for read, found in zip(loader, stored, strict=True):
        assert found.names == read.names
        assert [bad.tasks for bad in found.skipped] == [bad.tasks for bad in read.skipped]
        for task in encoder.encoders:
            own, expected = split_batch(found, task), split_batch(read, task)
            assert (own.names, own.targets.keys()) == (expected.names, expected.targets.keys())
            for key, values in expected.targets.items():
                for one, other in zip(own.targets[key], values, strict=True):
                    assert torch.equal(one, other), (task, key)
