"""One split of a data set, and what tasks ask of it."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..backbones.errors import did_you_mean
from .contents import class_names
from .excerpts import Excerpt, read_excerpts
from .sample import DataError, Record
from .splits import ALL, find_cut_subjects, find_split, fold_splits
from .target_encoder import TargetEncoder


@dataclass(frozen=True)
class AnnotatedImages:
    """One split of a data set: images and what is known of them."""

    root: Path
    """The folder, or the table's file."""
    split: str
    """``train``, ``val``, ``test``, or ``all`` for every record of every split."""
    splits: Mapping[str, tuple[Record, ...]]
    """The records of every split there is; ``all`` isn't among them."""
    found: Mapping[str, tuple[Record, ...]]
    """As ``splits``, but before anything was cut; the only key is the empty text where there were no splits."""
    classes: tuple[str, ...]
    """The same whichever split was opened: in the order that the data set gives them, else the sorted ones of
    ``train``, or of everything where there are no splits. Empty where images have texts instead."""
    format: str
    """``image_folder``, ``table``, ``voc``, ``mask_folder``, ``coco``, ``yolo`` or ``wider``; of captions also
    ``flickr`` or ``karpathy``; of questions ``vqa``, ``daquar`` or ``easy_vqa``."""
    splits_origin: str
    """Where ``splits`` come from: ``folders``, ``column``, ``lists`` (of VOC and Flickr8k), ``files`` (such as COCO's),
    ``file``, ``seeded 0.2 of train, seed 0``, or ``fold 2 of 5, seed 0 of train+val``."""
    numbers: Mapping[str, int] = field(default_factory=dict)
    """What the data set's own files call the classes, such as COCO's category ids, where they have numbers."""
    notes: tuple[str, ...] = ()
    """What its owner may want to know, such as files that were left out; full sentences."""

    @property
    def records(self) -> tuple[Record, ...]:
        """The split's records, sorted by name (those of a table in its order); in ``all``, one split after another."""
        return self.everything if self.split == ALL else self.splits[self.split]

    @property
    def everything(self) -> tuple[Record, ...]:
        """The records of ``all``, in the order train, val, test as they were before anything was cut."""
        return tuple(record for records in self.found.values() for record in records)

    @property
    def split_origin(self) -> str:
        """Where the opened split comes from: ``all`` if it is that, else as ``splits_origin``."""
        return ALL if self.split == ALL else self.splits_origin

    @property
    def is_cut(self) -> bool:
        """Whether the opened split was cut by a seed or into folds; if not, the data set has it, or a file chose it."""
        return self.split != ALL and self.records != self.found.get(self.split)

    def __len__(self) -> int:
        """Return the number of records in the split."""
        return len(self.records)

    def select(self, split: str) -> "AnnotatedImages":
        """Return another split of the same data set, without reading the folder again.

        Raises:
            DataError: There is no such split, it is empty, or it has a class that ``train`` lacks.
        """
        name = ALL if split.strip().lower() == ALL else find_split(split)
        if name is None or name not in (*self.splits, ALL):
            raise DataError(
                f"{self.root}: there is no split '{split}'; there are: {', '.join(self.splits) or 'none'}; '{ALL}' "
                f"takes every image.{did_you_mean(split, (*self.splits, ALL)) if name is None else ''}"
            )
        selected = replace(self, split=name)
        if not selected.records:
            unit = "a class" if self.classes else "a data set"
            hint = "no image is in any split" if name == ALL else f"{unit} is cut from two images on"
            raise DataError(f"{self.root}: the split '{name}' is empty; {hint}.")
        TargetEncoder(self.classes).check(selected.records)
        return selected

    def with_fold(self, fold: int, *, folds: int, seed: int) -> "AnnotatedImages":
        """Return the data set with ``train`` and ``val`` of one fold of a cross-validation (``fold_splits``).

        What is cut are all images that the data set has for ``train`` and ``val``, or all there are where it has no
        splits, whatever a seed or another fold cut before; ``test`` stays untouched.

        Args:
            fold: Which fold, from 1 to ``folds``.
            folds: How many there are, from 2 on.
            seed: The seed of the cut, the same for all folds of one cross-validation.

        Raises:
            DataError: There is no such fold, there are more folds than images or subjects, or all images are for tests.
        """
        sources = {split: records for split, records in self.found.items() if split != "test"}
        if not sources:
            raise DataError(f"{self.root}: its only split is 'test', which isn't cut into folds.")
        if not 1 <= fold <= folds:
            raise DataError(f"{self.root}: there is no fold {fold} of {folds}; folds are counted from 1.")
        pool = [record for records in sources.values() for record in records]
        if self.format != "table":  # as a file of this cut is read back: a training depends on the order
            pool.sort(key=lambda record: record.name)
        splits = fold_splits(pool, folds=folds, seed=seed)[fold - 1]
        splits |= {split: records for split, records in self.found.items() if split == "test"}
        origin = f"fold {fold} of {folds}, seed {seed} of {'+'.join(filter(None, sources)) or 'everything'}"
        notes = [note for note in self.notes if note not in note_splits(self.root, self.splits)]
        notes += note_splits(self.root, splits)
        return replace(self, splits=splits, splits_origin=origin, notes=tuple(notes)).select(self.split)

    def class_counts(self) -> dict[str, int]:
        """Return the number of the split's images of each class, in the order of ``classes``."""
        counts = Counter(name for record in self.records for name in class_names(record))
        return {name: counts[name] for name in self.classes}

    def fingerprint(self, excerpts: Sequence[Excerpt | None] | None = None) -> str:
        """Return a SHA-256 of the split's names, targets, file sizes and excerpts of the files' contents.

        A missing file counts as such. Where the data set lies, and modification times, don't matter.

        Args:
            excerpts: Those of the records, where they were read already.
        """
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for record, content in zip(self.records, excerpts or read_excerpts(self.records), strict=True):
            row = [record.name, {key: record.targets[key] for key in sorted(record.targets)}, content]
            # a mask is told by its file's content, which is no more in the record than the picture's
            digest.update(json.dumps(row, default=lambda target: target.identity()).encode() + b"\n")
        return digest.hexdigest()


def require_labels(images: AnnotatedImages) -> None:
    """Check that every image of the split has exactly one class, before a task that learns or measures one.

    Raises:
        DataError: Naming the first image that has no single ``label``, and what to do.
    """
    for record in images.records:
        if record.targets.get("label") is not None:
            continue
        reason = f"{images.root} gives it none"
        if "labels" in record.targets and images.format == "table":
            reason = f"the table {images.root} gives several labels an image in its column 'labels'"
        elif "labels" in record.targets:
            reason = f"{images.root} gives any number of labels an image"
            reason += "" if images.format == "superset" else ", one for each kind of object in it"
        raise DataError(
            f"{record.path}: the image has no single label; {reason}. A task with one label an image needs a column "
            "'label' with one class in each row."
        )


def require_label_sets(images: AnnotatedImages) -> AnnotatedImages:
    """Return the data set with ``labels`` on every image, before a task that learns or measures any number of them.

    Images that have ``labels`` keep them, and an empty set says that none of the classes is there. A single ``label``
    becomes a set of one: that the image is of no other class.

    Raises:
        DataError: Naming the first image, of whichever split, that has neither, and what to do.
    """

    def convert(record: Record) -> Record:
        if "labels" in record.targets:
            return record
        if record.targets.get("label") is None:
            raise DataError(
                f"{record.path}: the image has no labels; {images.root} gives it none. A task with any number of "
                "labels an image needs a column 'labels', with ';' between them, or a VOC folder."
            )
        others = {key: value for key, value in record.targets.items() if key != "label"}
        return replace(record, targets={**others, "labels": (record.targets["label"],)})

    def convert_all(splits: Mapping[str, tuple[Record, ...]]) -> dict[str, tuple[Record, ...]]:
        return {split: tuple(map(convert, records)) for split, records in splits.items()}

    return replace(images, splits=convert_all(images.splits), found=convert_all(images.found))


def note_splits(root: Path, splits: Mapping[str, tuple[Record, ...]]) -> list[str]:
    """Return notes on subjects with images in several splits, and on classes that are measured but not trained."""
    notes = []
    if cut := find_cut_subjects(splits):
        subject, places = next(iter(cut.items()))
        notes.append(
            f"{root}: {len(cut)} subject{'s have' if len(cut) > 1 else ' has'} images in more than one split, e.g. "
            f"'{subject}' in {' and '.join(places)}. How a model does on other subjects can't be told from such splits."
        )
    trained, measured = ({name for one in splits.get(key, ()) for name in class_names(one)} for key in ("train", "val"))
    if trained and (untrained := sorted(measured - trained)):
        names = ", ".join(f"'{name}'" for name in untrained[:3]) + (", ..." if len(untrained) > 3 else "")
        notes.append(f"{root}: no image of {names} is in 'train', only in 'val', so it can't be learned.")
    return notes
