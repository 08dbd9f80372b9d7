"""A data set of generated scenes with every kind of annotation, for all tasks at once and without a network.

::

    shapes/images/train/000001.jpg                coloured shapes on textured grounds (``shape_scenes.py``)
    shapes/annotations/superset_train.json        also val and test

The files have COCO's keys and three more. ``annotations`` are the shapes' visible parts, with boxes and regions, of
which masks for segmentation are made; ``captions`` and ``qa`` are texts; ``labels`` is the kind of the main shape with
its box. An empty scene has no annotations, captions that say so, and questions whose answers are no and 0. It has no
label, as no class is the right one, and takes no part in classification and localization: its ``known`` leaves them
out.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .sample import DataError
from .shape_language import describe
from .shape_layout import SHAPE_KINDS
from .shape_questions import ask
from .shape_scenes import SceneShape, draw_scene

LEAST_IMAGES = 10
"""So that every split has some."""

IMAGE_SIZES = (64, 1024)
"""The smallest and the largest: below, small shapes are a few pixels; above, a thousand scenes take many minutes."""

_CYCLE = 20
_VAL = (3, 9, 16)
_TEST = (6, 12, 19)
"""Which of 20 scenes in a row; the others are train: 70, 15 and 15 per cent. A scene's split depends on its number
alone, so that whoever writes more scenes tests on the same ones and more, never on what was trained on before."""

_QUALITY = 90
_SPLITS = ("train", "val", "test")
_CHUNK = 16
_LEAST_SHARE = 64
"""Scenes a process: fewer are sooner drawn than the process is started."""


class _Entry(NamedTuple):
    """What the annotation file will say of a scene, but for the numbers of annotations."""

    split: str
    image: dict[str, Any]
    annotations: list[dict[str, Any]]
    captions: list[dict[str, Any]]
    qa: list[dict[str, Any]]
    labels: list[dict[str, Any]]


def write_shapes(
    folder: Path | str, *, images: int = 600, size: int = 160, seed: int = 0, workers: int | None = None
) -> dict[str, int]:
    """Write scenes with labels, boxes, regions, captions, and questions with answers.

    A scene is a function of ``seed``, ``size`` and its number: more images keep the first ones, in their splits.

    Args:
        folder: Made if need be; it has to be empty.
        images: How many, at least 10.
        size: Height and width of the pictures in pixels, 64 to 1,024.
        seed: 0 or more.
        workers: Processes that draw; by default a core each. They change nothing in what is written.

    Returns:
        The number of pictures in each split.

    Raises:
        DataError: A number is out of range, or the folder holds something.
        OSError: There is no room, or no permission.
    """
    folder = Path(folder)
    check_shapes(images=images, size=size, seed=seed)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: the shapes are written into an empty folder only.")
    for split in _SPLITS:
        (folder / "images" / split).mkdir(parents=True)
    (folder / "annotations").mkdir()
    entries = _write_scenes(partial(_write_scene, folder, seed, size), images, workers)
    _number(entries)
    for split in _SPLITS:
        content = _gather([entry for entry in entries if entry.split == split])
        path = folder / "annotations" / f"superset_{split}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
    return {split: sum(entry.split == split for entry in entries) for split in _SPLITS}


def check_shapes(*, images: int, size: int, seed: int) -> None:
    """Refuse what ``write_shapes`` can't write, before anything is.

    Raises:
        DataError: A number is out of range.
    """
    if images < LEAST_IMAGES:
        raise DataError(
            f"{images} images are too few for a train, a val and a test split: write {LEAST_IMAGES} or more."
        )
    least, most = IMAGE_SIZES
    if not least <= size <= most:
        raise DataError(f"Images of {size} x {size} pixels can't be written: choose a size from {least} to {most:,}.")
    if seed < 0:
        raise DataError(f"{seed} is no seed: choose a whole number, 0 or more.")


def _split_of(index: int) -> str:
    place = index % _CYCLE
    return "val" if place in _VAL else "test" if place in _TEST else "train"


def _write_scenes(write: "partial[_Entry]", images: int, workers: int | None) -> list[_Entry]:
    """Draw and write all scenes, in several processes if they are many."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(cores, images // _LEAST_SHARE) if workers is None else workers
    if processes < 2:
        return [write(index) for index in range(images)]
    # a fork starts at once; a new interpreter would import torch first
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(os.getpid(),)) as pool:
        return list(pool.map(write, range(images), chunksize=_CHUNK))


def _begin(parent: int) -> None:
    """Leave signals to the main process, which cancels what isn't begun; and end with it, if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()


def _write_scene(folder: Path, seed: int, size: int, index: int) -> _Entry:
    """Write a picture and return what is to be said of it."""
    scene, rng = draw_scene(seed=seed, index=index, size=size)
    split, number = _split_of(index), index + 1
    name = f"{split}/{number:06}.jpg"
    scene.picture.save(folder / "images" / name, quality=_QUALITY)
    image: dict[str, Any] = {"id": number, "file_name": name, "width": size, "height": size}
    labels = []
    if scene.main is None:
        image["known"] = ["annotations", "captions", "qa"]
    else:
        labels = [{"image_id": number, "label": scene.main.kind, "bbox": list(scene.main.box)}]
    annotations = [_annotate(shape, number) for shape in scene.shapes]
    captions = [{"image_id": number, "caption": caption} for caption in describe(scene, rng)]
    qa = [{"image_id": number, "question": one.question, "answers": [one.answer]} for one in ask(scene, rng)]
    return _Entry(split, image, annotations, captions, qa, labels)


def _annotate(shape: SceneShape, image: int) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    code = coco_mask.encode(np.asfortranarray(shape.mask, dtype=np.uint8))
    return {
        "image_id": image,
        "category_id": 1 + SHAPE_KINDS.index(shape.kind),
        "bbox": list(shape.box),
        "area": shape.area,
        "segmentation": {"size": list(shape.mask.shape), "counts": code["counts"].decode()},
        "iscrowd": 0,
    }


def _number(entries: list[_Entry]) -> None:
    """Give annotations, captions and questions their ids, from 1 in the order of the scenes."""
    numbers, captions, questions = count(1), count(1), count(1)
    for entry in entries:
        for rows, ids in ((entry.annotations, numbers), (entry.captions, captions), (entry.qa, questions)):
            for row in rows:
                row["id"] = next(ids)


def _gather(entries: list[_Entry]) -> dict[str, Any]:
    """Return the content of a split's file."""
    return {
        "images": [entry.image for entry in entries],
        "categories": [{"id": number, "name": kind} for number, kind in enumerate(SHAPE_KINDS, start=1)],
        "annotations": [row for entry in entries for row in entry.annotations],
        "captions": [row for entry in entries for row in entry.captions],
        "qa": [row for entry in entries for row in entry.qa],
        "labels": [row for entry in entries for row in entry.labels],
    }
