"""Finding objects in images, with a trained model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ...datasets import Record, list_pictures, read_image
from ...datasets.coco_numbers import number_classes
from ...datasets.findings import count
from ..commands import predict_pictures
from ..drawing import PICTURES, Color, Mark, draw
from ..model_file import load_model
from ..outputs import PREDICTIONS, output_folder, picture_stems, save_png
from ..palette import colors_of, overlay
from ..processes import is_first
from .coco_results import COCO_DATA, write_data_set
from .masks import decode_masks
from .options import PredictOptions

_OPACITY = 0.5
"""Of the colours of masks, which lie over the picture."""


def run_prediction(options: PredictOptions) -> list[dict[str, Any]]:
    """Find objects in images; return a row for each image with its ``objects``, in sorted order.

    With an output folder COCO's JSON is written and the pictures are drawn too.

    Raises:
        UserError: For a model or images that can't be used.
    """
    where = output_folder(options.output, *PREDICTIONS, COCO_DATA, PICTURES, overwrite=options.overwrite)
    task = load_model(options.model, task="detection")
    records = list_pictures(options.images)

    least = task.description["head"]["options"]["score_threshold"]
    if options.threshold < least:
        print(f"--threshold {options.threshold:g}: the model was trained to give nothing below {least:g}")

    def keep(name: str, row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "objects": [one for one in row["objects"] if one["score"] >= options.threshold]}

    task.keep_prediction = keep
    rows = predict_pictures(task, records, options, where=where)
    if where is not None and is_first():
        classes = task.description["classes"]
        write_data_set(where, rows, records, number_classes(classes, task.description["numbers"]))
        draw_objects(where / PICTURES, records, rows, dict(zip(classes, colors_of(classes, None), strict=True)))
        found = count(sum(len(row.get("objects", [])) for row in rows), "object")
        print(
            f"{found} with a score of at least {options.threshold:g}; COCO's JSON is in {where / COCO_DATA}, the "
            f"pictures with their boxes are in {where / PICTURES}"
        )
    return rows


def draw_objects(
    folder: Path, records: Sequence[Record], rows: Sequence[Mapping[str, Any]], colors: Mapping[str, Color]
) -> None:
    """Write each picture with its boxes, classes, scores and masks as PNG; those with an error are passed over."""
    stems = picture_stems([record.name for record in records])
    for record, row in zip(records, rows, strict=True):
        if "error" in row:
            continue
        marks = [Mark(one["box"], f"{one['class']} {one['score']:.2f}", colors[one["class"]]) for one in row["objects"]]
        picture = _with_regions(read_image(record.path), row["objects"], colors)
        save_png(draw(picture, marks), folder / f"{stems[record.name]}.png")


def _with_regions(
    picture: Image.Image, objects: Sequence[Mapping[str, Any]], colors: Mapping[str, Color]
) -> Image.Image:
    """Return the picture with the colours of classes over its objects, where they have regions; the surest on top."""
    shown = [one for one in reversed(objects) if "segmentation" in one]
    if not shown:
        return picture
    masks = decode_masks([one["segmentation"] for one in shown])
    return overlay(picture, masks, [colors[one["class"]] for one in shown], opacity=_OPACITY)
