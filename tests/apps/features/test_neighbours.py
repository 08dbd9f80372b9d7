"""``features search``: the nearest by the cosine, of a picture that goes the same way as those in the file."""

import json
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from onetrunk.apps import features
from onetrunk.apps.cli import main
from onetrunk.apps.features import neighbours as neighbours_module
from onetrunk.apps.features.neighbours import nearest_by_cosine
from onetrunk.backbones import UserError
from safetensors.torch import load_file, save_file
from sklearn.metrics.pairwise import cosine_similarity

from .conftest import extract


def search(path: Path, *queries: Path, **more) -> list:
    options = features.SearchOptions(features=str(path), query=[str(query) for query in queries], device="cpu", **more)
    return features.search(options)


def test_a_picture_finds_itself_first(feature_file: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = search(feature_file, pictures / "val/red/02.png", top=4)[0]
    assert rows[0]["name"] == "val/red/02.png"
    assert rows[0]["similarity"] == pytest.approx(1, abs=1e-4)
    loaded = features.load(feature_file)
    cosines = cosine_similarity(loaded.X, loaded.X[[loaded.ids.tolist().index("val/red/02.png")]])[:, 0]
    assert [row["name"] for row in rows] == loaded.ids[np.argsort(-cosines)[:4]].tolist()
    assert [row["similarity"] for row in rows] == pytest.approx(np.sort(cosines)[::-1][:4], abs=1e-4)
    said = capsys.readouterr().out
    assert "nearest to" in said
    assert str(pictures / "val/red/02.png") in said


def test_several_queries_and_json(feature_file: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    queries = [str(pictures / "val/red/02.png"), str(pictures / "val/blue/01.png")]
    words = ["features", "search", "--features", str(feature_file), "--query", *queries, "--top", "2", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["query"] for each in found] == queries
    assert [each["nearest"][0]["name"] for each in found] == ["val/red/02.png", "val/blue/01.png"]


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".h5", ".safetensors"])
def test_a_query_goes_through_the_files_components(suffix: str, pictures: Path, tmp_path: Path) -> None:
    path = extract(pictures, tmp_path / f"few{suffix}", layers=["c3", "embedding"], pca=4)
    rows = search(path, pictures / "train/green/07.png", layer="embedding")[0]
    assert rows[0]["name"] == "train/green/07.png"
    assert search(path, pictures / "train/green/07.png") == search(path, pictures / "train/green/07.png", layer="c3")
    assert rows[0]["similarity"] == pytest.approx(1, abs=1e-3)


def test_rows_without_features_and_random_views_are_not_found(pictures: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    (data / "train/red/03.png").write_text("no picture")
    rows = search(extract(data, tmp_path / "file.npz", views=1), data / "val/red/02.png", top=100)[0]
    assert len(rows) == 47
    assert all(np.isfinite(row["similarity"]) for row in rows)


def test_other_weights_are_refused(trained_run: Path, pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    path = extract(pictures, tmp_path / "file.npz", weights=str(run), image_size=None)
    assert search(path, pictures / "val/red/02.png")[0][0]["name"] == "val/red/02.png"
    weights = run / "model" / "model.safetensors"
    tensors = load_file(weights)
    tensors[next(name for name in tensors if name.startswith("backbone.") and tensors[name].dim() == 4)] *= 1.01
    save_file(tensors, weights)
    with pytest.raises(UserError, match=r"made with other weights than .*Extract them anew"):
        search(path, pictures / "val/red/02.png")


def test_a_folder_of_queries(feature_file: Path, pictures: Path) -> None:
    found = search(feature_file, pictures / "val" / "red")
    assert [rows[0]["name"] for rows in found] == [f"val/red/{index:02}.png" for index in range(5)]


def test_every_bad_query_is_named(feature_file: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text("no picture")
    with pytest.raises(UserError, match=r"Queries that can't be read:\n.*a.jpg.*\n.*b.jpg[^-]*$"):
        search(feature_file, tmp_path / "a.jpg", tmp_path / "b.jpg")


def test_what_cannot_be_looked_for_is_said(feature_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing.jpg: there is no such file"):
        search(feature_file, tmp_path / "missing.jpg")
    with pytest.raises(UserError, match=r"--top takes 1 or more"):
        search(feature_file, tmp_path / "missing.jpg", top=0)


def test_faiss_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with faiss's interface: the wheel isn't there for every platform."""
    generator = np.random.default_rng(0)
    stored, queries = generator.normal(size=(30, 8)), generator.normal(size=(3, 8))
    expected = nearest_by_cosine(stored, queries, 5)

    class IndexFlatIP:
        def __init__(self, width: int) -> None:
            self.rows = np.empty((0, width), np.float32)

        def add(self, rows: np.ndarray) -> None:
            assert rows.dtype == np.float32
            assert rows.flags.c_contiguous
            self.rows = np.concatenate([self.rows, rows])

        def search(self, asked: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
            products = asked @ self.rows.T
            places = np.argsort(-products, axis=1)[:, :count]
            return np.take_along_axis(products, places, 1), places

    monkeypatch.setitem(sys.modules, "faiss", types.SimpleNamespace(IndexFlatIP=IndexFlatIP, __spec__="there"))
    monkeypatch.setattr(neighbours_module, "find_spec", lambda name: name == "faiss")
    found = nearest_by_cosine(stored, queries, 5)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)


def test_a_vector_of_zeros_is_like_nothing() -> None:
    similarities, _ = nearest_by_cosine(np.zeros((3, 4)), np.ones((1, 4)), 2)
    np.testing.assert_allclose(similarities, 0)
