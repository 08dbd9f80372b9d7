"""Tensors that stand in a model under two names: in its file once, in checkpoints and averages as in the model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from onetrunk.apps import load_model
from onetrunk.apps.captioning.head import build_head
from onetrunk.apps.captioning.metrics import make_evaluator
from onetrunk.apps.captioning.options import HeadOptions
from onetrunk.apps.captioning.task import build_task
from onetrunk.apps.card import Card
from onetrunk.apps.ema import _update
from onetrunk.apps.inputs import make_recipe
from onetrunk.apps.model_file import save_model, tied_names
from onetrunk.apps.task import Task
from onetrunk.apps.vocabulary import learn_vocabulary
from onetrunk.backbones import UserError, build_backbone
from onetrunk.datasets import Context
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel

SIZES = torch.tensor([[64, 64]] * 2)
CONTEXT = Context((64, 64), SIZES, SIZES)
TEXTS = ["a red disc", "grey noise on a disc"]
NAMES = ("head.decoder.lm_head.weight", "head.decoder.transformer.wte.weight")


def make() -> Task:
    torch.manual_seed(0)
    backbone = build_backbone("timm/test_resnet", weights="none", levels=("c5",), image_size=(64, 64))
    options = HeadOptions(width=16, layers=1, attention_heads=2, max_tokens=8)
    channels = [backbone.specs["c5"].channels]
    head = build_head("transformer", ["c5"], channels, learn_vocabulary(TEXTS, "words"), options, seen=TEXTS)
    inputs = make_recipe(backbone.preprocessing, (64, 64), "stretch")
    return build_task(backbone, head, make_evaluator([(text,) for text in TEXTS]), inputs=inputs).eval()


def card(task: Task) -> Any:
    facts = {"name": "timm/test_resnet", "weights": "none", "fingerprint_after": task.backbone.fingerprint()}
    return type("Card", (), {"backbone": facts, "data": {}, "metrics": {}})()


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Task, Path]:
    task = make()
    given: Card = card(task)
    save_model(tmp_path / "model", task, given)
    return task, tmp_path / "model"


def say(task: Task) -> list[str]:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    texts: list[str] = task.head(task.backbone(images), CONTEXT)["texts"]
    return texts


def test_each_tensor_is_written_once_and_all_names_are_read(saved: tuple[Task, Path]) -> None:
    task, folder = saved
    tied = json.loads((folder / "model.json").read_text())["tied"]
    assert tied == tied_names(task)
    assert {*tied, *tied.values()} == set(NAMES)
    written = load_file(folder / "model.safetensors")
    assert written.keys() == task.state_dict().keys() - tied.keys()
    loaded = load_model(folder)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in task.state_dict().items())
    assert tied_names(loaded) == tied
    assert say(loaded) == say(task)


def test_a_file_without_one_of_them_is_refused(saved: tuple[Task, Path]) -> None:
    _, folder = saved
    written = load_file(folder / "model.safetensors")
    source = next(iter(json.loads((folder / "model.json").read_text())["tied"].values()))
    save_file({name: tensor for name, tensor in written.items() if name != source}, folder / "model.safetensors")
    with pytest.raises(UserError, match=rf"model.safetensors' can't be loaded: .*{source}"):
        load_model(folder)


def test_a_description_that_ties_names_that_there_are_not_is_refused(saved: tuple[Task, Path]) -> None:
    _, folder = saved
    description = json.loads((folder / "model.json").read_text())
    description["tied"]["head.more"] = description["tied"].popitem()[1]
    (folder / "model.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match=r"(?s)can't be loaded: .*head.more"):
        load_model(folder)


def test_the_optimizer_gets_each_parameter_once() -> None:
    task = make().train()
    given = [parameter for group in task._parameter_groups() for parameter in group["params"]]
    assert len({id(parameter) for parameter in given}) == len(given) == len(list(task.parameters()))


def test_checkpoints_and_averages_keep_the_tie(tmp_path: Path) -> None:
    task = make()
    torch.save({"state_dict": task.state_dict()}, tmp_path / "last.ckpt")
    other = make()
    other.load_state_dict(torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"])
    assert set(tied_names(other)) | set(tied_names(other).values()) == set(NAMES)

    average = AveragedModel(task, multi_avg_fn=_update(0.5), use_buffers=True)
    average.update_parameters(task)
    with torch.no_grad():
        task.head.decoder.lm_head.weight += 1
    average.update_parameters(task)
    state = average.module.state_dict()
    assert torch.equal(*(state[name] for name in NAMES))
    assert not torch.equal(state[NAMES[0]], task.state_dict()[NAMES[0]])
    assert torch.equal(state["head.seen"], task.state_dict()["head.seen"])
