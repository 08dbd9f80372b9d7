"""What was found, as COCO's JSON: for COCO's own tools, and for those that read its data sets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...datasets import AnnotatedImages, Record
from ...datasets.coco_numbers import number_pictures
from ...datasets.images import picture_size
from ..run_folder import make_folder, replace_json
from .masks import mask_areas

COCO_RESULTS = "detections.json"
"""Of ``evaluate``: COCO's format for results, which its evaluation tools read."""
COCO_DATA = "coco.json"
"""Of ``predict``: a data set in COCO's format."""

Row = Mapping[str, Any]
"""An image's row of the predictions: ``image`` and its ``objects``, or ``error``."""


def write_results(folder: Path, rows: Sequence[Row], images: AnnotatedImages, ids: Mapping[str, int]) -> None:
    """Write ``detections.json`` in COCO's format for results, which its evaluation tools read.

    Args:
        folder: Where to.
        rows: The predictions.
        images: The split, whose pictures have ids of their own or are numbered.
        ids: The category id of each class.
    """
    numbers = number_pictures(images.records, images.everything)
    own = [record.targets["objects"].image_id for record in images.records]
    if None not in own and own != list(numbers.values()):
        print(
            f"{COCO_RESULTS}: ids of the data set's images repeat; here they are counted from 1 through all its splits."
        )
    results = [
        {"image_id": numbers[row["image"]], **_plain(one, ids)} for row in rows for one in row.get("objects", [])
    ]
    replace_json(make_folder(folder) / COCO_RESULTS, results)


def write_data_set(folder: Path, rows: Sequence[Row], records: Sequence[Record], ids: Mapping[str, int]) -> None:
    """Write ``coco.json``, a data set of pictures that nobody has numbered; each box has its score.

    Args:
        folder: Where to.
        rows: The predictions.
        records: The pictures; those that can't be read are left out.
        ids: The category id of each class.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for place, (row, record) in enumerate(zip(rows, records, strict=True), start=1):
        if "error" in row:
            continue
        height, width = picture_size(record.path)
        images.append({"id": place, "file_name": record.name, "width": width, "height": height})
        for one in row.get("objects", []):
            plain = _plain(one, ids)
            area = round(plain["bbox"][2] * plain["bbox"][3], 2)
            if "segmentation" in plain:
                area = float(mask_areas([plain["segmentation"]])[0])
            annotations.append({"id": len(annotations) + 1, "image_id": place, **plain, "area": area, "iscrowd": 0})
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    content = {"images": images, "categories": categories, "annotations": annotations}
    replace_json(make_folder(folder) / COCO_DATA, content)


def _plain(one: Mapping[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
    box = one["box"]
    sides = (box["xmin"], box["ymin"], box["xmax"] - box["xmin"], box["ymax"] - box["ymin"])
    plain = {"category_id": ids[one["class"]], "bbox": [round(side, 2) for side in sides], "score": one["score"]}
    return {**plain, "segmentation": one["segmentation"]} if "segmentation" in one else plain
