"""Heads that were trained apart are put on one trunk and taken out again, and nothing of them moves by a bit."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from onetrunk.apps import load_model, multitask
from onetrunk.apps.cli import main
from onetrunk.apps.multitask import joining
from onetrunk.apps.multitask.model import load_multitask
from onetrunk.apps.multitask.stored import StoredModel, read_stored, write_stored
from onetrunk.backbones import UserError
from safetensors.torch import load_file, save_file

from .conftest import APPS, Family, write_model

CPU = ["--workers", "0", "--device", "cpu"]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two untrained models on the same trunk, of different apps and levels."""
    return write_model(tmp_path / "labels"), write_model(tmp_path / "box", "localization")


def join(*models: Path, output: Path, overwrite: bool = False) -> Path:
    return multitask.join(
        multitask.JoinOptions(models=[str(path) for path in models], output=str(output), overwrite=overwrite)
    )


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_adding_a_head_moves_no_other_by_a_bit(
    family: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trunk of the first two ends at c4; the third reads what lies behind it."""
    before = join(family.runs["localization"], family.runs["captioning"], output=tmp_path / "two")
    capsys.readouterr()
    words = ["--model", str(before), "--head", str(family.runs["classification"]), "--output", str(tmp_path / "three")]
    assert main(["multitask", "add", *words]) == 0
    said = capsys.readouterr().out
    old, new = load_file(before / "model.safetensors"), load_file(tmp_path / "three" / "model.safetensors")
    assert all(new[name].numpy().tobytes() == tensor.numpy().tobytes() for name, tensor in old.items())
    assert any(name.startswith("backbone.") for name in new.keys() - old.keys())

    prints = [json.loads((path / "model.json").read_text())["fingerprints"] for path in (before, tmp_path / "three")]
    assert {task: prints[1]["heads"][task] for task in prints[0]["heads"]} == prints[0]["heads"]
    for found in (prints[0]["trunk"], *prints[1]["heads"].values()):
        assert f"SHA-256 {found} before and after" in said
    assert "tensors of deeper layers came with other heads" in said

    images = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    first, second = (load_multitask(path).multi_head for path in (before, tmp_path / "three"))
    with torch.no_grad():
        features = [each.features(images) for each in (first, second)]
    for level in ("c3", "c4"):
        assert torch.equal(features[0][level], features[1][level])


def test_a_trunk_that_grew_still_says_what_it_was(pair: tuple[Path, Path], tmp_path: Path) -> None:
    joined = read_stored(join(pair[1], pair[0], output=tmp_path / "joined"))
    assert joined.fingerprints(read_stored(pair[1]).trunk).trunk == load_model(pair[1]).backbone.fingerprint()
    assert joined.fingerprints().trunk == load_model(pair[0]).backbone.fingerprint()


def test_what_changes_on_the_way_is_found(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(folder: Path, model: StoredModel) -> None:
        head = model.heads["localization"]
        changed = replace(head, tensors={name: tensor + 1 for name, tensor in head.tensors.items()})
        write_stored(folder, replace(model, heads={**model.heads, "localization": changed}))

    monkeypatch.setattr(joining, "write_stored", spoil)
    with pytest.raises(RuntimeError, match="what was put together changed: SHA-256"):
        join(*pair, output=tmp_path / "joined")


@pytest.mark.parametrize("app", ["segmentation", "captioning"])
def test_a_head_taken_out_is_written_as_it_was_trained(app: str, family: Family, tmp_path: Path) -> None:
    words = ["--model", str(family.joined), "--task", app, "--output", str(tmp_path / "alone")]
    assert main(["multitask", "take-out", *words]) == 0
    assert files_of(tmp_path / "alone") == files_of(family.runs[app] / "model")


def test_its_own_app_uses_a_head_taken_out(
    family: Family, mask_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(family.joined), "--task", "segmentation", "--output", str(tmp_path / "alone")]
    assert main(["multitask", "take-out", *words]) == 0
    assert "trunk: SHA-256" in capsys.readouterr().out
    words = ["--model", str(tmp_path / "alone"), "--data", str(mask_folder), "--output", str(tmp_path / "out"), *CPU]
    assert main(["segmentation", "evaluate", *words]) == 0
    cards = [
        json.loads((path / "results.json").read_text()) for path in (family.runs["segmentation"], tmp_path / "out")
    ]
    assert cards[0]["metrics"] == cards[1]["metrics"]


def test_a_split_that_was_cut_goes_with_its_head(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (pair[1] / "split.csv").write_bytes(b"path,split\na.png,train\n")
    joined = join(*pair, output=tmp_path / "joined")
    assert set(files_of(joined)) == {"model.json", "model.safetensors", "splits/localization.csv"}
    for app, source in zip(("classification", "localization"), pair, strict=True):
        words = ["--model", str(joined), "--task", app, "--output", str(tmp_path / app)]
        assert main(["multitask", "take-out", *words]) == 0
        assert files_of(tmp_path / app) == files_of(source)
    (pair[1] / "split.csv").unlink()
    join(*pair, output=joined, overwrite=True)
    assert set(files_of(joined)) == {"model.json", "model.safetensors"}


def test_models_of_several_heads_can_be_joined_too(family: Family, tmp_path: Path) -> None:
    names = list(APPS)
    left = join(*(family.runs[name] for name in names[:2]), output=tmp_path / "left")
    right = join(*(family.runs[name] for name in names[2:]), output=tmp_path / "right")
    joined = join(left, right, output=tmp_path / "joined")
    assert files_of(joined) == files_of(family.joined)


def test_splits_without_a_model_are_somebodys_own(pair: tuple[Path, Path], tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "split.csv"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UserError, match="holds other things than a model"):
        join(*pair, output=mine.parent, overwrite=True)
    assert mine.read_text() == "mine"


def test_a_command_that_was_killed_can_be_run_again(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """What it left: the split is in place, the others are halves."""
    (pair[1] / "split.csv").write_bytes(b"path,split\na.png,train\n")
    whole = files_of(join(*pair, output=tmp_path / "whole"))
    (tmp_path / "half" / "splits").mkdir(parents=True)
    for name in ("splits/localization.csv", "model.json.part", "model.safetensors.part"):
        (tmp_path / "half" / name).write_bytes(b"half")
    assert files_of(join(*pair, output=tmp_path / "half")) == whole


def test_nothing_is_written_over_unasked(pair: tuple[Path, Path], tmp_path: Path) -> None:
    joined = join(*pair, output=tmp_path / "joined")
    before = files_of(joined)
    with pytest.raises(UserError, match=r"model.json.*: already there. Write over it: --overwrite"):
        join(*pair, output=joined)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(
        UserError, match=r"mine' holds other things than a model, which stay as they are. Choose another"
    ):
        join(*pair, output=tmp_path / "mine", overwrite=True)
    other = write_model(tmp_path / "other", "localization", seed=1)
    with pytest.raises(UserError, match="The trunk of"):
        join(pair[0], other, output=joined, overwrite=True)
    assert files_of(joined) == before
    alone = multitask.TakeOutOptions(model=str(joined), task="localization", output=str(joined), overwrite=True)
    multitask.take_out(alone)
    assert files_of(joined) == files_of(pair[1])


def test_a_model_can_be_added_to_in_place(pair: tuple[Path, Path]) -> None:
    options = multitask.AddOptions(model=str(pair[0]), head=str(pair[1]), output=str(pair[0]), overwrite=True)
    assert set(load_multitask(multitask.add(options)).tasks) == {"classification", "localization"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"size": (64, 96)},
            r"classification \('.*labels'\) and localization \('.*other'\) were trained on pictures that came onto the "
            r"canvas in different ways: canvas 64x64 and 64x96\. .* with the same --image-size\.",
        ),
        ({"resize": "stretch"}, r"different ways: mode pad and stretch\. .* with the same --resize\."),
        ({"in_channels": 1}, r"the number of image channels of the first is 3, of the second 1\."),
        (
            {"seed": 1},
            r"The trunk of '.*other' isn't that of '.*labels': \d+ of the \d+ tensors that both have differ, such as "
            r"\S+ \(SHA-256 \w{12}\.\.\. and \w{12}\.\.\.\)\. .* --weights RUN --freeze all\.",
        ),
        (
            {"name": "timm/test_efficientnet"},
            "have different trunks: the network of the first is timm/test_resnet, of the second timm/test_efficientnet",
        ),
    ],
)
def test_heads_of_unlike_trunks_are_refused(settings: dict[str, object], reason: str, tmp_path: Path) -> None:
    models = write_model(tmp_path / "labels"), write_model(tmp_path / "other", "localization", **settings)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"(?s){reason}"):
        join(*models, output=tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def rewrite(folder: Path, change: dict[str, object]) -> None:
    """Change what a model file says of its trunk."""
    description = json.loads((folder / "model.json").read_text())
    description["backbone"].update(change)
    (folder / "model.json").write_text(json.dumps(description))


def test_other_strides_and_other_preprocessing_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    backbone = json.loads((pair[1] / "model.json").read_text())["backbone"]
    rewrite(pair[1], {"recipe": {**backbone["recipe"], "output_stride": 16}})
    with pytest.raises(UserError, match="the output stride of the first is 32, of the second 16"):
        join(*pair, output=tmp_path / "joined")
    rewrite(pair[1], {**backbone, "preprocessing": {**backbone["preprocessing"], "mean": [0.1, 0.1, 0.1]}})
    with pytest.raises(UserError, match=r"prepare pictures in different ways: mean \[0.5, 0.5, 0.5\] and \[0.1, 0.1"):
        join(*pair, output=tmp_path / "joined")


def test_an_app_has_one_head(pair: tuple[Path, Path], tmp_path: Path) -> None:
    joined = join(*pair, output=tmp_path / "joined")
    other = write_model(tmp_path / "more")
    options = multitask.AddOptions(model=str(joined), head=str(other), output=str(tmp_path / "three"))
    with pytest.raises(UserError, match=r"joined' and '.*more' both have a head of classification, and a mod"):
        multitask.add(options)


def test_one_model_is_nothing_to_join(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["multitask", "join", "--models", str(pair[0]), "--output", "nowhere"]) == 2
    assert "--models takes two models or more" in capsys.readouterr().err


def test_damaged_files_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    tensors = load_file(pair[0] / "model.safetensors")
    name = next(name for name in tensors if name.endswith("conv1.weight"))
    save_file({**tensors, name: tensors[name] + 1}, pair[0] / "model.safetensors")
    with pytest.raises(UserError, match=r"labels' is damaged: the SHA-256 of its trunk is \w{64}, and model.json says"):
        join(*pair, output=tmp_path / "joined")
    description = json.loads((pair[1] / "model.json").read_text())
    del description["backbone"]["fingerprint_after"]
    (pair[1] / "model.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match=r"box.model.json' is damaged: 'backbone.fingerprint_after' is missing"):
        join(pair[1], pair[0], output=tmp_path / "joined")


def test_a_head_without_its_tensors_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    tensors = load_file(pair[1] / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("head.")}
    save_file(kept, pair[1] / "model.safetensors")
    with pytest.raises(UserError, match=r"(?s)model.safetensors' can't be loaded: .*Missing key"):
        join(*pair, output=tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_an_unknown_head_cannot_be_taken_out(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(pair[0]), "--task", "clasification", "--output", str(tmp_path / "alone")]
    assert main(["multitask", "take-out", *words]) == 2
    found = capsys.readouterr().err
    assert re.search(r"Unknown task of '.*labels' 'clasification'. Known: classification. Did you mean", found)


def test_a_head_on_another_trunk_than_it_was_trained_on_is_not_taken_out(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    joined = join(*pair, output=tmp_path / "joined")
    description = json.loads((joined / "model.json").read_text())
    description["tasks"]["localization"]["backbone"]["fingerprint_after"] = "0"
    (joined / "model.json").write_text(json.dumps(description))
    options = multitask.TakeOutOptions(model=str(joined), task="localization", output=str(tmp_path / "alone"))
    with pytest.raises(RuntimeError, match="the trunk of localization changed: SHA-256 0 when it was trained"):
        multitask.take_out(options)


def test_an_app_says_how_to_use_a_model_of_several(pair: tuple[Path, Path], tmp_path: Path) -> None:
    joined = join(*pair, output=tmp_path / "joined")
    with pytest.raises(UserError, match=r"heads of several apps: classification, localization\. .*--task TASK --out"):
        load_model(joined)
    with pytest.raises(UserError, match=r"take-out --model .*joined --task localization --output DIR"):
        load_model(joined, task="localization")
    words = ["--model", str(joined), "--images", str(tmp_path), *CPU]
    assert main(["localization", "predict", *words]) == 2


def test_its_trunk_is_weights_for_the_next_head(pair: tuple[Path, Path], box_table: Path, tmp_path: Path) -> None:
    joined = join(*pair, output=tmp_path / "joined")
    words = (
        f"--backbone timm/test_resnet --weights {joined} --freeze all --image-size 64 --resize pad --epochs 1".split()
    )
    words += ["--head-options.level", "c3", "--data", str(box_table), *CPU]
    words += ["--output", str(tmp_path / "run")]
    assert main(["localization", "train", *words]) == 0
    first = join(pair[0], tmp_path / "run", output=tmp_path / "again")
    assert set(load_multitask(first).tasks) == {"classification", "localization"}
