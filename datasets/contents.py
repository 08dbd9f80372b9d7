"""What a reader of data sets hands to ``open_dataset``."""

from dataclasses import dataclass, field

from .sample import Record


@dataclass
class Contents:
    """What a folder or a table holds."""

    splits: dict[str, tuple[Record, ...]]
    """By split; the only key is the empty text where the data set has no splits."""
    notes: list[str] = field(default_factory=list)
    """What was left aside, in full sentences."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, sorted; those of ``train`` where there is one."""
        everything = [record for records in self.splits.values() for record in records]
        trained_on = self.splits.get("", self.splits.get("train", ()))
        return tuple(sorted({name for record in trained_on or everything for name in class_names(record)}))


def class_names(record: Record) -> tuple[str, ...]:
    """Return the classes of an image: its one ``label``, or all its ``labels``, of which there may be none."""
    return (record.targets["label"],) if "label" in record.targets else tuple(record.targets.get("labels", ()))
