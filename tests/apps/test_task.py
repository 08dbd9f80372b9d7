"""The engine's promises to every app."""

import os
from pathlib import Path

import pytest
import torch
from onetrunk.apps.classification.task import build_task
from onetrunk.apps.cli import main
from onetrunk.apps.inputs import make_recipe
from onetrunk.apps.task import Task
from onetrunk.backbones import build_backbone
from onetrunk.datasets import Batch, SampleDataset, collate, open_dataset


@pytest.fixture
def task() -> Task:
    backbone = build_backbone("timm/test_resnet", weights="none", levels=("embedding",))
    backbone.freeze("all")
    recipe = make_recipe(backbone.preprocessing, (32, 32))
    return build_task(backbone, ["blue", "green", "red"], inputs=recipe)


@pytest.fixture
def batch(pictures: Path, task: Task) -> Batch:
    data = open_dataset(pictures, "train")
    transform = make_recipe(task.backbone.preprocessing, (32, 32)).transform()
    samples = SampleDataset(data.records, transform, classes=data.classes)
    return collate([samples[(0, index)] for index in range(6)])


def test_stored_features_take_the_place_of_images(task: Task, batch: Batch) -> None:
    features = {name: tensor.detach() for name, tensor in task.features(batch).items()}
    stored = Batch(
        images=None,
        features=features,
        context=batch.context,
        targets=batch.targets,
        indices=batch.indices,
        names=batch.names,
    )
    task.backbone = None  # type: ignore[assignment]  # nothing of the trunk is touched
    assert torch.equal(task(stored), task.head(features, batch.context))


def test_a_frozen_trunk_keeps_no_graph_and_gets_no_gradient(task: Task, batch: Batch) -> None:
    task.train()
    assert not task.features(batch)["embedding"].requires_grad
    task.head.loss(task(batch), batch.context, batch.targets)["classification"].backward()
    assert all(parameter.grad is None for parameter in task.backbone.parameters())
    assert all(parameter.grad is not None for parameter in task.head.parameters())


def test_only_matrices_are_decayed_and_the_trunk_learns_slower(task: Task) -> None:
    task.backbone.freeze("none")
    task.learning_rate = 0.1
    groups = task._parameter_groups()
    for group in groups:
        assert group["lr"] == pytest.approx({"trunk": 0.01, "head": 0.1}[group["name"]])
        assert all((parameter.dim() > 1) == (group["weight_decay"] > 0) for parameter in group["params"])
    counted = sum(len(group["params"]) for group in groups)
    assert counted == len(list(task.parameters()))


def test_an_evaluation_keeps_no_memory_that_it_shares_with_workers(
    trained_run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece of it is an open file: a process may have a thousand or so, and an evaluation has more batches."""
    opened = []
    end = Task.on_validation_epoch_end

    def count(self: Task) -> None:
        opened.append(len(os.listdir("/proc/self/fd")))
        end(self)

    monkeypatch.setattr(Task, "on_validation_epoch_end", count)
    for batch_size in ("15", "1"):
        words = f"classification evaluate --model {trained_run} --data {pictures} --workers 1 --device cpu"
        assert main([*words.split(), "--batch-size", batch_size]) == 0
    assert opened[1] <= opened[0] + 5  # some batches are being read
