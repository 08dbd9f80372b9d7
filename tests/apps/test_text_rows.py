"""Texts of any length among what is kept of images."""

from pathlib import Path

import numpy as np
import pytest
from onetrunk.apps.evaluated_images import EvaluatedImages, pool_images, read_images, text_row
from onetrunk.apps.localization.metrics import make_evaluator

TEXTS = ["a dog", "", "日本語 🐕", "long " * 5000, "half a pair \ud800"]


def images_of(texts: list[str]) -> EvaluatedImages:
    names = tuple(f"{place}.png" for place in range(len(texts)))
    return EvaluatedImages(np.arange(len(texts)), names, {"said": text_row(texts), "score": np.arange(len(texts))})


def test_texts_come_back_from_an_archive_as_they_were(tmp_path: Path) -> None:
    images_of(TEXTS).save(tmp_path / "images.npz", make_evaluator(["cat", "dog"], (0.0, 0.0, 1.0, 1.0)))
    images, _ = read_images(tmp_path / "images.npz")
    assert images.rows["said"].tolist() == TEXTS
    assert images.rows["score"].tolist() == [0, 1, 2, 3, 4]


def test_a_long_text_costs_the_other_images_nothing(tmp_path: Path) -> None:
    evaluator = make_evaluator(["cat", "dog"], (0.0, 0.0, 1.0, 1.0))
    images_of(["word " * 5000] + ["a dog"] * 2000).save(tmp_path / "images.npz", evaluator)
    with np.load(tmp_path / "images.npz") as stored:
        assert sum(stored[key].nbytes for key in stored.files if "said" in key) < 60_000


def test_images_with_texts_are_chosen_and_pooled_as_others() -> None:
    images = images_of(TEXTS)
    assert images.select([2, 0]).rows["said"].tolist() == [TEXTS[2], TEXTS[0]]
    assert pool_images([images, images_of(["more"])]).rows["said"].tolist() == [*TEXTS, "more"]


def test_texts_that_an_archive_cuts_short_are_damage(tmp_path: Path) -> None:
    images_of(TEXTS).save(tmp_path / "images.npz", make_evaluator(["cat", "dog"], (0.0, 0.0, 1.0, 1.0)))
    with np.load(tmp_path / "images.npz") as stored:
        arrays = {key: stored[key] for key in stored.files if key != "ends.said"}
    np.savez(tmp_path / "images.npz", **arrays)
    with pytest.raises(ValueError, match="is damaged, or of another release"):
        read_images(tmp_path / "images.npz")
