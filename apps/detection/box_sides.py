"""How large the boxes of a data set are on the canvas."""

from collections.abc import Iterator, Sequence

from ...datasets import DataError, EvalTransform, Record
from ...datasets.images import picture_size
from ..inputs import InputRecipe

#: Pictures whose boxes are looked at; those of more say the same.
_MOST_PICTURES = 10_000


def box_sides(records: Sequence[Record], inputs: InputRecipe) -> list[tuple[float, float]]:
    """Return width and height on the canvas of the boxes of at most 10,000 pictures, evenly chosen.

    Pictures that can't be read are left out.

    Args:
        records: With ``objects``.
        inputs: How pictures come onto the canvas.

    Raises:
        DataError: If there is no box at all.
    """
    step = -(-len(records) // _MOST_PICTURES)
    sides = [each for record in records[::step] for each in _sides_in(record, inputs)]
    if not sides:
        raise DataError("No box of the training split can be read, so no anchors can be made from them.")
    return sides


def _sides_in(record: Record, inputs: InputRecipe) -> Iterator[tuple[float, float]]:
    placing = inputs.transform()
    assert isinstance(placing, EvalTransform)
    try:
        height, width = picture_size(record.path)
    except DataError:
        return
    canvas = placing.resized(height, width)
    objects = record.targets["objects"]
    for place in objects.learned:
        left, top, right, bottom = objects.boxes[place]
        yield (right - left) * canvas[1] / width, (bottom - top) * canvas[0] / height
