"""What a reader of data sets hands to ``open_dataset``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .sample import DataError, Record

_LISTED_FAULTS = 20


@dataclass
class Contents:
    """What a folder or a table holds."""

    splits: dict[str, tuple[Record, ...]]
    """By split; the only key is the empty text where the data set has no splits."""
    notes: list[str] = field(default_factory=list)
    """What was left aside, in full sentences."""
    faults: list[str] = field(default_factory=list)
    """What is wrong with single rows, files or folders, in full sentences that name them; all else is in ``splits``."""
    order: tuple[str, ...] = ()
    """The classes in their own order, where the data set says which there are; empty: those that occur, sorted."""
    numbers: dict[str, int] = field(default_factory=dict)
    """What its files call the classes, where they have numbers, such as COCO's category ids."""

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Add a ``DataError`` to the faults and go on, so that a data set's owner hears of all of them at once."""
        try:
            yield
        except DataError as error:
            self.faults.append(str(error))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; without an order of their own sorted, those of ``train`` where there is one."""
        if self.order:
            return self.order
        everything = [record for records in self.splits.values() for record in records]
        trained_on = self.splits.get("", self.splits.get("train", ()))
        return tuple(sorted({name for record in trained_on or everything for name in class_names(record)}))


def raise_faults(root: Path, faults: Sequence[str]) -> None:
    """Raise one ``DataError`` that lists the faults of a data set, if there are any."""
    if len(faults) == 1:
        raise DataError(faults[0])
    if faults:
        more = len(faults) - _LISTED_FAULTS
        lines = [*faults[:_LISTED_FAULTS], *([f"... and {more:,} more"] if more > 0 else [])]
        raise DataError(f"{root}: {len(faults):,} faults:\n  " + "\n  ".join(lines))


def class_names(record: Record) -> tuple[str, ...]:
    """Return the classes of an image: its one ``label``, or all its ``labels``, of which there may be none."""
    return (record.targets["label"],) if "label" in record.targets else tuple(record.targets.get("labels", ()))


def one_label(names: tuple[str, ...], path: Path) -> str:
    """Return the one class of a picture's objects.

    Raises:
        DataError: They are of several.
    """
    if len(names) > 1:
        raise DataError(
            f"{path}: its objects are of {len(names)} classes ({', '.join(names[:3])}); a picture for localization "
            "shows objects of one. Leave it out, or leave out the other objects."
        )
    return names[0]
