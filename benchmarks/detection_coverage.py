"""How often the interval of an average precision holds the truth: the plain bootstrap's, and the lowered one of cards.

    python benchmarks/detection_coverage.py --classes 3 --images 150 --sets 150

Sets of images are drawn from the made-up population of ``detection_evaluation.py``, whose figures are known from 20,000
images.
"""

import argparse

import numpy as np
from detection_evaluation import collect, draw_detections, draw_truths, make_batches
from onetrunk.apps.detection.figures import ClassFigures, mean_over_classes
from onetrunk.apps.detection.metrics import DetectionEvaluator, make_evaluator
from onetrunk.apps.evaluated_images import EvaluatedImages
from onetrunk.apps.intervals import deflated_interval, percentile_interval, resamples

METRICS = ("ap", "ap50")
WAYS = {"plain": percentile_interval, "lowered": deflated_interval}


def draw(evaluator: DetectionEvaluator, generator: np.random.Generator, images: int) -> EvaluatedImages:
    """Return so many evaluated images."""
    classes = len(evaluator.classes)
    truths = [draw_truths(generator, classes) for _ in range(images)]
    found = [draw_detections(generator, each, classes) for each in truths]
    return collect(evaluator, make_batches(truths, found))


def measure(classes: int, images: int, sets: int) -> None:
    """Print for each metric and way how often the interval covers the truth, and how the others miss."""
    evaluator = make_evaluator([str(label) for label in range(classes)])
    known = [evaluator.values(draw(evaluator, np.random.default_rng([7, part]), 5000)) for part in range(4)]
    truth = {name: float(np.mean([each[name] for each in known])) for name in METRICS}
    weights = np.concatenate(list(resamples(images, seed=0)))
    one = np.ones((1, images), dtype=np.int64)
    rows: dict[tuple[str, str], list[tuple[bool, bool, bool, float]]] = {}
    for number in range(sets):
        figures = ClassFigures(draw(evaluator, np.random.default_rng([8, number]), images).rows, METRICS)
        values, drawn = (
            {name: mean_over_classes(found) for name, found in figures.measure(each).items()} for each in (one, weights)
        )
        for name in METRICS:
            for way, interval in WAYS.items():
                found = interval(float(values[name][0]), drawn[name])
                below, above = truth[name] < found.low, truth[name] > found.high
                rows.setdefault((name, way), []).append((not below and not above, below, above, found.high - found.low))
    print("| figure | classes | interval | covers | truth below it | truth above it | width |")
    print("|---|---|---|---|---|---|---|")
    for (name, way), found in rows.items():
        covers, below, above, width = np.mean(found, axis=0)
        print(f"| {name} | {classes} | {way} | {covers:.0%} | {below:.0%} | {above:.0%} | {width:.3f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--sets", type=int, default=150)
    given = parser.parse_args()
    measure(given.classes, given.images, given.sets)
