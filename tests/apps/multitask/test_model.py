"""Heads on one trunk say, bit for bit, what each says alone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from onetrunk.apps import load_model
from onetrunk.apps.fast_trunk import FastTrunk, Form
from onetrunk.apps.multitask.model import MultiTaskModel, load_multitask, save_multitask
from onetrunk.apps.multitask.multi_head import MultiHead
from onetrunk.backbones import Backbone, UserError, build_backbone
from onetrunk.datasets import Batch, Context
from safetensors.torch import load_file
from torch import Tensor

from .conftest import APPS, Family

CANVAS = (64, 96)
COUNT = 5
QUESTIONS = (("What colour is the disc?", "Is the disc red?"),) * COUNT


def batch() -> Batch:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (COUNT, 3, *CANVAS), dtype=torch.uint8, generator=generator)
    valid = torch.tensor([[64, 77], [64, 96], [40, 96], [64, 64], [50, 96]])
    context = Context(CANVAS, valid, valid * 2, questions=QUESTIONS)
    return Batch(images, None, context, {}, torch.arange(COUNT), [f"{place}.png" for place in range(COUNT)])


def same(mine: Any, its: Any) -> bool:
    """Whether two outputs are the same to the bit, whatever they are made of."""
    if isinstance(mine, Tensor):
        return mine.dtype == its.dtype and torch.equal(mine, its)
    if isinstance(mine, dict):
        return mine.keys() == its.keys() and all(same(mine[key], its[key]) for key in mine)
    if isinstance(mine, list | tuple):
        return len(mine) == len(its) and all(map(same, mine, its))
    if hasattr(mine, "__dict__") and vars(mine):
        return type(mine) is type(its) and same(vars(mine), vars(its))
    return bool(mine == its)


def leaves(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict | list | tuple):
        for part in output.values() if isinstance(output, dict) else output:
            yield from leaves(part)
    elif hasattr(output, "__dict__"):
        yield from leaves(vars(output))


@pytest.fixture(scope="module")
def model(family: Family) -> MultiTaskModel:
    return load_multitask(family.joined)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of what trunks were given."""
    seen: list[tuple[int, ...]] = []
    forward = Backbone.forward

    def counted(self: Backbone, images: Tensor) -> dict[str, Tensor]:
        seen.append(tuple(images.shape))
        return forward(self, images)

    monkeypatch.setattr(Backbone, "forward", counted)
    return seen


def fast_of(backbone: Backbone) -> FastTrunk:
    return FastTrunk(backbone, Form("fp32"), device=torch.device("cpu"), canvas=CANVAS, batch_size=COUNT)


@pytest.mark.parametrize("is_fast", [False, True])
def test_each_head_says_what_it_says_alone_and_the_trunk_runs_once(
    is_fast: bool, family: Family, passes: list[tuple[int, ...]]
) -> None:
    model = load_multitask(family.joined)
    if is_fast:
        model.use_channels_last()
        model.fast = fast_of(model.backbone)
    passes.clear()
    with torch.no_grad():
        outputs = model(batch())
    assert passes == [(COUNT, 3, *CANVAS)]
    assert outputs.keys() == APPS.keys()
    for app, run in family.runs.items():
        alone = load_model(run)
        if is_fast:
            alone.use_channels_last()
            alone.fast = fast_of(alone.backbone)
        with torch.no_grad():
            expected = alone(batch())
        assert list(leaves(expected)), app
        assert same(outputs[app], expected), app
        assert model.predict_step(batch(), 0)[0][app].keys() == alone.predict_step(batch(), 0)[0].keys()


def test_a_pass_predicts_for_all_and_runs_the_trunk_once(
    model: MultiTaskModel, family: Family, passes: list[tuple[int, ...]]
) -> None:
    with torch.no_grad():
        rows = model.predict_step(batch(), 0)
    assert len(passes) == 1
    for app, run in family.runs.items():
        with torch.no_grad():
            assert [str(row[app]) for row in rows] == [str(row) for row in load_model(run).predict_step(batch(), 0)]


def test_only_heads_with_a_context_run(model: MultiTaskModel) -> None:
    given = batch()
    images = model.backbone.preprocessing.normalize(given.images)
    outputs = model.multi_head(images, {"captioning": given.context, "classification": given.context})
    assert list(outputs) == ["captioning", "classification"]


def test_what_does_not_fit_the_batch_is_refused(model: MultiTaskModel) -> None:
    images = torch.zeros(1, 3, 64, 64)
    sizes = torch.tensor([[64, 64]])
    with pytest.raises(UserError, match=r"Unknown task 'clasification'. Known: .* Did you mean 'classification'\?"):
        model.multi_head(images, {"clasification": Context((64, 64), sizes, sizes)})
    with pytest.raises(UserError, match="context of vqa is of a canvas 64x96, and the images are 64x64"):
        model.multi_head(images, {"vqa": Context((64, 96), sizes, sizes)})


def test_heads_need_a_trunk_that_gives_what_they_read(model: MultiTaskModel) -> None:
    heads = {"segmentation": model.tasks["segmentation"].head}
    inputs = dict.fromkeys(heads, model.inputs)
    trunk = load_model(model.folder.parent / "classification").backbone
    with pytest.raises(UserError, match=r"head of segmentation reads .*, and the trunk was built without .*c2"):
        MultiHead(trunk, heads, inputs)
    with pytest.raises(UserError, match="No head was given"):
        MultiHead(trunk, {}, {})


def test_the_file_holds_the_trunk_once_and_gives_all_back(
    model: MultiTaskModel, family: Family, tmp_path: Path
) -> None:
    save_multitask(tmp_path / "again", model)
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "again" / name).read_bytes() == (family.joined / name).read_bytes()
    description = json.loads((family.joined / "model.json").read_text())
    assert description["task"] == "multitask"
    for app, run in family.runs.items():
        assert description["tasks"][app] == json.loads((run / "model" / "model.json").read_text())
    with torch.no_grad():
        assert same(load_multitask(tmp_path / "again")(batch()), model(batch()))
    names = {f"backbone.network.{name}" for name in model.backbone.network.state_dict()}
    for app, run in family.runs.items():
        own = load_file(run / "model" / "model.safetensors")
        names |= {name.replace("head.", f"heads.{app}.", 1) for name in own if name.startswith("head.")}
    assert load_file(family.joined / "model.safetensors").keys() == names


ELSEWHERE = """
import sys, torch
from onetrunk.apps.multitask.model import load_multitask
from onetrunk.backbones.fingerprint import fingerprint
given = torch.load(sys.argv[2], weights_only=False)
with torch.no_grad():
    output = load_multitask(sys.argv[1])(given)
print(fingerprint({"labels": output["classification"], "answers": output["vqa"]["logits"]}))
"""


def test_a_new_process_says_the_same(model: MultiTaskModel, family: Family, tmp_path: Path) -> None:
    from onetrunk.backbones.fingerprint import fingerprint

    torch.save(batch(), tmp_path / "batch.pt")
    command = [sys.executable, "-c", ELSEWHERE, str(family.joined), str(tmp_path / "batch.pt")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    with torch.no_grad():
        output = model(batch())
    assert found == fingerprint({"labels": output["classification"], "answers": output["vqa"]["logits"]})


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "timm/mobilenetv3_small_050"])
@pytest.mark.parametrize("is_fast", [False, True])
def test_a_trunk_for_all_gives_each_its_levels_to_the_bit(name: str, is_fast: bool) -> None:
    """Trunks are cut down to what is read of them; one that is cut less holds the others and computes the same."""
    asked = [["embedding"], ["c3"], ["c2", "c4"]]
    levels = [level for each in asked for level in each]
    whole, *parts = (build(name, each) for each in (levels, *asked))
    assert whole.network.state_dict().keys() == {key for part in parts for key in part.network.state_dict()}
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = (fast_of(whole) if is_fast else whole)(images)
        for part in parts:
            found = (fast_of(part) if is_fast else part)(images)
            assert all(torch.equal(found[level], expected[level]) for level in part.levels)


def build(name: str, levels: list[str]) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(name, weights="none", levels=levels).eval()


@pytest.mark.parametrize("app", APPS)
def test_a_head_taken_out_is_the_model_that_was_put_in(app: str, model: MultiTaskModel, family: Family) -> None:
    taken, alone = model.take_out(app), load_model(family.runs[app])
    assert taken.description == alone.description
    assert taken.state_dict().keys() == alone.state_dict().keys()
    assert taken.backbone.fingerprint() == alone.backbone.fingerprint()
    with torch.no_grad():
        assert same(taken(batch()), alone(batch()))


def test_what_is_not_there_cannot_be_taken_out(model: MultiTaskModel) -> None:
    with pytest.raises(UserError, match=r"Unknown task of '.*joined' 'segmentatoin'. .*Did you mean 'segmentation'\?"):
        model.take_out("segmentatoin")
