"""The pieces that each app brings to a training, as one training of several heads on one trunk takes them."""

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from onetrunk.apps.app_training import AppTraining, build_seeded, build_trunk_of, make_inputs, open_splits
from onetrunk.apps.arguments import parse_options
from onetrunk.apps.cli import main
from onetrunk.apps.task import Task
from onetrunk.backbones import Backbone, UserError, build_backbone
from onetrunk.datasets import DataError

COMMON = "--weights none --freeze all --image-size 64 --epochs 1 --batch-size 8 --workers 0 --device cpu".split()
DATA = {
    "classification": "pictures",
    "segmentation": "mask_folder",
    "detection": "object_folder",
    "localization": "box_table",
    "captioning": "caption_table",
    "vqa": "question_table",
}
TINY = {
    "detection": "--head-options.width 32 --head-options.hidden 64",
    "localization": "--head-options.width 16 --head-options.hidden 64",
    "captioning": "--head-options.width 32 --head-options.layers 1 --head-options.min-count 1",
    "vqa": "--head-options.width 32 --head-options.embedding 32",
}
#: Of each app the heads that read the trunk in different ways: the app, the flags, and the levels that are read.
HEADS = [
    ("classification", "", ("embedding",)),
    ("classification", "--head mlp --head-options.level c3", ("c3",)),
    ("segmentation", "", ("c1", "c2", "c3", "c4", "c5")),
    ("segmentation", "--head pspnet --head-options.auxiliary", ("c3", "c4")),
    ("detection", TINY["detection"], ("c2", "c3", "c4", "c5")),
    ("detection", "--head retinanet --head-options.width 32 --head-options.anchors data", ("c3", "c4", "c5")),
    ("detection", "--head fcos --head-options.width 64 --head-options.levels c2 c3", ("c2", "c3")),
    ("detection", "--head ssd", ("c3", "c4")),
    ("localization", TINY["localization"], ("c5",)),
    ("localization", "--head cam --head-options.level c2", ("c2",)),
    ("captioning", TINY["captioning"], ("c5",)),
    ("captioning", "--head lstm_attention --head-options.levels c4 prepool", ("c4", "prepool")),
    ("vqa", TINY["vqa"], ("embedding",)),
    ("vqa", "--head stacked_attention --head-options.width 32", ("c5",)),
]


def pieces(app: str) -> AppTraining[Any]:
    training: AppTraining[Any] = import_module(f"onetrunk.apps.{app}.training").TRAINING
    return training


def options_of(app: str, data: Any, *words: str, backbone: str = "timm/test_resnet") -> Any:
    command = import_module(f"onetrunk.apps.{app}.main").COMMANDS["train"]
    given = ["--backbone", backbone, "--data", str(data), *COMMON, *words]
    return parse_options(command.options, given, prog=app, description="")


def build(app: str, options: Any, backbone: Backbone, tmp_path: Path) -> Task:
    splits = open_splits(pieces(app), options, tmp_path / "split.csv")
    return build_seeded(pieces(app), backbone, splits, make_inputs(backbone, options), options)


@pytest.mark.parametrize("app", DATA)
def test_pieces_are_known_by_the_name_of_their_app(app: str) -> None:
    assert pieces(app).app == app


@pytest.mark.parametrize(("app", "words", "levels"), HEADS, ids=[f"{app} {words}" for app, words, _ in HEADS])
def test_a_head_is_the_same_beside_others(
    app: str, words: str, levels: tuple[str, ...], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A trunk with the levels of other heads too, of other values, changes nothing of how a head begins."""
    options = options_of(app, request.getfixturevalue(DATA[app]), *words.split())
    needs = pieces(app).needs(options)
    assert needs.levels == levels
    torch.manual_seed(0)
    alone = build(app, options, build_trunk_of(options, needs), tmp_path)
    torch.manual_seed(1)
    shared = build_backbone(
        "timm/test_resnet",
        weights="none",
        levels=["embedding", "prepool", "c1", "c2", "c3", "c4", "c5"],
        image_size=(64, 64),
    )
    beside = build(app, options, shared, tmp_path)
    assert alone.head.levels == beside.head.levels == levels
    assert alone.description == beside.description
    first, second = alone.head.state_dict(), beside.head.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(parameter.requires_grad for parameter in alone.head.parameters())


def test_the_seed_says_how_a_head_begins(pictures: Path, tmp_path: Path) -> None:
    options = options_of("classification", pictures)
    backbone = build_trunk_of(options, pieces("classification").needs(options))
    heads = []
    for seed in (0, 1, 0):
        options.seed = seed
        heads.append(build("classification", options, backbone, tmp_path).head.classifier.weight)
    assert torch.equal(heads[0], heads[2])
    assert not torch.equal(heads[0], heads[1])


@pytest.mark.parametrize("app", DATA)
def test_what_a_head_needs_is_known_without_weights(app: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ONETRUNK_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    options = options_of(app, "nowhere", "--weights", "imagenet", backbone="resnet50")
    assert pieces(app).needs(options).weights is None


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("segmentation", "--head unet on timm/test_vit: dense heads need maps of several sizes"),
        ("detection", "--head faster_rcnn on timm/test_vit: detectors need maps of several sizes"),
    ],
)
def test_a_trunk_that_cannot_carry_the_head_is_refused_before_weights_are_looked_for(app: str, message: str) -> None:
    options = options_of(app, "nowhere", "--weights", "nowhere.pth", backbone="timm/test_vit")
    with pytest.raises(UserError, match=message):
        pieces(app).needs(options)


@pytest.mark.parametrize(
    ("words", "backbone", "stride"),
    [
        ("", "resnet18", None),
        ("--head deeplabv3", "resnet18", 16),
        ("--head deeplabv3 --head-options.output-stride 8", "resnet50", 8),
        ("--head deeplabv3", "efficientnet_lite0", None),
    ],
)
def test_only_a_head_that_dilates_asks_for_a_stride(words: str, backbone: str, stride: int | None) -> None:
    options = options_of("segmentation", "nowhere", *words.split(), backbone=backbone)
    assert pieces("segmentation").needs(options).output_stride == stride


def test_pictures_are_looked_at_before_a_head_is_built(
    mask_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Balanced weights of classes read every mask: nobody waits for that to hear of a broken picture."""
    data = Path(shutil.copytree(mask_folder, tmp_path / "data"))
    (data / "train" / "images" / "03.png").write_bytes(b"no picture")
    (data / "train" / "masks" / "05.png").write_bytes(b"no mask")
    words = ["segmentation", "train", "--data", str(data), "--output", str(tmp_path / "run"), *COMMON]
    assert main([*words, "--backbone", "timm/test_resnet", "--loss.class-weights", "balanced"]) == 2
    assert "03.png" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_data_with_nothing_to_tell_apart_are_refused_when_they_are_opened(pictures: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        shutil.copytree(pictures / split / "red", tmp_path / "data" / split / "red")
    options = options_of("classification", tmp_path / "data")
    with pytest.raises(DataError, match="there is one class only, 'red'; there is nothing to tell apart"):
        open_splits(pieces("classification"), options, tmp_path / "split.csv")
