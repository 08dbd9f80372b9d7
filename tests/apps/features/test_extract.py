"""``features extract``: what lands in the file, and what is refused before anything is computed."""

import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onetrunk.apps import features
from onetrunk.apps import store as store_module
from onetrunk.apps.cli import main
from onetrunk.apps.extraction import FeatureNetwork
from onetrunk.apps.features import export as export_module
from onetrunk.apps.features import files
from onetrunk.apps.features import plan as plan_module
from onetrunk.apps.interruption import Interrupted
from onetrunk.apps.store import FeatureStore
from onetrunk.backbones import UserError
from onetrunk.datasets import DataError, open_dataset
from PIL import Image

from .conftest import TINY, extract

SUFFIXES = (".parquet", ".npz", ".h5", ".safetensors")


@pytest.fixture(scope="module")
def broken(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures with a truncated one in the middle of each split, and a text called .png."""
    root = tmp_path_factory.mktemp("broken") / "data"
    shutil.copytree(pictures, root)
    for name in ("train/green/05.png", "val/green/02.png"):
        (root / name).write_bytes((pictures / name).read_bytes()[:600])
    (root / "train/red/03.png").write_text("no picture")
    return root


def test_rows_follow_the_manifest_with_all_that_is_known(pictures: Path, feature_file: Path) -> None:
    table = features.read_features(feature_file)
    images = open_dataset(pictures, "all")
    assert table.columns["name"] == [record.name for record in images.records]
    assert table.columns["path"] == [str(record.path) for record in images.records]
    assert table.columns["label"] == [record.targets["label"] for record in images.records]
    assert table.columns["split"] == [name.split("/")[0] for name in table.columns["name"]]
    assert table.columns["error"] == [None] * 48
    assert table.features["embedding"].shape == (48, table.recipe["layers"]["embedding"]["shape"][0])
    assert not feature_file.with_name(feature_file.name + ".part").exists()


def test_the_recipe_says_what_the_numbers_are(feature_file: Path, pictures: Path) -> None:
    recipe = features.read_features(feature_file).recipe
    assert recipe["backbone"]["recipe"]["name"] == "timm/test_resnet"
    assert len(recipe["backbone"]["fingerprint"]) == 64
    assert recipe["inputs"]["canvas"] == [32, 32]
    assert recipe["layers"]["embedding"]["pooling"] == "avg"
    assert recipe["data"] == {"path": str(pictures), "split": "all", "split_origin": "folders"}
    assert {"torch", "timm", "pillow"} <= set(recipe["versions"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_file_round_trips(suffix: str, broken: Path, feature_file: Path, tmp_path: Path) -> None:
    layers = ["embedding", "c3"]
    path = extract(broken, tmp_path / f"file{suffix}", layers=layers, pooling="none")
    reference = features.read_features(extract(broken, tmp_path / "again.parquet", layers=layers, pooling="none"))
    table = features.read_features(path)
    assert table.columns == reference.columns
    assert table.recipe == reference.recipe
    for name in layers:
        np.testing.assert_array_equal(table.features[name], reference.features[name])
    assert table.features["c3"].ndim == 4
    whole = features.load(path, layer="embedding")
    undamaged = features.load(feature_file)
    assert len(whole.ids) == 45
    kept = np.isin(undamaged.ids, whole.ids)
    np.testing.assert_allclose(whole.X, undamaged.X[kept], rtol=1e-5, atol=1e-6)


def test_a_broken_image_keeps_its_row(broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = extract(broken, tmp_path / "file.parquet")
    table = features.read_features(path)
    assert len(table) == 48
    place = table.columns["name"].index("train/green/05.png")
    assert "truncated" in table.columns["error"][place]
    assert str(broken) not in table.columns["error"][place]  # the path stands beside it
    assert np.isnan(table.features["embedding"][place]).all()
    assert not np.isnan(table.features["embedding"][table.is_sound]).any()
    assert table.is_sound.sum() == 45
    loaded = features.load(path, skipped="keep")
    assert len(loaded.ids) == 48
    said = capsys.readouterr().out
    assert f"no features: {broken}/train/green/05.png: " in said
    assert "48 rows, 3 of them without features" in said


def test_parquet_has_nulls(broken: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    stored = pq.read_table(extract(broken, tmp_path / "file.parquet"))
    assert stored.column("embedding").null_count == stored.column("error").to_pylist().count(None) - 42 == 3


def test_bad_images_stop_it_where_that_is_asked_for(broken: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"3 images can't be read"):
        extract(broken, tmp_path / "file.parquet", bad_data="error")
    assert not list(tmp_path.iterdir())


def test_without_a_single_picture_there_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"none of the 1 images could be read, e.g. .*a.jpg: .*looks like text"):
        extract(tmp_path / "data", tmp_path / "file.parquet")
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


@pytest.mark.parametrize(
    ("pooling", "shape"), [("avg", (192,)), ("max", (192,)), ("flat", (192 * 4,)), ("none", (192, 2, 2))]
)
def test_pooling(pooling: str, shape: tuple[int, ...], pictures: Path, tmp_path: Path) -> None:
    path = extract(pictures, tmp_path / "file.npz", layers=["c4"], pooling=pooling, split="val")
    found = features.read_features(path).features["c4"]
    assert found.shape == (15, *shape)
    whole = extract(pictures, tmp_path / "map.npz", layers=["c4"], pooling="none", split="val")
    maps = features.read_features(whole).features["c4"]
    by_hand = {"avg": maps.mean((2, 3)), "max": maps.max((2, 3)), "flat": maps.reshape(15, -1), "none": maps}
    np.testing.assert_allclose(found, by_hand[pooling], rtol=1e-5, atol=1e-6)


def test_tokens_are_pooled_over_tokens(pictures: Path, tmp_path: Path) -> None:
    more = {"backbone": "timm/test_vit", "image_size": None, "split": "val", "layers": ["blocks.0"]}
    tokens = features.read_features(extract(pictures, tmp_path / "tokens.npz", pooling="none", **more))
    pooled = features.read_features(extract(pictures, tmp_path / "pooled.npz", **more))
    expected = tokens.features["blocks.0"].mean(1)
    np.testing.assert_allclose(pooled.features["blocks.0"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["avg", "none"])
def test_what_a_trunk_in_bf16_adds_up_in_fp32_keeps_its_digits(pictures: Path, tmp_path: Path, pooling: str) -> None:
    """The tokens of a transformer: only its linear layers compute in bf16."""
    more = {"backbone": "timm/test_vit", "image_size": None, "split": "val", "layers": ["blocks.0"]}
    path = extract(pictures, tmp_path / "tokens.npz", pooling=pooling, precision="bf16", **more)
    found = torch.from_numpy(features.read_features(path).features["blocks.0"])
    assert (found != found.bfloat16()).double().mean() > 0.9


def test_a_shard_that_is_being_written_is_written_whole_where_the_work_stops(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feature_file: Path
) -> None:
    monkeypatch.setattr(store_module, "_SHARD_ROWS", 8)
    write, run, calls = FeatureStore.write, FeatureNetwork.__call__, []

    def write_slowly(self: FeatureStore, *given: Any, **more: Any) -> None:
        time.sleep(0.5)
        write(self, *given, **more)

    def stop_at_the_third_batch(self: FeatureNetwork, images: torch.Tensor, **more: Any) -> dict[str, torch.Tensor]:
        calls.append(len(images))
        if calls.count(8) == 3:
            raise Interrupted(signal.SIGTERM)
        return run(self, images, **more)

    output = tmp_path / "file.npz"
    with monkeypatch.context() as patched:
        patched.setattr(FeatureStore, "write", write_slowly)
        patched.setattr(FeatureNetwork, "__call__", stop_at_the_third_batch)
        with pytest.raises(Interrupted):
            extract(pictures, output, batch_size=8)
    left = sorted(path.name for path in (tmp_path / "file.npz.part" / "view-0").iterdir())
    assert left == ["000000.safetensors", "000001.safetensors", "store.json"]
    calls.clear()
    monkeypatch.setattr(
        FeatureNetwork, "__call__", lambda self, images, **more: calls.append(len(images)) or run(self, images, **more)
    )
    found, expected = features.load(extract(pictures, output, batch_size=8)), features.load(feature_file)
    assert calls.count(8) == 4
    np.testing.assert_allclose(found.X, expected.X, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_narrow_numbers(dtype: str, suffix: str, pictures: Path, feature_file: Path, tmp_path: Path) -> None:
    path = extract(pictures, tmp_path / f"file{suffix}", dtype=dtype)
    table, wide = features.read_features(path), features.read_features(feature_file)
    found = table.features["embedding"]
    assert table.recipe["dtype"] == dtype
    assert found.dtype == (np.float16 if dtype == "fp16" else np.float32)
    np.testing.assert_allclose(found, wide.features["embedding"], rtol=1e-2 if dtype == "bf16" else 2e-3, atol=1e-4)


def test_numbers_beyond_fp16_are_refused(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = FeatureNetwork.__call__
    monkeypatch.setattr(
        FeatureNetwork,
        "__call__",
        lambda self, images, **more: {k: v * 1e6 for k, v in run(self, images, **more).items()},
    )
    with pytest.raises(UserError, match=r"for 'train/blue/00.png': values up to .* go beyond fp16; take --dtype fp32"):
        extract(pictures, tmp_path / "file.npz", dtype="fp16")


def test_batch_size_and_workers_change_nothing_beyond_rounding(
    pictures: Path, feature_file: Path, tmp_path: Path
) -> None:
    reference = features.load(feature_file)
    same = features.load(extract(pictures, tmp_path / "workers.npz", workers=2))
    np.testing.assert_array_equal(same.X, reference.X)
    other = features.load(extract(pictures, tmp_path / "batches.npz", batch_size=5))
    np.testing.assert_allclose(other.X, reference.X, rtol=1e-4, atol=1e-6)
    assert (other.ids == reference.ids).all()


def test_splits_are_those_of_training(pictures: Path, tmp_path: Path) -> None:
    path = extract(pictures / "train", tmp_path / "file.npz", split_seed=3)
    images = open_dataset(pictures / "train", "val", split_seed=3)
    loaded = features.load(path, split="val")
    assert set(loaded.ids) == {record.name for record in images.records}
    assert features.read_features(path).recipe["data"]["split_origin"] == "seeded 0.2 of everything, seed 3"


def test_a_plain_folder_has_neither_labels_nor_splits(pictures: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "flat").mkdir()
    for index, picture in enumerate(sorted((pictures / "val").rglob("*.png"))):
        (tmp_path / "flat" / f"{index:02}.png").symlink_to(picture)
    (tmp_path / "flat" / "again.png").symlink_to(pictures / "val" / "red" / "00.png")
    loaded = features.load(extract(tmp_path / "flat", tmp_path / "file.parquet"))
    assert loaded.y is None
    assert len(loaded.ids) == 16  # links to the same file, too
    assert not loaded.splits.any()
    assert "pictures without class folders" in capsys.readouterr().out
    nested = features.load(extract(pictures, tmp_path / "nested.parquet", plain=True))
    assert len(nested.ids) == 48
    assert nested.y is None


@pytest.mark.parametrize("kind", ["caption_table", "question_table"])
def test_pictures_with_texts_have_features_and_splits(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    loaded = features.load(extract(request.getfixturevalue(kind), tmp_path / "file.parquet"))
    assert loaded.y is None
    assert len(loaded.ids) == 48
    assert sorted(set(loaded.splits)) == ["train", "val"]


@pytest.mark.parametrize("kind", ["label_table", "label_voc"])
def test_any_number_of_labels(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    data = request.getfixturevalue(kind)
    for suffix in SUFFIXES:
        loaded = features.load(extract(data, tmp_path / f"{kind}{suffix}", split="val"))
        assert loaded.y is not None
        assert loaded.y.shape == (35, 3)
        assert loaded.y.sum(axis=0).tolist() == [15, 15, 15]


def test_subjects_are_kept(subject_table: Path, tmp_path: Path) -> None:
    table = features.read_features(extract(subject_table, tmp_path / "file.h5"))
    assert table.columns["subject"][0] == "blue-train-0"


def test_views_are_rows_of_their_own(pictures: Path, feature_file: Path, tmp_path: Path) -> None:
    path = extract(pictures, tmp_path / "views.parquet", views=2, seed=7, weights="none")
    table = features.read_features(path)
    assert table.columns["view"] == [view for view in range(3) for _ in range(48)]
    assert table.columns["name"][:48] == table.columns["name"][48:96]
    assert len(features.load(path).ids) == 48  # without random views
    assert len(features.load(path, views="all", split="val").ids) == 45
    views = table.features["embedding"].reshape(3, 48, -1)
    assert not np.allclose(views[0], views[1])
    assert not np.allclose(views[1], views[2])
    more = features.read_features(extract(pictures, tmp_path / "more.parquet", views=1, seed=7, batch_size=48))
    np.testing.assert_allclose(more.features["embedding"].reshape(2, 48, -1), views[:2], rtol=1e-4, atol=1e-6)


def test_a_view_is_a_function_of_seed_view_and_row(pictures: Path, tmp_path: Path, monkeypatch) -> None:
    """Whatever was computed before it, as after an interruption."""
    monkeypatch.setattr(store_module, "_SHARD_ROWS", 8)
    whole = extract(pictures, tmp_path / "whole.npz", views=1)
    interrupted(pictures, tmp_path / "parts.npz", shards=3, views=1)
    interrupted(pictures, tmp_path / "parts.npz", shards=5, views=1)
    assert extract(pictures, tmp_path / "parts.npz", views=1).read_bytes() == whole.read_bytes()


def interrupted(data: Path, output: Path, *, shards: int, rows: int = 8, **more: Any) -> Interrupted:
    """Extract until so many shards of so many rows are written, and return what stopped it then."""
    written, write = [], FeatureStore.write

    def counted(self: FeatureStore, *arguments: Any, **more: Any) -> None:
        if len(written) == shards:
            raise Interrupted(15)
        written.append(write(self, *arguments, **more))  # type: ignore[func-returns-value]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "_SHARD_ROWS", rows)
        patch.setattr(FeatureStore, "write", counted)
        with pytest.raises(Interrupted) as stop:
            extract(data, output, **more)
    return stop.value


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interrupted_export_goes_on_to_the_same_bytes(
    suffix: str, broken: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(store_module, "_SHARD_ROWS", 8)
    whole = extract(broken, tmp_path / f"whole{suffix}", layers=["embedding", "c3"])
    again = extract(broken, tmp_path / f"again{suffix}", layers=["embedding", "c3"])
    assert again.read_bytes() == whole.read_bytes()
    stop = interrupted(broken, tmp_path / f"parts{suffix}", shards=2, layers=["embedding", "c3"])
    assert "run the same command again" in stop.__notes__[0]
    assert not (tmp_path / f"parts{suffix}").exists()
    with pytest.raises(UserError, match=r"no such file. It is being written, or was interrupted"):
        features.load(tmp_path / f"parts{suffix}")
    computed, write = [], FeatureStore.write
    monkeypatch.setattr(
        FeatureStore,
        "write",
        lambda self, shard, *rest, **more: (computed.append(shard), write(self, shard, *rest, **more)),
    )
    parts = extract(broken, tmp_path / f"parts{suffix}", layers=["embedding", "c3"])
    assert computed == [2, 3, 4, 5]
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("deleted", [0, 1, 2])
def test_killed_between_the_file_and_the_end(deleted: int, pictures: Path, tmp_path: Path, monkeypatch) -> None:
    """Before the parts are removed, between two of them, and before the last trace is."""
    delete, calls = FeatureStore.delete, []

    def die(folder: Path, **more: Any) -> None:
        if (folder.parent / "written.json").exists():
            if len(calls) == deleted:
                raise KeyboardInterrupt
            calls.append(folder)
        delete(folder, **more)

    monkeypatch.setattr(FeatureStore, "delete", die)
    more = {"views": 2}
    with pytest.raises(KeyboardInterrupt):
        extract(pictures, tmp_path / "file.npz", **more)
    monkeypatch.undo()
    content = (tmp_path / "file.npz").read_bytes()
    with pytest.raises(UserError, match=r"is already there"):
        extract(pictures, tmp_path / "file.npz", views=1)  # another command
    monkeypatch.setattr(FeatureNetwork, "__call__", None)  # nothing is computed
    extract(pictures, tmp_path / "file.npz", **more)
    assert (tmp_path / "file.npz").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["file.npz"]


def test_changed_images_are_computed_again_when_it_goes_on(pictures: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    interrupted(data, tmp_path / "file.npz", shards=3)
    Image.effect_noise((48, 40), 60).convert("RGB").save(data / "train" / "blue" / "03.png")
    found = features.load(extract(data, tmp_path / "file.npz"))
    expected = features.load(extract(data, tmp_path / "anew.npz"))
    np.testing.assert_allclose(found.X, expected.X, rtol=1e-5, atol=1e-6)


def test_other_options_are_never_mixed_in(pictures: Path, tmp_path: Path, capsys) -> None:
    interrupted(pictures, tmp_path / "file.npz", shards=3)
    with pytest.raises(UserError, match=r"begun with other options \(backbone, inputs\). Go on with those"):
        extract(pictures, tmp_path / "file.npz", image_size=[48])
    capsys.readouterr()
    whole = extract(pictures, tmp_path / "file.npz")
    assert "going on: 24 of 48 images are there" in capsys.readouterr().out
    assert features.load(whole).X.shape == (48, 96)
    interrupted(pictures, tmp_path / "other.npz", shards=3)
    found = features.load(extract(pictures, tmp_path / "other.npz", image_size=[48], overwrite=True))
    expected = features.load(extract(pictures, tmp_path / "anew.npz", image_size=[48]))
    np.testing.assert_array_equal(found.X, expected.X)


def test_an_image_that_changes_after_it_was_read_is_computed_again(pictures: Path, tmp_path: Path, monkeypatch) -> None:
    """What is remembered of a file is of the bytes that were decoded, not of those that are there afterwards."""
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    write = FeatureStore.write

    def changing(self: FeatureStore, *arguments: Any, **more: Any) -> None:
        shutil.copy(data / "train" / "blue" / "04.png", data / "train" / "red" / "04.png")
        write(self, *arguments, **more)
        raise Interrupted(15)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, "write", changing)
        with pytest.raises(Interrupted):
            extract(data, tmp_path / "file.npz")
    found = features.load(extract(data, tmp_path / "file.npz"))
    blue, red = (found.ids.tolist().index(f"train/{name}/04.png") for name in ("blue", "red"))
    np.testing.assert_allclose(found.X[red], found.X[blue], rtol=1e-5, atol=1e-6)


def test_kept_parts_with_bad_images_are_refused_too(broken: Path, tmp_path: Path) -> None:
    """Damage in the middle of a file, which a quick look doesn't see, and which was to be skipped at first."""
    data = tmp_path / "data"
    shutil.copytree(broken, data)
    shutil.copy(data / "val/green/01.png", data / "val/green/02.png")
    for name in ("train/green/05.png", "train/red/03.png"):
        content = bytearray((data / "train/red/04.png").read_bytes())
        content[200:1200] = bytes(1000)
        (data / name).write_bytes(content)
    interrupted(data, tmp_path / "file.npz", shards=5)
    with pytest.raises(UserError, match=r"2 images can't be read"):
        extract(data, tmp_path / "file.npz", bad_data="error")


def test_nothing_of_others_is_deleted(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file.npz.part").mkdir()
    (tmp_path / "file.npz.part" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"file.npz.part' holds something else than parts of features"):
        extract(pictures, tmp_path / "file.npz")
    assert (tmp_path / "file.npz.part" / "thesis.txt").read_text() == "years of work"


def test_a_file_that_appears_meanwhile_is_kept(pictures: Path, tmp_path: Path, monkeypatch) -> None:
    announce = export_module.announce

    def appearing(*arguments: Any) -> None:
        (tmp_path / "file.npz").write_text("of another process")
        announce(*arguments)

    monkeypatch.setattr(export_module, "announce", appearing)
    with pytest.raises(UserError, match=r"is already there"):
        extract(pictures, tmp_path / "file.npz")
    assert (tmp_path / "file.npz").read_text() == "of another process"


def test_where_the_file_cannot_be_is_said_at_once(pictures: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    with pytest.raises(UserError, match=r"lies in the data, .* Choose another place: --output FILE"):
        extract(data, data / "file.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(UserError, match=r"folder.npz' is a folder. Choose a file"):
        extract(data, tmp_path / "folder.npz", overwrite=True)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/o\xe9"))
    with pytest.raises(UserError, match=r"the path isn't UTF-8"):
        extract(data, odd / "file.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "folder.npz"}


def test_a_missing_folder_is_made(pictures: Path, tmp_path: Path) -> None:
    assert extract(pictures, tmp_path / "new" / "file.npz", split="val").is_file()


def test_a_link_is_written_through(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "file.npz").symlink_to(tmp_path / "real" / "file.npz")
    extract(pictures, tmp_path / "file.npz", split="val")
    assert (tmp_path / "file.npz").is_symlink()
    assert len(features.load(tmp_path / "real" / "file.npz").ids) == 15


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_of_other_encodings(suffix: str, pictures: Path, tmp_path: Path) -> None:
    for name in (b"caf\xe9", b"th\xe9"):
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/data/" + name))
        folder.mkdir(parents=True)
        for index in range(3):
            shutil.copy(pictures / "val" / "red" / f"{index:02}.png", folder / os.fsdecode(b"\xe9%d.png" % index))
    loaded = features.load(extract(tmp_path / "data", tmp_path / f"file{suffix}"))
    assert loaded.y is not None
    assert set(loaded.y.tolist()) == {"caf\\udce9", "th\\udce9"}


def test_more_views_keep_those_that_are_there(pictures: Path, tmp_path: Path, monkeypatch) -> None:
    output = tmp_path / "file.npz"
    interrupted(pictures, output, shards=3, rows=24, batch_size=24, views=1)
    computed, write = [], FeatureStore.write

    def note(self: FeatureStore, *arguments: Any, **more: Any) -> None:
        computed.append(self.folder.name)
        write(self, *arguments, **more)

    monkeypatch.setattr(FeatureStore, "write", note)
    extract(pictures, output, views=2, batch_size=24)
    assert computed[0] == "view-1"  # what was left of it
    assert set(computed) == {"view-1", "view-2"}


def test_components_that_no_footer_holds_are_refused_before_the_work(pictures, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(plan_module, "_LARGEST_FOOTER", 1000)
    with pytest.raises(UserError, match=r"more than the footer of a Parquet file can hold. Write .npz"):
        extract(pictures, tmp_path / "file.parquet", pca=4)
    assert not list(tmp_path.iterdir())
    extract(pictures, tmp_path / "file.npz", pca=4)


def test_labels_with_the_separator_are_refused(pictures: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = [str(path) for path in sorted((pictures / "val").rglob("*.png"))]
    labels = pa.array([["cat; big"]] * len(paths))
    pq.write_table(pa.table({"path": paths, "labels": labels}), tmp_path / "table.parquet")
    with pytest.raises(UserError, match=r"a label holds ';', which stands between labels in the file. Rename it"):
        extract(tmp_path / "table.parquet", tmp_path / "file.npz")


def test_long_reasons_are_cut(pictures: Path, tmp_path: Path, monkeypatch) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures / "val", data)
    monkeypatch.setattr("onetrunk.datasets.loading.decode_image", failing_with("a very long reason " * 100))
    (data / "red" / "00.png").write_text("no picture")
    with pytest.raises(UserError, match=r"none of the 15 images could be read"):
        extract(data, tmp_path / "file.npz")


def failing_with(reason: str) -> Any:
    def fail(*arguments: Any, **more: Any) -> None:
        raise DataError(reason)

    return fail


def test_the_process_generator_is_left_alone(pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    extract(pictures, tmp_path / "file.npz", split="val")
    assert torch.rand(1) == expected


def test_paths_may_be_paths(pictures: Path, tmp_path: Path) -> None:
    options = features.ExtractOptions(data=pictures, output=tmp_path / "file.npz", **TINY)  # type: ignore[arg-type]
    assert features.extract(options) == tmp_path / "file.npz"
    assert features.ExtractOptions(data="a", output="b", layers="c3", image_size=32).layers == ["c3"]  # type: ignore[arg-type]


def test_an_old_file_is_never_written_over_unasked(pictures: Path, feature_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    shutil.copy(feature_file, path)
    with pytest.raises(UserError, match=r"is already there. Write over it: --overwrite"):
        extract(pictures, path)
    (tmp_path / "file.parquet.part").mkdir()  # of another command
    with pytest.raises(UserError, match=r"is already there"):
        extract(pictures, path)
    assert path.read_bytes() == feature_file.read_bytes()
    extract(pictures, path, image_size=[48], overwrite=True)
    assert features.read_features(path).recipe["inputs"]["canvas"] == [48, 48]


def test_a_disk_that_is_too_small_is_said_before_the_work(pictures: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(plan_module, "free_bytes", lambda folder: 30_000)
    with pytest.raises(UserError, match=r"need .* KiB more, and the disk has 29.3 KiB free. Keep less"):
        extract(pictures, tmp_path / "file.npz")
    assert not list(tmp_path.iterdir())
    assert "48 images" in capsys.readouterr().out


def test_the_size_that_is_announced_is_the_size(pictures: Path, tmp_path: Path, capsys) -> None:
    path = extract(pictures, tmp_path / "file.safetensors", layers=["c2"], pooling="none", dtype="fp16")
    shape = features.read_features(path).features["c2"].shape
    announced = 2 * np.prod(shape) / 1024
    assert f"{path}: {announced:.1f} KiB" in capsys.readouterr().out
    assert path.stat().st_size / 1024 == pytest.approx(announced, rel=0.2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "f.csv"], r"f.csv: a feature file ends in .parquet, .npz, .h5, .safetensors, not in '.csv'"),
        (["--output", "f.parqet"], r"Did you mean '.parquet'"),
        (["--layers", "fc9"], r"Unknown level 'fc9'"),
        (["--layers", "c3", "--pooling", "none", "--pca", "4"], r"--pca takes vectors, and 'c3' is a map. Pool it"),
        (["--pca", "4000"], r"'embedding' has only \d+ numbers an image. Take fewer"),
        (["--pca", "40"], r"--pca 40 needs at least as many images to fit on, and there are 33 of them"),
        (["--split", "val", "--pca", "4"], r"--pca is fitted on the training split, and no image is of it"),
        (["--split", "tset"], r"there is no split 'tset'; there are: train, val; 'all' takes every image"),
        (["--views", "-1"], r"--views takes 0 or more"),
        (["--augment.flip", "0"], r"--augment.flip: has no effect without --views"),
        (["--dtype", "fp8"], r"--dtype takes one of 'fp32', 'fp16', 'bf16', not 'fp8'"),
        (["--plain", "--val-fraction", "0.3"], r"--val-fraction: has no effect with --plain"),
        (["--plain", "--split", "val"], r"a plain folder of pictures has no split 'val'"),
        (["--layers", "embeding"], r"Did you mean 'embedding'"),
    ],
)
def test_what_cannot_be_done_is_said(words, message, pictures, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ["--backbone", "timm/test_resnet", "--weights", "none", "--image-size", "32", "--workers", "0"]
    given = ["features", "extract", "--data", str(pictures), "--output", "f.parquet", *tiny, *words]
    assert main(given) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "f.parquet").exists()


def test_a_folder_that_is_no_data_set_says_how_to_take_it(tmp_path: Path) -> None:
    (tmp_path / "data" / "empty").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no pictures in its folders.* without labels: --plain"):
        extract(tmp_path / "data", tmp_path / "file.parquet")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match=r"bare.*no class folders"):
        extract(tmp_path / "bare", tmp_path / "file.parquet")


def test_principal_components_are_fitted_on_the_training_split(broken: Path, tmp_path: Path) -> None:
    from sklearn.decomposition import PCA

    path = extract(broken, tmp_path / "few.h5", pca=5)
    whole = features.load(extract(broken, tmp_path / "all.h5"))
    table, few = features.read_features(path), features.load(path)
    trained = whole.splits == "train"
    fitted = PCA(5, svd_solver="full").fit(whole.X[trained])
    expected = fitted.transform(whole.X)
    signs = np.sign((expected * few.X).sum(axis=0))  # a component may point either way
    np.testing.assert_allclose(few.X * signs, expected, rtol=1e-3, atol=1e-4)
    about = table.recipe["layers"]["embedding"]["pca"]
    assert (about["components"], about["fitted_on"], about["images"]) == (5, "train", 31)
    assert about["explained_variance"] == pytest.approx(fitted.explained_variance_ratio_.sum(), abs=1e-4)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_components_travel_with_the_file(suffix: str, pictures: Path, tmp_path: Path) -> None:
    path = extract(pictures, tmp_path / f"few{suffix}", layers=["embedding", "c3"], pca=4)
    whole = features.load(extract(pictures, tmp_path / "all.npz"))
    table = features.read_features(path, ["embedding"])
    mean, components = (table.attachments[f"pca/embedding/{name}"] for name in ("mean", "components"))
    found = table.features["embedding"]
    np.testing.assert_allclose(found, (whole.X - mean) @ components.T, rtol=1e-4, atol=1e-5)
    assert "pca/c3/mean" in table.attachments


def test_damaged_and_foreign_files_are_named(feature_file: Path, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"file{suffix}"
        path.write_bytes(feature_file.read_bytes()[:3000])
        with pytest.raises(UserError, match=r"file.*: holds no features that can be read"):
            features.load(path)
    np.savez(tmp_path / "foreign.npz", x=np.zeros(3))
    with pytest.raises(UserError, match=r"foreign.npz: holds no features that can be read"):
        features.load(tmp_path / "foreign.npz")
    with pytest.raises(UserError, match=r"missing.npz: there is no such file\.$"):
        features.load(tmp_path / "missing.npz")


def test_a_layer_is_chosen_by_name(pictures: Path, tmp_path: Path) -> None:
    path = extract(pictures, tmp_path / "two.npz", layers=["c3", "embedding"], split="val")
    with pytest.raises(UserError, match=r"several layers: c3, embedding. Say which: layer='c3'"):
        features.load(path)
    with pytest.raises(UserError, match=r"Unknown layer 'c9'. Known: c3, embedding"):
        features.load(path, layer="c9")
    with pytest.raises(UserError, match=r"Unknown split 'test'. Known: val"):
        features.load(path, layer="c3", split="test")
    assert features.load(path, layer="c3").X.shape == (15, 48)


def test_a_file_of_another_format_is_refused(feature_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FORMAT", 2)
    with pytest.raises(UserError, match=r"pictures.parquet: features of format 1; this release reads 2"):
        features.load(feature_file)


def test_random_weights_are_a_function_of_the_seed(pictures: Path, feature_file: Path, tmp_path: Path) -> None:
    same = features.load(extract(pictures, tmp_path / "same.npz"))
    other = features.load(extract(pictures, tmp_path / "other.npz", seed=1))
    assert (same.X == features.load(feature_file).X).all()
    assert not np.allclose(other.X, same.X)
    assert TINY["weights"] == "none"
