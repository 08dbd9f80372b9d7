"""Writing COCO's JSON files (``coco.py``).

::

    OUTPUT/annotations/instances_train.json      OUTPUT/annotations/instances.json     without splits
    OUTPUT/train/000001.jpg                      OUTPUT/images/000001.jpg
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .coco_numbers import distinct_ids, number_classes
from .object_export import Copy, Export, Picture, note_left_out, place_picture, plain_number


def write_coco(folder: Path, export: Export, copy: Copy) -> list[str]:
    """Write a data set in COCO's format.

    Category and image ids are those of the COCO files that it comes from, else counted from 1. Ignored objects become
    crowds.

    Args:
        folder: Where to; it has to be there.
        export: What to write.
        copy: What becomes of the pictures.

    Returns:
        What the format couldn't hold, in sentences.
    """
    numbers = number_classes(export.classes, export.numbers)
    ids = _number_pictures(export)
    (folder / "annotations").mkdir()
    first = 1
    for split, pictures in export.splits.items():
        annotations = list(_make_annotations(pictures, ids[split], numbers, first))
        first += len(annotations)
        images = [
            {"id": number, "file_name": one.name, "height": one.size[0], "width": one.size[1]}
            for one, number in zip(pictures, ids[split], strict=True)
        ]
        categories = [{"id": numbers[name], "name": name} for name in export.classes]
        content = {"images": images, "annotations": annotations, "categories": categories}
        path = folder / "annotations" / (f"instances_{split}.json" if split else "instances.json")
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        for one in pictures:
            place_picture(one, folder / (split or "images") / one.name, copy)
    notes = list(note_left_out(export, "COCO", "sets"))
    if export.numbers:
        notes.append("COCO: categories, pictures and boxes are kept; licences, supercategories and the like aren't.")
    return notes


def _number_pictures(export: Export) -> dict[str, list[int | str]]:
    """Return the ids of the pictures in each split: their own where all have one and no two the same."""
    own = {
        split: ids
        for split, pictures in export.splits.items()
        if (ids := distinct_ids([one.objects.image_id for one in pictures])) is not None
    }
    if own.keys() == export.splits.keys():
        return own
    counted = iter(range(1, len(export.pictures) + 1))
    return {split: [next(counted) for _ in pictures] for split, pictures in export.splits.items()}


def _make_annotations(
    pictures: tuple[Picture, ...], ids: list[int | str], numbers: dict[str, int], first: int
) -> Iterator[dict[str, Any]]:
    places = ((one, number, place) for one, number in zip(pictures, ids, strict=True) for place in one.objects.sound)
    for annotation, (one, number, place) in enumerate(places, start=first):
        objects = one.objects
        left, top, right, bottom = objects.boxes[place]
        yield {
            "id": annotation,
            "image_id": number,
            "category_id": numbers[objects.names[place]],
            "bbox": [plain_number(value) for value in (left, top, right - left, bottom - top)],
            "area": plain_number(objects.area(place)),
            "iscrowd": int(bool(objects.ignored) and objects.ignored[place]),
            "segmentation": (objects.regions[place] if objects.regions else None) or [],
        }
