"""``features probe``: the numbers of scikit-learn by hand, with intervals, and what is left out."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from onetrunk.apps import features
from onetrunk.apps.cli import main
from onetrunk.apps.features.probes import NEIGHBOURS, STRENGTHS, best_setting
from onetrunk.apps.intervals import proportion
from onetrunk.backbones import UserError
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .conftest import extract


def probe(path: Path, **more) -> dict:
    return features.probe(features.ProbeOptions(features=str(path), **more))


class ByHand(NamedTuple):
    """What scikit-learn says without us."""

    setting: float
    accuracy: float
    classifier: Any


def choose(
    classifier: Any, name: str, settings: Sequence[float], cut: Any, train: features.Loaded, groups: Any
) -> ByHand:
    """Cross-validate each setting, and fit the most accurate; of several as accurate the one in the middle."""
    scores = []
    for setting in settings:
        candidate = clone(classifier).set_params(**{name: setting})
        parts = [
            clone(candidate).fit(train.X[fit], train.y[fit]).score(train.X[test], train.y[test])
            for fit, test in cut.split(train.X, train.y, groups)
        ]
        scores.append(np.mean(parts))
    best = [setting for setting, score in zip(settings, scores, strict=True) if score == max(scores)]
    setting = best[(len(best) - 1) // 2]
    return ByHand(setting, max(scores), clone(classifier).set_params(**{name: setting}).fit(train.X, train.y))


def by_hand(cut: Any, train: features.Loaded, groups: Any = None) -> tuple[ByHand, ByHand]:
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    neighbours = KNeighborsClassifier(metric="cosine")
    counts = [count for count in NEIGHBOURS if count <= 10]
    return (
        choose(regression, "logisticregression__C", STRENGTHS, cut, train, groups),
        choose(neighbours, "n_neighbors", counts, cut, train, groups),
    )


def test_its_numbers_are_scikit_learns(feature_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cards = probe(feature_file)
    train, val = (features.load(feature_file, split=split) for split in ("train", "val"))
    logistic, neighbours = by_hand(StratifiedKFold(5), train)
    said = capsys.readouterr().out
    for name, hand in (("logistic_regression", logistic), ("knn", neighbours)):
        right = int((hand.classifier.predict(val.X) == val.y).sum())
        estimate = proportion(right, len(val.y))
        top1 = cards[name].metrics["top1"]
        assert top1 == {"value": estimate.value, "low": estimate.low, "high": estimate.high}
        about = cards[name].details["probe"]
        assert about["cross_validation"] == pytest.approx(hand.accuracy)
        assert about.get("C", about.get("n_neighbors")) == hand.setting
        assert f"{top1['value']:.4f}" in said
    assert re.search(r"most frequent class.*0\.3333", said)
    assert "33 training rows, 15 of val" in said


def test_predictions_and_cards_are_written_and_comparable(
    feature_file: Path, trained_run: Path, tmp_path: Path
) -> None:
    words = ["features", "probe", "--features", str(feature_file), "--output", str(tmp_path / "probe")]
    assert main(words) == 0
    card = json.loads((tmp_path / "probe" / "knn" / "results.json").read_text())
    assert card["task"] == "classification"
    assert card["samples"]["used"] == 15
    assert (tmp_path / "probe" / "logistic_regression" / "predictions.csv").is_file()
    assert main(["runs", "compare", str(tmp_path / "probe" / "logistic_regression"), str(trained_run)]) == 0
    assert main(words) == 2  # nothing is written over
    assert main([*words, "--overwrite"]) == 0


def test_images_without_features_are_dropped_and_counted(pictures: Path, tmp_path: Path, capsys) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    for name in ("train/red/03.png", "val/blue/00.png"):
        (data / name).write_text("no picture")
    path = extract(data, tmp_path / "file.npz")
    capsys.readouterr()
    card = probe(path)["knn"]
    assert card.details["probe"]["train"] == {"used": 32, "skipped": 1}
    assert card.samples["used"] == 14
    assert card.samples["skipped_files"][0]["file"] == "val/blue/00.png"
    assert "2 images without features were left out" in capsys.readouterr().out


def test_subjects_are_never_divided(subject_table: Path, tmp_path: Path) -> None:
    path = extract(subject_table, tmp_path / "file.parquet")
    card = probe(path)["logistic_regression"]
    table, train = features.read_features(path), features.load(path, split="train")
    groups = [
        each for each, split in zip(table.columns["subject"], table.columns["split"], strict=True) if split == "train"
    ]
    logistic, _ = by_hand(StratifiedGroupKFold(5), train, groups)
    assert card.details["probe"]["cross_validation"] == pytest.approx(logistic.accuracy)


def test_views_train_and_the_plain_one_is_judged(pictures: Path, tmp_path: Path) -> None:
    path = extract(pictures, tmp_path / "file.parquet", views=2)
    card = probe(path)["logistic_regression"]
    assert card.details["probe"]["train"]["used"] == 99
    assert card.samples["used"] == 15


def test_a_rare_class_has_fewer_folds(pictures: Path, tmp_path: Path, capsys) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    for index in range(3, 11):
        (data / "train" / "green" / f"{index:02}.png").unlink()
    card = probe(extract(data, tmp_path / "file.npz"))["knn"]
    assert card.details["probe"]["folds"] == 3
    assert "cross-validation in 3 parts, because the rarest class has no more" in capsys.readouterr().out


def test_a_class_of_one_image_is_named(pictures: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    for index in range(1, 11):
        (data / "train" / "green" / f"{index:02}.png").unlink()
    with pytest.raises(
        UserError, match=r"'green' has a single image in 'train' with features; cross-validation needs two"
    ):
        probe(extract(data, tmp_path / "file.npz"))


def test_maps_become_vectors(pictures: Path, tmp_path: Path) -> None:
    path = extract(pictures, tmp_path / "file.h5", layers=["c4", "embedding"], pooling="none")
    assert probe(path, layer="c4")["knn"].details["probe"]["layer"] == "c4"
    with pytest.raises(UserError, match=r"Unknown layer 'c9'. Known: c4, embedding"):
        probe(path, layer="c9")


def test_several_layers_are_probed_one_after_another(pictures: Path, tmp_path: Path) -> None:
    path = extract(pictures, tmp_path / "file.h5", layers=["c4", "embedding"])
    cards = probe(path, output=str(tmp_path / "probe"))
    assert list(cards) == ["c4/logistic_regression", "c4/knn", "embedding/logistic_regression", "embedding/knn"]
    assert cards["c4/knn"].metrics == probe(path, layer="c4")["knn"].metrics
    assert (tmp_path / "probe" / "embedding" / "knn" / "results.json").is_file()


def test_a_class_that_is_not_trained_is_named(pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = [f"{path},{path.parent.name},{path.parts[-3]}" for path in sorted(pictures.rglob("*.png"))]
    kept = [row for row in rows if not row.endswith("green,train")]
    table.write_text("\n".join(["path,label,split", *kept]))
    path = tmp_path / "file.npz"
    with pytest.raises(UserError, match=r"green"):
        probe(extract(table, path))


@pytest.mark.parametrize(
    ("data", "message"),
    [("label_table", r"these have any number. Train a head: onetrunk classification train --freeze all")],
)
def test_any_number_of_labels_is_for_a_head(data: str, message: str, request, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        probe(extract(request.getfixturevalue(data), tmp_path / "file.npz"))


def test_what_is_missing_is_said(pictures: Path, feature_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no 'test'; there are: train, val. Judge on another with --split"):
        probe(feature_file, split="test")
    with pytest.raises(UserError, match=r"--split takes val or test: a probe says nothing on the images"):
        probe(feature_file, split="train")
    with pytest.raises(UserError, match=r"--folds takes 2 or more, not 1"):
        probe(feature_file, folds=1)
    plain = extract(pictures, tmp_path / "plain.npz", plain=True)
    with pytest.raises(UserError, match=r"images without labels; there is nothing to tell apart"):
        probe(plain)
    only = extract(pictures, tmp_path / "only.npz", split="val")
    with pytest.raises(UserError, match=r"there is no 'train'; there are: val. .*or extract anew with --split all"):
        probe(only)


def test_of_equally_accurate_settings_the_middle_is_taken() -> None:
    assert best_setting({"mean_test_score": np.array([0.5, 0.9, 0.9, 0.9, 0.8])}) == 2
    assert best_setting({"mean_test_score": np.array([0.5, 0.7, 0.7])}) == 1
    assert best_setting({"mean_test_score": np.array([np.nan, 0.7])}) == 1


def test_ties_are_broken_as_scikit_learn_does(feature_file: Path, monkeypatch) -> None:
    monkeypatch.setattr("onetrunk.apps.features.probes.NEIGHBOURS", (10,))
    card = probe(feature_file)["knn"]
    train, val = (features.load(feature_file, split=split) for split in ("train", "val"))
    expected = KNeighborsClassifier(10, metric="cosine").fit(train.X, train.y).predict(val.X)
    assert card.metrics["top1"]["value"] == np.mean(expected == val.y)
