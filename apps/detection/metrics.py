"""Figures of detection: COCO's, Pascal VOC's and WIDER FACE's, of what is kept of each image's boxes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets import BadSample, Batch
from ..evaluated_images import EvaluatedImages, Rows
from ..evaluation import Evaluation, Evaluator, choose_metric
from ..intervals import Estimate, Weights, bootstrap
from .detections import Detections, plain_objects
from .figures import PRECISIONS, RECALLS, VOC, ClassFigures, mean_over_classes
from .masks import Code, encode_masks, mask_areas, mask_overlap, pack_codes, unpack_codes
from .matching import Found, Truths, count_truths, match_coco, match_overlaps, match_voc
from .wider import METRICS as WIDER
from .wider import match_faces, wider_precisions

MAX_DETECTIONS = 100
_COCO = (*PRECISIONS, *RECALLS)
#: What cards show of each class.
_OF_CLASSES = ("ap", "ap50")
_SELECTABLE = ("ap", "ap50", "ap75", *VOC)
#: Of masks, by the figure of boxes that each is like.
MASKS = {"mask_ap": "ap", "mask_ap50": "ap50", "mask_ap75": "ap75"}
#: So many classes without objects are named in a sentence.
_NAMED = 5


class DetectionEvaluator(Evaluator):
    """Keeps of each image its detections, which of them are right, and how many objects there were to find.

    Rows, D being ``max_detections``, K the classes, A the ranges of sizes (all, small, medium, large): ``label`` int32
    ``[N, D]``, -1 from the last detection on; ``score`` float32 ``[N, D]``; ``right`` and ``ignored`` uint16
    ``[N, D, A]``, a bit for each of COCO's ten thresholds (``match_coco``); ``voc`` uint8 ``[N, D]`` (``match_voc``);
    ``truths`` int32 ``[N, K, A]``; ``ignored_truths`` int32 ``[N]``; ``truth_hash`` uint64 ``[N]``. Outside of training
    also ``box`` float32 ``[N, D, 4]``, in pixels of the files. Of faces in sets ``wider`` uint8 ``[N, D]`` and
    ``faces`` int32 ``[N, 3]`` (``match_faces``). Where masks are measured ``mask_right`` and ``mask_ignored``, as
    ``right`` and ``ignored``; outside of training also ``regions``, a text an image (``pack_codes``).

    Args:
        classes: The class names, in the order of labels.
        numbers: The data set's own number of each class (COCO's category ids), where it has any.
        max_detections: How many detections of an image are kept, the best ones. Of one class COCO counts 100.
        measures_wider: Whether the data tell easy, medium and hard faces.
        measures_masks: Whether the model draws masks.
        primary: The metric that chooses the checkpoint, one of ``selectable``.
    """

    task = "detection"
    truth = ("truths", "truth_hash")
    # figures are made of the detections that there are, whatever they are numbered in files
    may_differ = ("primary", "numbers", "max_detections", "measures_wider")
    # Precision is taken at its best from each recall on, which chance raises; resampling raises it once more. Of 150
    # images with 20 objects each the lowered intervals of AP held that of 20,000 images in 97% of 150 trials with 3
    # classes and in 83% of 100 with 20, the plain ones in 87% and 29%.
    inflated = (*PRECISIONS, *VOC, *WIDER, *MASKS)
    kind = "boxes of any number of objects an image"

    def __init__(
        self,
        classes: Sequence[str],
        *,
        numbers: Mapping[str, int] | None = None,
        max_detections: int = MAX_DETECTIONS,
        measures_wider: bool = False,
        measures_masks: bool = False,
        primary: str | None = None,
    ) -> None:
        """See the class."""
        self.classes = tuple(classes)
        self.numbers = dict(numbers or {})
        self.max_detections = max_detections
        self.measures_wider = measures_wider
        self.measures_masks = measures_masks
        self.primary = choose_metric(primary, self.selectable)

    @property
    def selectable(self) -> tuple[str, ...]:
        """The metrics that can choose a checkpoint."""
        return (*_SELECTABLE, *(WIDER if self.measures_wider else ()), *(MASKS if self.measures_masks else ()))

    def description(self) -> dict[str, Any]:
        """Return what ``rebuild_evaluator`` takes."""
        return {
            "classes": list(self.classes),
            "numbers": dict(self.numbers),
            "max_detections": self.max_detections,
            "measures_wider": self.measures_wider,
            "measures_masks": self.measures_masks,
            "primary": self.primary,
        }

    def collect(self, output: Any, batch: Batch) -> Rows:
        """Return the rows of a batch; ``output["detections"]`` has the ``Detections`` of each image."""
        rows = [self._collect(found, batch, place) for place, found in enumerate(output["detections"])]
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}

    def _collect(self, detections: Detections, batch: Batch, place: int) -> dict[str, NDArray[Any]]:
        truths, sets = _truths_of(batch, place)
        scores = detections.scores.cpu().numpy()
        order = np.argsort(-scores, kind="stable")[: self.max_detections]
        boxes, labels = detections.boxes.cpu().numpy()[order], detections.labels.cpu().numpy()[order]
        found = Found(boxes.astype(np.float64), labels)
        matches = match_coco(found, truths)
        of_detections = {
            "score": scores[order],
            "right": matches.right,
            "ignored": matches.ignored,
            "voc": match_voc(found, truths),
        }
        of_image = {
            "truths": count_truths(truths, len(self.classes)),
            "ignored_truths": truths.ignored.sum(dtype=np.int32),
            "truth_hash": _hash(truths),
        }
        if self.measures_wider:
            of_detections["wider"], of_image["faces"] = match_faces(found, truths, sets)
        if self.measures_masks:
            regions = detections.select(order).regions()
            of_detections |= _match_masks(regions, labels, truths, encode_masks(batch.targets["full_masks"][place]))
            if not self.is_brief:
                of_image["regions"] = np.array(pack_codes(regions, detections.size))
        if not self.is_brief:
            of_detections["box"] = boxes
        label = _pad(labels.astype(np.int32), self.max_detections, -1)
        return {"label": label} | {k: _pad(v, self.max_detections) for k, v in of_detections.items()} | of_image

    def measure(self, rows: Rows, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return COCO's twelve figures, ``voc07_ap50`` and ``voc12_ap50``, those of WIDER FACE's sets and of masks.

        ``ap`` is the mean over overlaps of 0.5, 0.55, ..., 0.95, ``ap50`` and ``ap75`` at one of them, ``ap_small``,
        ``ap_medium`` and ``ap_large`` of objects up to 32 x 32, 96 x 96 and more pixels; ``ar1``, ``ar10`` and
        ``ar100`` the recall of so many detections an image and class, ``ar_small`` and so on of 100. All of them are
        means over the classes that the drawn images show, and those of sizes that there aren't are undefined.
        """
        found = self._measure_everything(rows, weights)
        return {name: figures for name, figures in found.items() if " " not in name}

    def _measure_everything(self, rows: Rows, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return the metrics, and ``ap`` and ``ap50`` of each class by metric and the class's place."""
        by_class = ClassFigures(rows, (*_COCO, *VOC)).measure(weights)
        metrics = {name: mean_over_classes(figures) for name, figures in by_class.items()}
        if self.measures_wider:
            metrics |= wider_precisions(rows, weights)
        if self.measures_masks:
            of_masks = {**rows, "right": rows["mask_right"], "ignored": rows["mask_ignored"]}
            found = ClassFigures(of_masks, tuple(MASKS.values())).measure(weights)
            metrics |= {name: mean_over_classes(found[like]) for name, like in MASKS.items()}
        return metrics | {f"{name} {k}": by_class[name][:, k] for name in _OF_CLASSES for k in range(len(self.classes))}

    def evaluate(self, images: EvaluatedImages, skipped: Sequence[BadSample] = ()) -> Evaluation:
        """Return all figures of a split's images; the classes' intervals come of the same resamples as the metrics'."""
        estimates = self._estimate(images.rows)
        return Evaluation(
            metrics={name: estimate for name, estimate in estimates.items() if " " not in name},
            per_class=self._class_rows(images.rows, estimates),
            details=self.details(images.rows),
            predictions=self._predictions(images, skipped),
            used=len(images),
            skipped=tuple(skipped),
            images=images,
            primary=self.primary,
        )

    def per_class(self, rows: Rows) -> list[dict[str, Any]]:
        """Return a row for each class that has objects: how many, and AP and AP50 with intervals."""
        return self._class_rows(rows, self._estimate(rows))

    def _estimate(self, rows: Rows) -> dict[str, Estimate]:
        """Return the metrics, and the classes' figures, with intervals."""
        inflated = {*self.inflated, *(f"{name} {k}" for name in _OF_CLASSES for k in range(len(self.classes)))}
        return bootstrap(partial(self._measure_everything, rows), len(rows["label"]), inflated=inflated)

    def _class_rows(self, rows: Rows, estimates: Mapping[str, Estimate]) -> list[dict[str, Any]]:
        counts = rows["truths"][:, :, 0].sum(axis=0)
        return [
            {
                "class": self.classes[place],
                "objects": int(counts[place]),
                **{name: asdict(estimates[f"{name} {place}"]) for name in _OF_CLASSES},
            }
            for place in np.flatnonzero(counts).tolist()
        ]

    def details(self, rows: Rows) -> dict[str, Any]:
        """Return how much was found and how much there was, and ``notes``: sentences on what figures leave out."""
        found = (rows["label"] >= 0).sum(axis=1)
        counts = rows["truths"][:, :, 0].sum(axis=0)
        absent = [self.classes[place] for place in np.flatnonzero(counts == 0)]
        notes = [] if found.any() else ["No detections: the model found nothing above its score threshold."]
        if absent:
            more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
            notes.append(
                f"{len(absent)} of {len(self.classes)} classes have no object in this split and are left out of all "
                f"means: {', '.join(absent[:_NAMED])}{more}."
            )
        return {
            "detections": int(found.sum()),
            "images_without_detections": int((found == 0).sum()),
            "truths": int(counts.sum()),
            "ignored": int(rows["ignored_truths"].sum()),
            "unmatched_classes": absent,
            "notes": notes,
        }

    def describe(self, rows: Rows, index: int) -> dict[str, Any]:
        """Return an image's detections, how many objects it shows, and how many of them were found at IoU 0.5."""
        count = int((rows["label"][index] >= 0).sum())
        labels, scores, boxes = (rows[key][index, :count].tolist() for key in ("label", "score", "box"))
        regions = unpack_codes(bytes(rows["regions"][index])) if "regions" in rows else None
        return {
            "objects": plain_objects(labels, scores, boxes, self.classes, regions),
            "truths": int(rows["truths"][index, :, 0].sum()),
            "found": int((rows["right"][index, :count, 0] & 1).sum()),
        }


def make_evaluator(
    classes: Sequence[str],
    *,
    numbers: Mapping[str, int] | None = None,
    max_detections: int = MAX_DETECTIONS,
    measures_wider: bool = False,
    measures_masks: bool = False,
    select: str | None = None,
) -> DetectionEvaluator:
    """Return the evaluator.

    Args:
        classes: The class names, in the order of labels.
        numbers: The data set's own number of each class, where it has any.
        max_detections: How many detections of an image are kept.
        measures_wider: Whether the data tell easy, medium and hard faces.
        measures_masks: Whether the model draws masks.
        select: The metric that chooses the checkpoint; nothing for ``ap``.

    Raises:
        UserError: If it has no metric of that name.
    """
    return DetectionEvaluator(
        classes,
        numbers=numbers,
        max_detections=max_detections,
        measures_wider=measures_wider,
        measures_masks=measures_masks,
        primary=select,
    )


def rebuild_evaluator(description: dict[str, Any]) -> DetectionEvaluator:
    """Return the evaluator that a run kept with its images and its model."""
    return make_evaluator(
        description["classes"],
        numbers=description["numbers"],
        max_detections=description["max_detections"],
        measures_wider=description["measures_wider"],
        measures_masks=description.get("measures_masks", False),
        select=description["primary"],
    )


def _truths_of(batch: Batch, place: int) -> tuple[Truths, NDArray[np.int64]]:
    """Return an image's objects, and in which of WIDER FACE's sets each is."""
    boxes, classes, ignored, areas, sets = (
        batch.targets[f"full_{key}"][place].cpu().numpy() for key in ("boxes", "classes", "ignored", "areas", "sets")
    )
    return Truths(boxes.astype(np.float64), classes, ignored, areas), sets


def _match_masks(
    regions: Sequence[Code], labels: NDArray[np.int64], truths: Truths, true_regions: Sequence[Code]
) -> dict[str, NDArray[np.uint16]]:
    """Return which detections are right by their masks."""
    overlaps = mask_overlap(regions, true_regions, truths.ignored)
    matches = match_overlaps(overlaps, labels, mask_areas(regions), truths)
    return {"mask_right": matches.right, "mask_ignored": matches.ignored}


def _pad(values: NDArray[Any], length: int, filler: int = 0) -> NDArray[Any]:
    """Return an array of ``length`` entries whose first ones are ``values``."""
    padded = np.full((length, *values.shape[1:]), filler, dtype=values.dtype)
    padded[: len(values)] = values
    return padded


def _hash(truths: Truths) -> NDArray[np.uint64]:
    """Return a short hash of an image's objects, in whatever order they were read."""
    columns = [truths.boxes, truths.classes[:, None], truths.ignored[:, None], truths.areas[:, None]]
    table = np.concatenate(columns, axis=1)
    table = table[np.lexsort(table.T)]
    return np.array(int.from_bytes(hashlib.blake2b(table.tobytes(), digest_size=8).digest()), dtype=np.uint64)
