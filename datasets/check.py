"""The data doctor: one pass over a data set, in which every finding names its files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .annotated_images import AnnotatedImages
from .box_findings import check_boxes
from .caption_findings import check_captions, count_captions
from .duplicates import find_duplicates
from .findings import Finding, Report, by_severity
from .image_findings import check_pictures, count_pictures
from .images import ImageFacts, inspect_image
from .label_findings import check_labels, count_classes
from .mask_findings import check_masks, count_pixels
from .object_findings import check_objects, count_objects
from .objects import note_objects
from .open import TEXTS, Kind, guess_kind, open_with_faults
from .question_findings import check_questions, count_questions
from .sample import DataError, Record

_CHUNK = 64
"""Images a thread takes at a time: a million single ones in the queue would fill the memory."""

_Inspected = tuple[Record, ImageFacts | str]
"""What is known of a picture, or why it can't be read."""

Track = Callable[[Iterator[_Inspected], int], Iterable[_Inspected]]


def check_dataset(
    path: Path | str,
    *,
    kind: Kind | None = None,
    split_seed: int = 0,
    val_fraction: float = 0.2,
    workers: int = 8,
    track: Track = lambda inspected, total: inspected,
) -> Report:
    """Look at all of a data set: labels, masks, boxes, objects or texts, every picture, and duplicates.

    Pictures are decoded whole, and duplicates are the same byte for byte. Damage is found where Pillow's decoders
    report it. Those of JPEG and WebP conceal some: parts of such a picture may be garbled.

    Args:
        path: As for ``open_dataset``.
        kind: What to look at; None: what ``guess_kind`` says.
        split_seed: Where the data set has no validation split, the seed of the one that training would cut.
        val_fraction: The share of that.
        workers: Threads. Pillow's decoders run side by side, and no process has to be started.
        track: Takes the stream of inspected pictures and their number, and returns the stream: for a progress bar.

    Raises:
        DataError: It can't be told what the path is, or nothing in it is sound.
    """
    kind = kind or guess_kind(path)
    images, faults = open_with_faults(path, kind=kind, split_seed=split_seed, val_fraction=val_fraction)
    records = [record for split in images.splits.values() for record in split]
    facts, bad = _sort(track(_inspect_all(records, workers), len(records)))
    by_name = {record.name: facts[record.path] for record in records if record.path in facts}
    told = note_objects(images.root, images.found) if kind == "objects" else []  # one by one
    findings = [
        *(Finding("error", "label_file", fault, (str(path),)) for fault in faults),
        *bad,
        *(check_masks(images, by_name) if kind == "masks" else ()),
        *(check_boxes(images, by_name) if kind == "boxes" else ()),
        *(check_objects(images, by_name) if kind == "objects" else ()),
        *(check_captions(images) if kind == "captions" else ()),
        *(check_questions(images) if kind == "questions" else ()),
        *(check_labels(images, kind=kind) if kind not in TEXTS else ()),
        *find_duplicates(images.splits, {path: each.digest for path, each in facts.items()}),
        *(Finding("warning", "note", note) for note in images.notes if note not in told),
        *check_pictures(by_name),
    ]
    return Report(
        data=str(path),
        format=images.format,
        kind=kind,
        split_origin=images.splits_origin,
        counts={
            **_count(images, records, by_name, kind),
            **({"pixels": count_pixels(images)} if kind == "masks" else {}),
            **({"objects": count_objects(images)} if kind == "objects" else {}),
        },
        findings=by_severity(findings),
    )


def _inspect_all(records: Sequence[Record], workers: int) -> Iterator[_Inspected]:
    chunks = [records[start : start + _CHUNK] for start in range(0, len(records), _CHUNK)]
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for inspected in pool.map(_inspect, chunks):
            yield from inspected


def _inspect(records: Sequence[Record]) -> list[_Inspected]:
    inspected: list[_Inspected] = []
    for record in records:
        try:
            inspected.append((record, inspect_image(record.path)))
        except DataError as error:
            inspected.append((record, str(error)))
    return inspected


def _sort(inspected: Iterable[_Inspected]) -> tuple[dict[Path, ImageFacts], list[Finding]]:
    """Return the facts of the sound pictures by their paths, and an error for each of the others."""
    facts: dict[Path, ImageFacts] = {}
    bad = []
    for record, result in inspected:
        if isinstance(result, ImageFacts):
            facts[record.path] = result
        else:
            bad.append(Finding("error", "unreadable", result, (record.name,)))
    return facts, bad


def _count(
    images: AnnotatedImages, records: Sequence[Record], facts: dict[str, ImageFacts], kind: Kind
) -> dict[str, object]:
    return {
        "images": len(records),
        "readable": len(facts),
        **(_count_texts(images, kind) if kind in TEXTS else _count_labels(images)),
        **count_pictures(facts),
    }


def _count_texts(images: AnnotatedImages, kind: Kind) -> dict[str, object]:
    return {"texts": count_captions(images) if kind == "captions" else count_questions(images)}


def _count_labels(images: AnnotatedImages) -> dict[str, object]:
    return {"classes": len(images.classes), "splits": count_classes(images)}
