"""Training on stored features: the same models as on pictures, and the trunk sees each picture once."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from onetrunk.apps.cli import main
from onetrunk.apps.config import ComputeOptions
from onetrunk.apps.filling import Filling
from onetrunk.apps.store import FeatureStore, Row
from onetrunk.backbones import Backbone
from onetrunk.backbones.errors import UserError
from onetrunk.datasets.file_state import read_signature, state_of
from PIL import Image
from safetensors.torch import load_file

#: AdamW's first steps have the size of the learning rate however small the gradient, and so would blow up rounding.
COMMON = (
    "--backbone timm/test_resnet --weights none --batch-size 8 --workers 0 --device cpu --epochs 3 "
    "--learning-rate 0.0005 --optim.trunk-factor 1 --optim.name sgd"
)
#: App -> its data's fixture and the words behind COMMON.
APPS = {
    "classification": ("pictures", "--image-size 32 --head mlp --head-options.dropout 0.3"),
    "segmentation": ("mask_folder", "--image-size 64 --head-options.width 16"),
    "detection": ("object_folder", "--image-size 64 --head-options.width 16 --head-options.hidden 16"),
    "localization": ("box_table", "--image-size 32 --head-options.level c3 --head-options.width 8"),
    "captioning": ("caption_table", "--image-size 32 --head-options.width 16 --head-options.min-count 1"),
    "vqa": ("question_table", "--image-size 32 --head-options.width 16 --head-options.embedding 16"),
}
#: What leaves nothing to chance.
PLAIN = "--augment.flip 0 --augment.min-scale 1"
PLAIN_OF = {"detection": "--augment.flip 0 --augment.min-zoom 1 --augment.max-zoom 1"}
#: What makes looks so different that losses tell them apart. A new classifier says the same of all pictures, so it has
#: to learn a little first; the losses of others differ from the first step on, and slow steps let rounding stay small.
LOOKS = {
    "classification": "--augment.color-jitter 0.8 --augment.min-scale 0.2 --learning-rate 0.004",
    "segmentation": (
        "--augment.color-jitter 0.8 --augment.min-scale 0.2 --augment.vertical-flip 0.5 --learning-rate 0.00005"
    ),
    "detection": "--augment.color-jitter 0.8 --augment.vertical-flip 0.5 --learning-rate 0.0002",
}


def train(app: str, data: Path, run: Path, words: str) -> int:
    given = f"{app} train {COMMON} {APPS[app][1]} {words}".split()
    return main([*given, "--data", str(data), "--output", str(run)])


def card_of(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


def losses_of(run: Path) -> list[float]:
    with (run / "log.csv").open(newline="") as stream:
        return [float(row["train_loss"]) for row in csv.DictReader(stream)]


def assert_same_model(run: Path, other: Path) -> None:
    """Weights as near as sums in another order leave them, and the figures of one."""
    found, expected = (load_file(each / "model" / "model.safetensors") for each in (run, other))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )
    metrics, others = card_of(run)["metrics"], card_of(other)["metrics"]
    for name, figure in others.items():
        assert metrics[name]["value"] == pytest.approx(figure["value"], abs=1e-4), name


@pytest.mark.parametrize("freeze", ["all", "c3"])
@pytest.mark.parametrize("app", APPS)
def test_stored_features_make_the_model_that_pictures_make(
    app: str, freeze: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if app == "localization" and freeze == "c3":
        freeze = "c2"  # c3 is all that its head reads
    data = request.getfixturevalue(APPS[app][0])
    words = f"--freeze {freeze} {PLAIN_OF.get(app, PLAIN)}"
    assert train(app, data, tmp_path / "stored", f"{words} --cache on") == 0
    assert train(app, data, tmp_path / "pictures", f"{words} --cache off") == 0
    assert_same_model(tmp_path / "stored", tmp_path / "pictures")
    stored = card_of(tmp_path / "stored")["details"]["training"]["stored"]
    assert stored["entry"] == (None if freeze == "all" else freeze)
    assert "stored" not in card_of(tmp_path / "pictures")["details"]["training"]
    assert not (tmp_path / "stored" / "features").exists()


@pytest.mark.parametrize("app", LOOKS)
def test_views_are_the_same_looks_stored_or_not(app: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    data = request.getfixturevalue(APPS[app][0])
    words = f"--freeze all --cache-views 2 {LOOKS[app]}"
    assert train(app, data, tmp_path / "stored", words) == 0
    assert train(app, data, tmp_path / "pictures", f"{words} --cache off") == 0
    assert_same_model(tmp_path / "stored", tmp_path / "pictures")
    stored = card_of(tmp_path / "stored")["details"]["training"]["stored"]
    assert stored["views"] == 2
    used = [card_of(tmp_path / "stored")[key] for key in ("samples", "data")]
    assert stored["images"] == 2 * used[1]["train"]["used"] + used[0]["used"]
    # the third epoch takes the first looks again, and not looks that never come back
    assert train(app, data, tmp_path / "endless", words.replace("--cache-views 2", "")) == 0
    losses, seen, endless = (losses_of(tmp_path / name) for name in ("stored", "pictures", "endless"))
    rounding = max(abs(one - other) for one, other in zip(losses, seen, strict=True))
    assert rounding < 1e-4
    assert losses[:2] == pytest.approx(endless[:2], rel=0, abs=max(1e-6, 10 * rounding))
    assert abs(losses[2] - endless[2]) > 10 * max(rounding, 1e-6)


def test_the_trunk_sees_each_picture_once(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    forward = Backbone.forward

    def count(self: Backbone, images: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(len(images) if images.device.type != "meta" else 0)
        return forward(self, images)

    monkeypatch.setattr(Backbone, "forward", count)
    assert train("classification", pictures, tmp_path / "run", f"--freeze all {PLAIN}") == 0
    card = card_of(tmp_path / "run")
    images = card["samples"]["used"] + card["data"]["train"]["used"]
    assert images <= sum(seen) <= images + 16  # some more to measure shapes and speed
    said = capsys.readouterr().out
    assert re.search(r"features to store: embedding \d+; .* fp32: .* in .*features; free: ", said)
    assert re.search(rf"stored features of {images} images: {images} in .* images/s", said)
    assert card["cost"]["images_per_second"] > 0


def test_bf16_takes_half_the_room(pictures: Path, tmp_path: Path) -> None:
    sizes = {}
    for dtype in ("fp32", "bf16"):
        words = f"--freeze all {PLAIN} --cache-dtype {dtype} --cache-folder {tmp_path / dtype}"
        assert train("classification", pictures, tmp_path / f"run-{dtype}", words) == 0
        arrays = [load_file(file) for file in (tmp_path / dtype).rglob("*.safetensors")]
        sizes[dtype] = sum(array["embedding"].nbytes for array in arrays)
    assert sizes["bf16"] * 2 == sizes["fp32"]
    top1 = [card_of(tmp_path / f"run-{dtype}")["metrics"]["top1"]["value"] for dtype in sizes]
    assert top1[0] == pytest.approx(top1[1], abs=0.1)


def test_a_folder_is_shared_and_only_what_changed_is_computed_again(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for path in sorted(pictures.rglob("*.png")):
        copy = data / path.relative_to(pictures)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    words = f"--freeze all {PLAIN} --cache-folder {tmp_path / 'features'}"

    def said(run: str, more: str = "") -> str:
        assert train("classification", data, tmp_path / run, f"{words} {more}") == 0
        return capsys.readouterr().out

    total = int(re.search(r"stored features of (\d+) images: \1 in", said("first")).group(1))
    assert f"stored features of {total} images: all were there" in said("second", "--learning-rate 0.1 --seed 0")
    changed = sorted(data.rglob("*.png"))[0]
    with Image.open(changed) as image:
        image.transpose(Image.Transpose.ROTATE_180).point(lambda value: 255 - value).save(changed)
    third = said("third")
    computed = int(re.search(r"images: (\d+) in", third).group(1))
    assert 1 <= computed < total
    assert f"going on: {total - computed}" in third or "going on: " in third


def test_a_changed_mask_is_stored_again(mask_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for path in sorted(each for each in mask_folder.rglob("*") if each.is_file()):
        copy = data / path.relative_to(mask_folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    words = f"--freeze all {PLAIN} --cache-folder {tmp_path / 'features'}"
    assert train("segmentation", data, tmp_path / "before", words) == 0
    for mask in sorted((data / "masks").rglob("*.png")):
        with Image.open(mask) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mask)
    assert train("segmentation", data, tmp_path / "after", words) == 0
    assert train("segmentation", data, tmp_path / "pictures", f"{words} --cache off") == 0
    assert_same_model(tmp_path / "after", tmp_path / "pictures")


def test_unreadable_pictures_are_left_out_and_named(pictures: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for path in sorted(pictures.rglob("*.png")):
        copy = data / path.relative_to(pictures)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    broken = sorted(data.rglob("*.png"))[0]
    content = broken.read_bytes()
    broken.write_bytes(content[:100] + b"\0" * 60 + content[160:])  # ends as it should
    words = f"--freeze all {PLAIN} --bad-data skip"
    assert train("classification", data, tmp_path / "stored", words) == 0
    assert train("classification", data, tmp_path / "pictures", f"{words} --cache off") == 0
    found, expected = (card_of(tmp_path / name) for name in ("stored", "pictures"))
    for card in (found, expected):
        files = [*card["samples"]["skipped_files"], *card["data"]["train"]["skipped_files"]]
        assert [broken.name in each["file"] for each in files] == [True]
    assert found["samples"] == expected["samples"]
    assert found["data"]["train"]["skipped_files"] == expected["data"]["train"]["skipped_files"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--freeze none", r"nothing of the trunk is frozen; freeze it with --freeze all"),
        ("--freeze until:1", r"--freeze until:1 thaws the trunk"),
        ("--freeze all", r"pictures look different in each epoch\. .* --cache-views 4, or leave augmentation out"),
        (f"--freeze all {PLAIN} --devices 2", r"several processes train together, and one is enough"),
        (f"--freeze all {PLAIN} --augment.mixup 0.2", r"mixup and cutmix mix pictures"),
    ],
)
def test_on_says_why_it_cannot_be(
    words: str, reason: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("classification", pictures, tmp_path / "run", f"{words} --cache on") == 2
    assert re.search(f"--cache on: {reason}", capsys.readouterr().err)


def test_auto_says_what_would_make_it_store(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("classification", pictures, tmp_path / "run", "--freeze all") == 0
    assert "features aren't stored: pictures look different in each epoch" in capsys.readouterr().out
    assert train("classification", pictures, tmp_path / "plain", f"--freeze all {PLAIN} --cache-views 3") == 0
    assert "without effect here: --cache-views" in capsys.readouterr().out


def test_a_disk_without_room(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onetrunk.apps.stored_features.free_bytes", lambda folder: 1000)
    words = f"--freeze all {PLAIN}"
    assert train("classification", pictures, tmp_path / "on", f"{words} --cache on") == 2
    assert re.search(r"--cache on: '.*features' needs .* more, and 1000 bytes are free there", capsys.readouterr().err)
    assert train("classification", pictures, tmp_path / "auto", words) == 0
    assert "features aren't stored: '" in capsys.readouterr().out


def test_views_are_counted_from_one(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("classification", pictures, tmp_path / "run", "--freeze all --cache-views 0") == 2
    assert re.search(r"--cache-views takes 1 or more, not 0", capsys.readouterr().err)


def copy_of(pictures: Path, data: Path) -> Path:
    shutil.copytree(pictures, data)
    return data


def test_data_sets_with_the_same_names_keep_their_own_features(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (copy_of(pictures, tmp_path / name) for name in ("first", "second"))
    words = f"--freeze all {PLAIN} --cache-folder {tmp_path / 'features'}"
    for place, data in enumerate((first, second, first)):
        capsys.readouterr()
        assert train("classification", data, tmp_path / f"run-{place}", words) == 0
    assert "images: all were there" in capsys.readouterr().out
    assert len(list((tmp_path / "features").glob("train-0-*"))) == 2


def test_a_picture_that_is_drawn_again_takes_the_next_look(pictures: Path, tmp_path: Path) -> None:
    words = "--freeze all --cache-views 2 --sampling balanced"
    assert train("classification", pictures, tmp_path / "stored", words) == 0
    assert train("classification", pictures, tmp_path / "pictures", f"{words} --cache off") == 0
    assert_same_model(tmp_path / "stored", tmp_path / "pictures")


def test_no_more_looks_are_stored_than_there_are_epochs(pictures: Path, tmp_path: Path) -> None:
    assert train("classification", pictures, tmp_path / "run", "--freeze all --cache-views 7") == 0
    assert card_of(tmp_path / "run")["details"]["training"]["stored"]["views"] == 3


def test_who_comes_second_waits(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"--freeze all {PLAIN} --cache-folder {tmp_path / 'features'}"
    assert train("classification", pictures, tmp_path / "first", words) == 0
    (store,) = (tmp_path / "features").glob("val-0-*")
    next(store.glob("0*.safetensors")).unlink()  # something has to be written
    script = (
        "import sys; from pathlib import Path; from onetrunk.apps.folder_lock import writing_alone\n"
        "with writing_alone(Path(sys.argv[1]), name=sys.argv[2]): print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "features"), f"{store.name}.lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        # the first time that it waits, the other one ends
        monkeypatch.setattr("onetrunk.apps.folder_lock.time.sleep", lambda _: other.communicate())
        assert train("classification", pictures, tmp_path / "second", words) == 0
    assert "waiting for another command that stores features in" in capsys.readouterr().out


def test_a_store_that_is_whole_is_no_longer_locked_while_another_one_is_filled(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = []

    def look(filling: Filling, options: ComputeOptions) -> None:
        conclude(filling, options)
        locked.append(sorted(path.name[:3] for path in (tmp_path / "features").glob("*.lock")))

    conclude = Filling.conclude
    monkeypatch.setattr(Filling, "conclude", look)
    words = f"--freeze all --cache-views 2 --cache-folder {tmp_path / 'features'}"
    assert train("classification", pictures, tmp_path / "run", words) == 0
    assert locked == [["tra", "tra"], ["tra"], []]


def test_a_whole_folder_that_nothing_can_be_written_to_is_read(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"--freeze all {PLAIN} --cache-folder {tmp_path / 'features'}"
    assert train("classification", pictures, tmp_path / "first", words) == 0
    monkeypatch.setattr("onetrunk.apps.stored_features.writing_alone", None)
    monkeypatch.setattr("onetrunk.apps.stored_features.check_writable", None)
    assert train("classification", pictures, tmp_path / "second", words) == 0


def test_a_store_that_another_command_writes_anew_is_refused(tmp_path: Path) -> None:
    recipe, layers = {"trunk": "any"}, {"c1": (4,)}
    image = tmp_path / "image"
    image.write_bytes(b"x")

    def fill(value: float, rows: int = 4) -> FeatureStore:
        store = FeatureStore.create(
            tmp_path / "store", recipe, layers, dtype="fp32", rows=rows, batch_size=2, replaces=True
        )
        for shard, places in enumerate(store.shards):
            listing = [Row(str(place), state_of(read_signature(image), b"x"), None) for place in places]
            store.write(shard, listing, {"c1": torch.full((len(places), 4), value)})
        return store

    store = fill(1.0)
    store.hold()
    for file, _ in store._files.values():
        file.close()  # as if many others had been read since
    fill(2.0)
    with pytest.raises(UserError, match=r"was written anew while it was read: another command stores features"):
        store.read([0, 3])


def test_features_among_the_pictures_are_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = copy_of(pictures, tmp_path / "data")
    words = f"--freeze all {PLAIN} --cache-folder {data / 'features'}"
    assert train("classification", data, tmp_path / "run", words) == 2
    assert re.search(r"--cache-folder .*: it lies in the data set '.*'\. Choose a folder", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_a_cache_folder_that_is_a_file_is_named_before_anything_is_written(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("text")
    words = f"--freeze all {PLAIN} --cache-folder {tmp_path / 'file'}"
    assert train("classification", pictures, tmp_path / "run", words) == 2
    assert re.search(r"'.*file' can't be written to. Choose another one: --cache-folder", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
