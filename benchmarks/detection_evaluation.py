"""onetrunk's figures of detection beside pycocotools': the same twelve numbers, and the time that they take.

    python benchmarks/detection_evaluation.py --images 5000 --classes 80

Made-up images hold 20 objects each, from small to large; the detections are those moved by chance, some missing, and a
fifth as many where there is nothing. pycocotools matches, accumulates and summarizes what is in memory; ours matches
batches of 16 images as a validation does, then gives the figures without intervals, then with 95% intervals of all
figures and classes from 1,000 resamples. Everything is seeded; both get the same numbers. Seconds are of the clock, and
of processors, which other work on the machine changes less.
"""

import argparse
import contextlib
import io
import json
import os
import time
from collections.abc import Iterator

import numpy as np
import torch
from onetrunk.apps.detection.detections import Detections
from onetrunk.apps.detection.metrics import DetectionEvaluator, make_evaluator
from onetrunk.apps.evaluated_images import EvaluatedImages
from onetrunk.apps.evaluation import Piece, join_pieces
from onetrunk.datasets import Batch, Context
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

OBJECTS = 20
BATCH = 16
SIDE = 640
#: What ``COCOeval.stats`` holds.
NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
NAMES += ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")

Boxes = tuple[np.ndarray, np.ndarray]
"""Boxes float32 ``[N, 4]``, ``xyxy``, and classes ``[N]``."""


def draw_truths(generator: np.random.Generator, classes: int) -> Boxes:
    sides = np.exp(generator.uniform(np.log(8), np.log(300), (OBJECTS, 2)))
    corners = generator.uniform(0, SIDE - sides)
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    return boxes, generator.integers(0, classes, OBJECTS)


def draw_detections(generator: np.random.Generator, truths: Boxes, classes: int) -> tuple[np.ndarray, ...]:
    """Return boxes, scores and classes, the best first: four of five objects, and as many false ones as are missing."""
    boxes, labels = truths
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = boxes + generator.normal(0, 0.08, boxes.shape) * sides
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    stray, stray_labels = draw_truths(generator, classes)
    is_stray = generator.random(OBJECTS) < 0.2
    found = np.where(is_stray[:, None], stray, moved).astype(np.float32)
    scores = generator.beta(np.where(is_stray, 1.5, 4.0), 2.0).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    return found[order], scores[order], np.where(is_stray, stray_labels, labels)[order]


def plain(box: np.ndarray) -> list[float]:
    left, top, right, bottom = box.astype(np.float64).tolist()
    return [left, top, right - left, bottom - top]


class Stopwatch:
    """Seconds of the clock and of all processors by name."""

    def __init__(self) -> None:
        self.clock: dict[str, float] = {}
        self.processors: dict[str, float] = {}

    @contextlib.contextmanager
    def time(self, name: str) -> Iterator[None]:
        clock, processors = time.perf_counter(), time.process_time()
        yield
        self.clock[name] = round(time.perf_counter() - clock, 2)
        self.processors[name] = round(time.process_time() - processors, 2)


def run_pycocotools(
    truths: list[Boxes], found: list[tuple[np.ndarray, ...]], classes: int, watch: Stopwatch
) -> np.ndarray:
    """Return the twelve figures; time matching and summarizing, without making its index."""
    annotations, results = [], []
    for image, ((boxes, labels), (own, scores, own_labels)) in enumerate(zip(truths, found, strict=True), start=1):
        for box, label in zip(map(plain, boxes), labels.tolist(), strict=True):
            row = {"id": len(annotations) + 1, "image_id": image, "category_id": label + 1, "iscrowd": 0}
            annotations.append({**row, "bbox": box, "area": box[2] * box[3]})
        for box, score, label in zip(map(plain, own), scores.tolist(), own_labels.tolist(), strict=True):
            results.append({"image_id": image, "category_id": label + 1, "bbox": box, "score": score})
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image} for image in range(1, len(truths) + 1)],
        "categories": [{"id": label + 1, "name": str(label)} for label in range(classes)],
        "annotations": annotations,
    }
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
    with watch.time("pycocotools"):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def make_batches(
    truths: list[Boxes], found: list[tuple[np.ndarray, ...]]
) -> list[tuple[dict[str, list[Detections]], Batch]]:
    batches = []
    for start in range(0, len(truths), BATCH):
        places = range(start, min(start + BATCH, len(truths)))
        boxes = [torch.from_numpy(truths[place][0]) for place in places]
        targets = {
            "full_boxes": boxes,
            "full_classes": [torch.from_numpy(truths[place][1]) for place in places],
            "full_ignored": [torch.zeros(len(each), dtype=torch.bool) for each in boxes],
            "full_areas": [(each[:, 2:].double() - each[:, :2].double()).prod(1) for each in boxes],
            "full_sets": [torch.zeros(len(each), dtype=torch.int64) for each in boxes],
        }
        sizes = torch.full((len(places), 2), SIDE)
        names = [str(place) for place in places]
        batch = Batch(None, {}, Context((SIDE, SIDE), sizes, sizes), targets, torch.tensor(list(places)), names)
        batches.append(({"detections": [Detections(*map(torch.from_numpy, found[place])) for place in places]}, batch))
    return batches


def collect(evaluator: DetectionEvaluator, batches: list[tuple[dict[str, list[Detections]], Batch]]) -> EvaluatedImages:
    pieces = [
        Piece(batch.indices.numpy(), batch.names, evaluator.collect(output, batch), [], 0.0)
        for output, batch in batches
    ]
    return join_pieces(pieces)[0]


def compare(images: int, classes: int, seed: int) -> dict[str, object]:
    """Return times and the largest difference."""
    generator = np.random.default_rng(seed)
    truths = [draw_truths(generator, classes) for _ in range(images)]
    found = [draw_detections(generator, each, classes) for each in truths]
    batches = make_batches(truths, found)
    evaluator = make_evaluator([str(label) for label in range(classes)])
    watch = Stopwatch()
    with watch.time("matching"):
        kept = collect(evaluator, batches)
    with watch.time("values"):
        values = evaluator.values(kept)
    with watch.time("with_intervals"):
        evaluation = evaluator.evaluate(kept)
    with contextlib.redirect_stdout(io.StringIO()):
        figures = run_pycocotools(truths, found, classes, watch)
    reference = dict(zip(NAMES, figures.tolist(), strict=True))

    def ratio(seconds: dict[str, float], name: str) -> float:
        return round(seconds["pycocotools"] / (seconds["matching"] + seconds[name]), 2)

    return {
        "images": images,
        "classes": classes,
        "cores": len(os.sched_getaffinity(0)),
        "seconds": watch.clock,
        "processor_seconds": watch.processors,
        "times_faster": {name: ratio(watch.clock, name) for name in ("values", "with_intervals")},
        "times_fewer_processor_seconds": {name: ratio(watch.processors, name) for name in ("values", "with_intervals")},
        "largest_difference": max(abs(values[name] - reference[name]) for name in NAMES if name in values),
        "ap": vars(evaluation.metrics["ap"]),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 80])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for number in given.classes:
        print(json.dumps(compare(given.images, number, given.seed), indent=1))
