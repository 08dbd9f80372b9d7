"""What a check says of the objects of a data set: which don't fit their pictures or are none, and what there is."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from .annotated_images import AnnotatedImages
from .box_findings import check_odd_sizes, describe_sizes
from .boxes import Box, outside_fault
from .findings import Finding, count
from .image_findings import Facts
from .label_findings import spread_counts
from .objects import Objects
from .sample import Record

SMALL = 32**2
"""The area in pixels below which an object is small (Lin et al. 2014; cocodataset.org, Detection Evaluation)."""

LARGE = 96**2
"""The area in pixels from which on an object is large (the same)."""

_IGNORED = ""


def check_objects(images: AnnotatedImages, facts: Facts) -> Iterable[Finding]:
    """Return findings on the objects of all splits."""
    records = [record for found in images.splits.values() for record in found]
    yield from _flat(records)
    known = [record for record in records if record.name in facts]
    misfits = {record.name: fault for record in known if (fault := _of(record).misfit(_size(record, facts)))}
    for name, fault in misfits.items():
        yield Finding("error", "objects_misfit", fault, (name,))
    fitting = [record for record in known if record.name not in misfits]
    yield from _over_the_edge(fitting, facts)
    yield from _repeated(records)
    sound = [(record.name, box) for record in fitting for box in _learned(_of(record))]
    yield from check_odd_sizes(sound, facts)
    yield from _sizes(sound, records, facts)
    yield from _counts(images)
    yield from _negatives(records)
    yield from _category_numbers(images.numbers)


def count_objects(images: AnnotatedImages) -> dict[str, dict[str, int]]:
    """Return the number of objects of each class for each split, of ignored ones under ``""``.

    Those without an area aren't counted.
    """
    counts = {}
    for split, records in images.splits.items():
        found: Counter[str] = Counter()
        for record in records:
            objects = _of(record)
            learned = objects.learned
            found.update(objects.names[place] for place in learned)
            found[_IGNORED] += len(objects.sound) - len(learned)
        counts[split] = {name: found[name] for name in (*images.classes, _IGNORED)}
    return counts


def _of(record: Record) -> Objects:
    objects: Objects = record.targets["objects"]
    return objects


def _learned(objects: Objects) -> list[Box]:
    return [objects.boxes[place] for place in objects.learned]


def _flat(records: Iterable[Record]) -> Iterable[Finding]:
    for record in records:
        for fault in _of(record).faults():
            yield Finding("warning", "box_no_area", f"{fault} It is left out.", (record.name,))


def _over_the_edge(records: Iterable[Record], facts: Facts) -> Iterable[Finding]:
    found: dict[str, str] = {}
    number = 0
    for record in records:
        objects, size = _of(record), _size(record, facts)
        for place in objects.sound:
            if fault := outside_fault(objects.boxes[place], size, objects.where(place)):
                number += 1
                found.setdefault(record.name, fault)
    if found:
        message = (
            f"{count(number, 'box reaches', 'boxes reach')} out of the picture by more than a pixel and "
            f"{'is' if number == 1 else 'are'} cut off at its edge, in {count(len(found), 'image')}, e.g. "
            f"{next(iter(found.values()))}"
        )
        yield Finding("warning", "box_over_edge", message, tuple(found))


def _repeated(records: Iterable[Record]) -> Iterable[Finding]:
    found: dict[str, str] = {}
    number = 0
    for record in records:
        objects, seen = _of(record), dict[tuple[Box, str], int]()
        for place in objects.sound:
            first = seen.setdefault((objects.boxes[place], objects.names[place]), place)
            if first != place:
                number += 1
                found.setdefault(record.name, objects.where(place))
    if found:
        message = (
            f"{count(number, 'object is', 'objects are')} there twice, with the same box and class, in "
            f"{count(len(found), 'image')}, e.g. {next(iter(found.values()))}. A detector is right only once; keep one."
        )
        yield Finding("warning", "box_repeated", message, tuple(found))


def _sizes(sound: list[tuple[str, Box]], records: Sequence[Record], facts: Facts) -> Iterable[Finding]:
    if not sound:
        return
    numbers = [len(_of(record).learned) for record in records]
    by_size: Counter[str] = Counter()
    for record in records:
        areas = (_of(record).area(place) for place in _of(record).learned)
        by_size.update("small" if area < SMALL else "medium" if area < LARGE else "large" for area in areas)
    message = (
        f"{describe_sizes(sound, numbers, facts)} By COCO's sizes: {by_size['small']:,} small (below 32 x 32 pixels), "
        f"{by_size['medium']:,} medium, {by_size['large']:,} large (from 96 x 96 on)."
    )
    yield Finding("info", "box_sizes", message)


def _counts(images: AnnotatedImages) -> Iterable[Finding]:
    for split, found in count_objects(images).items():
        named = {name: number for name, number in found.items() if name != _IGNORED}
        more = f"; {count(found[_IGNORED], 'object')} ignored (crowds, difficult, invalid)" if found[_IGNORED] else ""
        message = f"'{split}' has {count(sum(named.values()), 'object')}: {spread_counts(named)}{more}."
        yield Finding("info", "object_counts", message)


def _negatives(records: Iterable[Record]) -> Iterable[Finding]:
    found: dict[bool, list[str]] = defaultdict(list)
    for record in records:
        if not _of(record).learned:
            found[len(_of(record)) > 0].append(record.name)
    names = (*found[False], *found[True])
    if names:
        others = f", {len(found[True]):,} of them with some that are ignored or have no area" if found[True] else ""
        are = "it is a legal negative" if len(names) == 1 else "they are legal negatives"
        yield Finding("info", "negatives", f"{count(len(names), 'image')} without objects{others}; {are}.", names)


def _category_numbers(numbers: Mapping[str, int]) -> Iterable[Finding]:
    if not numbers:
        return
    first, last = min(numbers.values()), max(numbers.values())
    gaps = last - first + 1 - len(numbers)
    if gaps:
        message = f"category ids {first} to {last} with {count(gaps, 'gap')}: kept as they are."
        yield Finding("info", "category_ids", message)
    if zero := next((name for name, number in numbers.items() if number == 0), None):
        message = (
            f"category 0 ('{zero}') is a class like any other here; torchvision's detectors would take it for "
            "background."
        )
        yield Finding("info", "category_zero", message)


def _size(record: Record, facts: Facts) -> tuple[int, int]:
    known = facts[record.name]
    return known.height, known.width
