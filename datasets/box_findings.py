"""What a check says of boxes: which can't be used, which are hardly boxes, how large and how many they are."""

from collections.abc import Callable, Iterable
from statistics import median

from .annotated_images import AnnotatedImages
from .boxes import Box, box_fault, outside_fault
from .findings import Finding, count
from .image_findings import Facts
from .images import ImageFacts

TINY = 16
"""The area in pixels below which little can be seen in a box."""

WHOLE = 0.98
"""The share of its picture above which a box says hardly more than that the object is there."""


def check_boxes(images: AnnotatedImages, facts: Facts) -> Iterable[Finding]:
    """Return findings on the boxes of all splits."""
    records = [record for found in images.splits.values() for record in found]
    sound: list[tuple[str, Box]] = []
    for record in records:
        known = facts.get(record.name)
        for box in record.targets["boxes"]:
            fault = box_fault(box, str(record.path))
            if fault is None and known is not None:
                fault = outside_fault(box, (known.height, known.width), str(record.path))
            if fault is not None:
                yield Finding("error", "box", fault, (record.name,))
            elif known is not None:
                sound.append((record.name, box))
    yield from check_odd_sizes(sound, facts)
    if sound:
        message = describe_sizes(sound, [len(record.targets["boxes"]) for record in records], facts)
        yield Finding("info", "box_sizes", message)


def check_odd_sizes(boxes: list[tuple[str, Box]], facts: Facts) -> Iterable[Finding]:
    """Return findings on boxes that are hardly there, or are all of the picture.

    Args:
        boxes: With an area, each with the name of its image.
        facts: On the images.
    """

    def find(applies: Callable[[Box, ImageFacts], bool]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name, box in boxes if applies(box, facts[name])))

    if tiny := find(lambda box, _: _area(box) < TINY):
        message = (
            f"{count(len(tiny), 'image has', 'images have')} a box of an area below {TINY} pixels, e.g. {tiny[0]}. "
            "Little can be seen in it."
        )
        yield Finding("warning", "box_tiny", message, tiny)
    if whole := find(lambda box, known: _area(box) > WHOLE * known.width * known.height):
        message = (
            f"{count(len(whole), 'image has', 'images have')} a box of more than {WHOLE:.0%} of the picture, e.g. "
            f"{whole[0]}. Is it one of the object, or a placeholder?"
        )
        yield Finding("warning", "box_whole", message, whole)


def describe_sizes(boxes: list[tuple[str, Box]], numbers: list[int], facts: Facts) -> str:
    """Return a sentence on how many boxes there are, and how large.

    Args:
        boxes: As for ``check_odd_sizes``, at least one.
        numbers: How many each image has.
        facts: On the images.
    """
    width, height = median(box[2] - box[0] for _, box in boxes), median(box[3] - box[1] for _, box in boxes)
    share = median(_area(box) / (facts[name].width * facts[name].height) for name, box in boxes)
    each = f"{numbers[0]}" if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"
    return (
        f"{count(sum(numbers), 'box', 'boxes')}, {each} an image; in the median {width:,.0f} x {height:,.0f} pixels, "
        f"{share:{'.0%' if share >= 0.01 else '.1%'}} of the picture."
    )


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
