"""Evaluations with known outcomes, written as `evaluate --output DIR` writes them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from onetrunk.apps.card import Card
from onetrunk.apps.classification.metrics import ClassificationEvaluator
from onetrunk.apps.evaluated_images import EvaluatedImages

CLASSES = ("ant", "bee", "cat")

WriteEvaluation = Callable[..., Path]


@pytest.fixture
def write_evaluation(tmp_path: Path) -> WriteEvaluation:
    """Write a folder with the card and the images of an evaluation."""

    def write(
        name: str,
        labels: Sequence[int],
        predictions: Sequence[int],
        *,
        sure: Sequence[float] | float = 0.75,
        names: Sequence[str] | None = None,
        classes: Sequence[str] = CLASSES,
        fingerprint: str = "f",
        split: str = "val",
    ) -> Path:
        evaluator = ClassificationEvaluator(classes)
        truth, first = np.array(labels), np.array(predictions)
        others = np.array([[c for c in range(len(classes)) if c != said] for said in first])
        best = np.broadcast_to(np.array(sure, dtype=np.float32), first.shape)[:, None]
        rest = (1 - best) / (len(classes) - 1)
        rows = {
            "label": truth,
            "label_probability": np.where(first == truth, best[:, 0], rest[:, 0]),
            "top": np.concatenate([first[:, None], others], axis=1),
            "probability": np.concatenate([best, *[rest] * (len(classes) - 1)], axis=1),
        }
        given = tuple(names if names is not None else [f"{place:03}.png" for place in range(len(truth))])
        images = EvaluatedImages(np.arange(len(truth)), given, rows)
        evaluation = evaluator.evaluate(images)
        folder = tmp_path / name
        folder.mkdir()
        images.save(folder / "images.npz", evaluator)
        Card(
            task="classification",
            split=split,
            selected_on=None,
            metrics={key: vars(estimate) for key, estimate in evaluation.metrics.items()},
            per_class=evaluation.per_class,
            samples={"used": len(images), "skipped": 0, "skipped_files": []},
            cost={},
            backbone={"name": "x", "weights": "none"},
            data={"path": "d", "fingerprint": fingerprint},
            primary=evaluation.primary,
        ).write(folder / "results.json")
        return folder

    return write
