"""What COCO files call classes and pictures of data sets that have no numbers of their own, or not for all of them."""

from collections.abc import Mapping, Sequence

from .sample import Record


def number_classes(classes: Sequence[str], numbers: Mapping[str, int]) -> dict[str, int]:
    """Return a category id for each class: its own, or one behind all that are taken.

    Args:
        classes: The names.
        numbers: The data set's own numbers, of these or other classes.
    """
    found, last = {}, max(numbers.values(), default=0)
    for name in classes:
        last += name not in numbers
        found[name] = numbers.get(name, last)
    return found


def distinct_ids(own: Sequence[int | str | None]) -> list[int | str] | None:
    """Return the ids of pictures if all have one and no two the same, else None: they are to be counted then."""
    ids = [number for number in own if number is not None]
    return ids if len(set(ids)) == len(own) else None


def number_pictures(records: Sequence[Record], everything: Sequence[Record]) -> dict[str, int | str]:
    """Return an id for each picture, by its name: the data set's own where they will do.

    Otherwise it is the picture's place in the whole data set, from 1 on, whichever split is looked at.

    Args:
        records: The pictures, with ``objects``.
        everything: All of the data set.
    """
    names = [record.name for record in records]
    if ids := distinct_ids([record.targets["objects"].image_id for record in records]):
        return dict(zip(names, ids, strict=True))
    places = {record.name: place for place, record in enumerate(everything, start=1)}
    return {name: places[name] for name in names}
