"""Figures of detection against pycocotools, on random objects and detections."""

import contextlib
import io
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onetrunk.apps.card import Card, print_card
from onetrunk.apps.detection.detections import Detections
from onetrunk.apps.detection.metrics import DetectionEvaluator, make_evaluator, rebuild_evaluator
from onetrunk.apps.evaluated_images import EvaluatedImages, read_images
from onetrunk.apps.evaluation import Piece, join_pieces
from onetrunk.apps.intervals import bootstrap, paired_bootstrap
from onetrunk.apps.runs import CompareOptions, compare
from onetrunk.backbones.errors import UserError
from onetrunk.datasets import Batch, Context
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

COCO_NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
COCO_NAMES += ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
SIDE = 300.0


@dataclass(frozen=True)
class Picture:
    """An image's objects and detections."""

    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray
    found: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


def random_boxes(generator: np.random.Generator, count: int) -> np.ndarray:
    sides = np.exp(generator.uniform(np.log(6), np.log(250), (count, 2)))
    corners = generator.uniform(0, SIDE - sides)
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


def random_picture(generator: np.random.Generator, classes: int, *, most: int = 12, ties: bool = True) -> Picture:
    """Objects and detections, several of which lie around the same object; any of both may be missing."""
    objects, strays = (int(generator.integers(0, most)) if generator.random() < 0.9 else 0 for _ in range(2))
    boxes, labels = random_boxes(generator, objects), generator.integers(0, classes, objects)
    copies = generator.integers(0, max(objects, 1), 2 * objects)
    spread = np.tile(boxes[copies, 2:] - boxes[copies, :2], 2) * generator.choice([0.0, 0.03, 0.12])
    moved = boxes[copies] + generator.normal(0, 1, (len(copies), 4)) * spread
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    found = np.concatenate([moved, random_boxes(generator, strays)]).astype(np.float32)
    of_found = np.concatenate([labels[copies], generator.integers(0, classes, strays)])
    scores = generator.random(len(found)).astype(np.float32)
    if ties:
        scores = np.round(scores, 1)
    order = np.argsort(-scores, kind="stable")
    sizes = (boxes[:, 2:].astype(float) - boxes[:, :2].astype(float)).prod(axis=1)
    areas = sizes * np.where(generator.random(objects) < 0.3, generator.uniform(0.2, 1, objects), 1)
    areas[generator.random(objects) < 0.1] = 32.0**2  # small and medium alike
    return Picture(boxes, labels, generator.random(objects) < 0.15, areas, found[order], of_found[order], scores[order])


def batch_of(pictures: list[Picture], start: int = 0, sets: list[list[int]] | None = None) -> tuple[Any, Batch]:
    sizes = torch.full((len(pictures), 2), int(SIDE))
    targets = {
        "full_boxes": [torch.from_numpy(one.boxes) for one in pictures],
        "full_classes": [torch.from_numpy(one.classes) for one in pictures],
        "full_ignored": [torch.from_numpy(one.ignored) for one in pictures],
        "full_areas": [torch.from_numpy(one.areas) for one in pictures],
        "full_sets": [torch.zeros(len(one.boxes), dtype=torch.int64) for one in pictures]
        if sets is None
        else [torch.tensor(each, dtype=torch.int64) for each in sets],
    }
    places = torch.arange(start, start + len(pictures))
    names = [f"{place}.png" for place in places.tolist()]
    found = [Detections(*map(torch.from_numpy, (one.found, one.scores, one.labels))) for one in pictures]
    return {"detections": found}, Batch(None, {}, Context((1, 1), sizes, sizes), targets, places, names)


def keep(evaluator: DetectionEvaluator, pictures: list[Picture], batch_size: int = 4) -> EvaluatedImages:
    pieces = []
    for start in range(0, len(pictures), batch_size):
        output, batch = batch_of(pictures[start : start + batch_size], start)
        pieces.append(Piece(batch.indices.numpy(), batch.names, evaluator.collect(output, batch), [], 0.0))
    return join_pieces(pieces)[0]


def plain(box: np.ndarray) -> list[float]:
    left, top, right, bottom = box.astype(float).tolist()
    return [left, top, right - left, bottom - top]


def reference(pictures: list[Picture], classes: int) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """Return pycocotools' twelve figures without undefined ones, and AP and AP50 of each class, -1 where undefined."""
    annotations, results = [], []
    for image, one in enumerate(pictures, start=1):
        for box, label, ignored, area in zip(one.boxes, one.classes, one.ignored, one.areas, strict=True):
            if label < 0:
                continue
            about = {"id": len(annotations) + 1, "image_id": image, "category_id": int(label) + 1}
            annotations.append({**about, "iscrowd": int(ignored), "bbox": plain(box), "area": float(area)})
        for box, label, score in zip(one.found, one.labels, one.scores, strict=True):
            about = {"image_id": image, "category_id": int(label) + 1}
            results.append({**about, "bbox": plain(box), "score": float(score)})
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image + 1} for image in range(len(pictures))],
        "categories": [{"id": label + 1} for label in range(classes)],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    figures = dict(zip(COCO_NAMES, evaluation.stats.tolist(), strict=True))
    known = {name: value for name, value in figures.items() if value > -1}
    return known, precision.mean(axis=(0, 1)), precision[0].mean(axis=0)


def classes_named(count: int) -> list[str]:
    return [f"class {label}" for label in range(count)]


@pytest.mark.parametrize(("classes", "seed"), [*product([1, 3], range(30)), *product([80], range(4))])
def test_figures_are_those_of_pycocotools(classes: int, seed: int) -> None:
    generator = np.random.default_rng([seed, classes])
    pictures = [random_picture(generator, classes) for _ in range(9)]
    evaluator = make_evaluator(classes_named(classes))
    kept = keep(evaluator, pictures)
    expected, ap, ap50 = reference(pictures, classes)
    values = evaluator.values(kept)
    assert {name: values[name] for name in COCO_NAMES if name in values} == pytest.approx(expected, abs=1e-9)
    found = evaluator._measure_everything(kept.rows, np.ones((1, len(kept)), dtype=np.int64))
    for label in range(classes):
        for name, wanted in (("ap", ap), ("ap50", ap50)):
            value = found[f"{name} {label}"][0]
            assert (np.isnan(value) and wanted[label] == -1) or value == pytest.approx(wanted[label], abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_of_one_class_the_best_hundred_detections_of_an_image_count(seed: int) -> None:
    generator = np.random.default_rng(seed)
    pictures = [random_picture(generator, 2, most=160) for _ in range(4)]
    assert max(np.bincount(one.labels, minlength=2).max() for one in pictures) > 110
    evaluator = make_evaluator(classes_named(2), max_detections=500)
    expected, *_ = reference(pictures, 2)
    values = evaluator.values(keep(evaluator, pictures))
    assert {name: values[name] for name in COCO_NAMES} == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_an_image_that_is_drawn_twice_counts_as_if_it_stood_there_twice(seed: int) -> None:
    generator = np.random.default_rng(seed)
    pictures = [random_picture(generator, 3, ties=False) for _ in range(8)]
    evaluator = make_evaluator(classes_named(3))
    kept = keep(evaluator, pictures)
    weights = generator.multinomial(8, np.full(8, 1 / 8), size=5)
    drawn = evaluator.measure(kept.rows, weights)
    for sample, counts in enumerate(weights):
        expected, *_ = reference([one for one, count in zip(pictures, counts, strict=True) for _ in range(count)], 3)
        measured = {name: drawn[name][sample] for name in COCO_NAMES if np.isfinite(drawn[name][sample])}
        assert measured == pytest.approx(expected, abs=1e-9)
        alone = evaluator.measure(kept.rows, counts[None])
        assert all(np.array_equal(alone[name][0], drawn[name][sample], equal_nan=True) for name in drawn)


def test_recalls_are_compared_as_pycocotools_compares_them() -> None:
    # 70 of 100 is 0.7, and pycocotools asks for 70 * 0.01, which is 0.7000000000000001
    box = np.array([[10, 10, 60, 60]], dtype=np.float32)
    one = Picture(box, np.array([0]), np.array([False]), np.array([2500.0]), box, np.array([0]), np.float32([0.5]))
    pictures = [replace(one, scores=np.float32([0.99 - place / 1000])) for place in range(70)]
    stray = np.array([[100, 100, 150, 150]], dtype=np.float32)
    pictures += [replace(one, found=stray, scores=np.float32([0.5 - place / 1000])) for place in range(30)]
    evaluator = make_evaluator(["a"])
    expected, *_ = reference(pictures, 1)
    assert expected["ap"] == pytest.approx(70 / 101)  # recalls 0 to 0.69
    assert evaluator.values(keep(evaluator, pictures))["ap"] == pytest.approx(expected["ap"], abs=1e-12)


def test_batches_and_the_archive_change_nothing(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pictures = [random_picture(generator, 3) for _ in range(10)]
    evaluator = make_evaluator(classes_named(3), numbers={"class 0": 7}, max_detections=30, select="voc07_ap50")
    whole = evaluator.evaluate(keep(evaluator, pictures, 10))
    parts = evaluator.evaluate(keep(evaluator, pictures, 3))
    assert parts.metrics == whole.metrics
    assert parts.per_class == whole.per_class
    assert parts.details == whole.details
    assert parts.predictions == whole.predictions
    assert whole.images is not None
    whole.images.save(tmp_path / "images.npz", evaluator)
    images, again = read_images(tmp_path / "images.npz")
    assert again.description() == evaluator.description()
    assert again.evaluate(images).metrics == whole.metrics
    row = whole.per_class[0]
    assert row["ap"]["low"] <= row["ap"]["value"] <= row["ap"]["high"]
    assert row["ap"] != row["ap50"]
    assert whole.metrics["ap"].low < whole.metrics["ap"].value < whole.metrics["ap"].high


def test_intervals_of_average_precision_are_lowered_by_what_resampling_adds() -> None:
    # 40 classes of a few objects each: resamples lie above the value, which itself lies above the truth
    generator = np.random.default_rng(5)
    pictures = [random_picture(generator, 40, ties=False) for _ in range(25)]
    evaluator = make_evaluator(classes_named(40))
    kept = keep(evaluator, pictures)
    plain = bootstrap(lambda weights: evaluator.measure(kept.rows, weights), len(kept))
    found = evaluator.evaluate(kept).metrics
    assert found["ap"].value == plain["ap"].value
    assert found["ap"].low < plain["ap"].low
    assert found["ap"].high < plain["ap"].high
    assert found["ar100"] == plain["ar100"]


def test_between_epochs_boxes_are_not_kept() -> None:
    generator = np.random.default_rng(0)
    pictures = [random_picture(generator, 3) for _ in range(4)]
    evaluator = make_evaluator(classes_named(3))
    expected = evaluator.values(keep(evaluator, pictures))
    evaluator.is_brief = True
    kept = keep(evaluator, pictures)
    assert "box" not in kept.rows
    assert evaluator.values(kept) == expected


def test_a_model_that_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(1)
    pictures = [random_picture(generator, 2) for _ in range(6)]
    nothing = {
        "found": np.zeros((0, 4), np.float32),
        "labels": np.zeros(0, np.int64),
        "scores": np.zeros(0, np.float32),
    }
    pictures = [replace(one, **nothing, classes=np.zeros_like(one.classes)) for one in pictures]
    evaluator = make_evaluator(["a", "b"])
    evaluation = evaluator.evaluate(keep(evaluator, pictures))
    assert {estimate.value for estimate in evaluation.metrics.values()} == {0.0}
    truths, ignored = (
        sum(int(each.sum()) for each in of) for of in zip(*[(~p.ignored, p.ignored) for p in pictures], strict=True)
    )
    assert evaluation.details == {
        "detections": 0,
        "images_without_detections": 6,
        "truths": truths,
        "ignored": ignored,
        "unmatched_classes": ["b"],
        "notes": [
            "No detections: the model found nothing above its score threshold.",
            "1 of 2 classes have no object in this split and are left out of all means: b.",
        ],
    }
    assert [row["class"] for row in evaluation.per_class] == ["a"]
    print_card(card_of(evaluation, Path("run")))
    shown = capsys.readouterr().out
    assert "No detections: the model found nothing above its score threshold." in shown
    assert "AP50" in shown


def test_without_objects_there_are_no_figures() -> None:
    generator = np.random.default_rng(1)
    empty = {"boxes": np.zeros((0, 4), np.float32), "classes": np.zeros(0, np.int64)}
    empty |= {"ignored": np.zeros(0, bool), "areas": np.zeros(0)}
    pictures = [replace(random_picture(generator, 2), **empty) for _ in range(4)]
    evaluator = make_evaluator(["a", "b"])
    assert evaluator.values(keep(evaluator, pictures)) == {}


def test_an_image_has_its_detections_and_how_many_objects_were_found() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60]], dtype=np.float32)
    picture = Picture(
        boxes,
        np.array([0, 1, -1]),
        np.array([False, False, True]),
        np.array([100.0, 400.0, 100.0]),
        np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 40, 25]], dtype=np.float32),
        np.array([0, 0, 1]),
        np.array([0.75, 0.5, 0.25], dtype=np.float32),
    )
    evaluator = make_evaluator(["a", "b"])
    (row,) = evaluator.evaluate(keep(evaluator, [picture])).predictions
    assert (row["image"], row["truths"], row["found"]) == ("0.png", 2, 1)
    assert [(one["class"], one["score"]) for one in row["objects"]] == [("a", 0.75), ("a", 0.5), ("b", 0.25)]
    assert row["objects"][2]["box"] == {"xmin": 20, "ymin": 20, "xmax": 40, "ymax": 25}


def card_of(evaluation: Any, path: Path) -> Card:
    return Card(
        task="detection",
        split="val",
        selected_on=None,
        metrics={name: vars(estimate) for name, estimate in evaluation.metrics.items()},
        per_class=evaluation.per_class,
        samples={"used": evaluation.used, "skipped": 0, "skipped_files": []},
        cost={"images_per_second": 1, "peak_memory_mib": 1, "trained_parameters": 0, "parameters": 1, "seconds": 1.0},
        backbone={"name": "x", "weights": "none"},
        data={"path": str(path), "fingerprint": "f"},
        details=evaluation.details,
        primary=evaluation.primary,
    )


def write(folder: Path, evaluator: DetectionEvaluator, pictures: list[Picture]) -> Path:
    evaluation = evaluator.evaluate(keep(evaluator, pictures))
    folder.mkdir()
    evaluation.images.save(folder / "images.npz", evaluator)
    card_of(evaluation, Path("d")).write(folder / "results.json")
    return folder


def test_two_models_are_compared_on_the_same_images(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    better = [random_picture(generator, 3) for _ in range(20)]
    worse = [replace(one, found=one.found[::2], labels=one.labels[::2], scores=one.scores[::2]) for one in better]
    # the same objects, in another order, and other settings that change no figure's meaning
    worse = [
        replace(one, **{key: getattr(one, key)[::-1].copy() for key in ("boxes", "classes", "ignored", "areas")})
        for one in worse
    ]
    names = classes_named(3)
    second, first = make_evaluator(names), make_evaluator(names, max_detections=50, select="ap50")
    found = compare(
        CompareOptions(
            first=str(write(tmp_path / "a", first, worse)), second=str(write(tmp_path / "b", second, better))
        )
    )
    a, b = keep(first, worse), keep(second, better)
    expected = paired_bootstrap(
        lambda weights: first.measure(a.rows, weights), lambda weights: second.measure(b.rows, weights), 20
    )
    assert found.primary == "ap50"
    assert found.metrics["ap"].difference == expected["ap"]
    assert found.metrics["ar100"].difference.low > 0
    assert found.disagreement is None


def test_other_objects_are_another_truth(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    pictures = [random_picture(generator, 3) for _ in range(5)]
    others = [replace(one, boxes=one.boxes + np.float32(1)) for one in pictures]
    evaluator = make_evaluator(classes_named(3))
    first, second = write(tmp_path / "a", evaluator, pictures), write(tmp_path / "b", evaluator, others)
    with pytest.raises(UserError, match="with another truth"):
        compare(CompareOptions(first=str(first), second=str(second)))


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UserError, match=r"Unknown metric for --select 'wider_easy'.*voc12_ap50"):
        make_evaluator(["face"], select="wider_easy")
    assert make_evaluator(["face"], select="wider_easy", measures_wider=True).primary == "wider_easy"
    assert make_evaluator(["face"]).primary == "ap"


def test_what_a_run_keeps_makes_the_same_evaluator() -> None:
    evaluator = make_evaluator(["a"], numbers={"a": 3}, max_detections=300, measures_wider=True, select="wider_hard")
    again = rebuild_evaluator(evaluator.description())
    assert again.description() == evaluator.description()
    assert again.judges_as(make_evaluator(["a"], measures_wider=True))
    assert not again.judges_as(make_evaluator(["b"], measures_wider=True))
