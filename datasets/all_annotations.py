"""All that is known of the pictures of a data set, of several kinds at once."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..backbones.errors import did_you_mean
from .annotated_images import AnnotatedImages, note_splits
from .contents import raise_faults
from .excerpts import Excerpt, read_excerpts
from .open import KINDS, Kind, cut_val, open_with_faults
from .sample import DataError, Record
from .splits import ALL, SPLITS, apply_split, read_split
from .superset_files import reading_once
from .target_encoder import TargetEncoder
from .texts import list_some

_Splits = Mapping[str, tuple[Record, ...]]


@dataclass(frozen=True)
class AnnotatedPicture:
    """A picture and what is known of it, of each kind by itself."""

    path: Path
    name: str
    """As a ``Record``'s."""
    targets: Mapping[Kind, Mapping[str, Any]]
    """A record's targets by kind, for kinds may give the same key another meaning: the ``labels`` of pictures and those
    of the objects in them. What isn't known has no entry."""

    @property
    def known(self) -> frozenset[Kind]:
        """The kinds that are known."""
        return frozenset(self.targets)

    def record(self, kind: Kind) -> Record:
        """Return the picture as a record of one kind, which has to be known."""
        return Record(self.path, self.targets[kind], self.name)


@dataclass(frozen=True)
class AllAnnotations:
    """One split of a data set: the pictures of which anything is known, and what that is."""

    pictures: AnnotatedImages
    """All of them, once each, without targets: the splits that every kind follows."""
    kinds: Mapping[Kind, AnnotatedImages]
    """Of each kind the pictures of which it is known, in the same splits and under the same names; with its classes,
    format and notes. A split of which nothing is known lacks there."""
    notes: tuple[str, ...] = ()
    """What its owner may want to know, of all kinds together; full sentences."""
    led: frozenset[Kind] = frozenset()
    """The kinds that don't have these splits themselves: they follow those of other kinds, a cut, or a file."""

    def __len__(self) -> int:
        """Return the number of pictures in the split."""
        return len(self.pictures)

    @cached_property
    def records(self) -> tuple[AnnotatedPicture, ...]:
        """The split's pictures, in the order of ``pictures``."""
        known = {
            kind: {record.path: record.targets for record in images.everything} for kind, images in self.kinds.items()
        }
        return tuple(
            AnnotatedPicture(
                record.path,
                record.name,
                {kind: targets[record.path] for kind, targets in known.items() if record.path in targets},
            )
            for record in self.pictures.records
        )

    def known_counts(self) -> dict[Kind, int]:
        """Return of how many of the split's pictures each kind is known."""
        return {kind: sum(kind in record.targets for record in self.records) for kind in self.kinds}

    def of(self, kind: Kind) -> AnnotatedImages:
        """Return the split as a data set of one kind, without the pictures of which that isn't known.

        Raises:
            DataError: It is known of no picture of the split, or wasn't opened.
        """
        if kind not in self.kinds:
            raise DataError(
                f"{self.pictures.root}: it was opened for its {' and '.join(self.kinds)}, not for its {kind}."
            )
        split = self.pictures.split
        if split != ALL and split not in self.kinds[kind].splits:
            raise DataError(f"{self.pictures.root}: of no picture of '{split}' the {kind} are known.")
        return self.kinds[kind].select(split)

    def select(self, split: str) -> "AllAnnotations":
        """Return another split of the same data set, without reading it again.

        Raises:
            DataError: There is no such split, it is empty, or it has a class that ``train`` lacks.
        """
        selected = replace(self, pictures=self.pictures.select(split))
        for images in self.kinds.values():
            name = selected.pictures.split
            TargetEncoder(images.classes).check(images.everything if name == ALL else images.splits.get(name, ()))
        return selected

    def fingerprint(self, excerpts: Sequence[Excerpt | None] | None = None) -> str:
        """Return a SHA-256 of those of the split's kinds (``AnnotatedImages.fingerprint``).

        Args:
            excerpts: Those of ``records``, where they were read already.
        """
        records = self.pictures.records
        read = dict(zip((record.path for record in records), excerpts or read_excerpts(records), strict=True))
        digest = hashlib.sha256()
        for kind, known in self.known_counts().items():
            images = self.of(kind) if known else None
            own = images.fingerprint([read[record.path] for record in images.records]) if images else ""
            digest.update(f"{kind} {own}\n".encode())
        return digest.hexdigest()


def open_annotated(
    path: Path | str,
    split: str,
    *,
    kinds: Sequence[Kind],
    split_seed: int = 0,
    val_fraction: float = 0.2,
    split_file: Path | None = None,
) -> AllAnnotations:
    """Open one split of a data set for several kinds at once; what they say of one file is put together.

    Each kind is read as ``open_dataset`` reads it, be it from one file, as of the COCO superset, or from several beside
    one another, as COCO's objects and captions are. A picture that a kind doesn't have is unknown for that kind.

    All kinds share their splits. Where there is no ``val``, one cut is made of the pictures of all kinds: cuts of each
    kind by itself would put a picture into the training of one task and the validation of another. Its strata are the
    classes of the first of the kinds that is known of a picture. Pictures that are in no split, while others are, go
    where another kind has them, or else to ``train``.

    Args:
        path: As for ``open_dataset``.
        split: As for ``open_dataset``.
        kinds: What to open it for, two kinds or more, or one.
        split_seed: The seed of the cut.
        val_fraction: The share of the cut.
        split_file: As for ``open_dataset``; of ``pictures``.

    Raises:
        DataError: As ``open_dataset``, for any kind; or kinds have a picture in different splits.
    """
    _check_kinds(kinds)
    opened: dict[Kind, AnnotatedImages] = {}
    faults: list[str] = []
    with reading_once():
        for kind in kinds:
            opened[kind], found = open_with_faults(path, kind=kind, split_seed=split_seed, val_fraction=val_fraction)
            faults += found
    root = Path(path)
    raise_faults(root, list(dict.fromkeys(faults)))
    merged = _Merged(opened)
    layout = next(iter(opened.values())).format
    if split_file is not None:
        before, unlisted = apply_split(merged.records, read_split(split_file), split_file)
        splits, origin = before, "file"
        notes = [f"{root}: {unlisted} images aren't listed in {split_file} and were left out."] if unlisted else []
    else:
        before, notes = merged.sort_out(root)
        splits, origin = cut_val(dict(before), layout, val_fraction, split_seed)
    whole = AnnotatedImages(root, ALL, _bare(splits), _bare(before), (), layout, origin)
    followed = {kind: _follow(images, whole) for kind, images in opened.items()}
    notes += [note for images in followed.values() for note in images.notes]
    notes += [*note_splits(root, whole.splits), *_note_unknown(whole, followed)]
    led = frozenset(kind for kind, images in followed.items() if _paths(images.splits) != _paths(opened[kind].found))
    return AllAnnotations(whole, followed, tuple(dict.fromkeys(notes)), led).select(split)


def _paths(splits: _Splits) -> dict[str, set[Path]]:
    return {split: {record.path for record in records} for split, records in splits.items()}


def _check_kinds(kinds: Sequence[Kind]) -> None:
    known = ", ".join(KINDS)
    if not kinds:
        raise DataError(f"No kind was named to open a data set for. There are: {known}.")
    for kind in kinds:
        if kind not in KINDS:
            raise DataError(f"Unknown kind '{kind}'. There are: {known}.{did_you_mean(kind, KINDS)}")


class _Merged:
    """The pictures of all kinds, each with the record of the first kind that is known of it."""

    def __init__(self, opened: Mapping[Kind, AnnotatedImages]) -> None:
        self._splits: dict[Path, dict[str, Kind]] = {}
        first: dict[Path, Record] = {}
        for kind, images in opened.items():
            for split, records in images.found.items():
                for record in records:
                    first.setdefault(record.path, record)
                    self._splits.setdefault(record.path, {}).setdefault(split, kind)
        self.records = list(first.values())
        if any(images.format != "table" for images in opened.values()):
            self.records.sort(key=lambda record: record.name)

    def sort_out(self, root: Path) -> tuple[dict[str, tuple[Record, ...]], list[str]]:
        """Return the pictures by the splits that any kind has them in, and a note on those that none has.

        Raises:
            DataError: A picture is in several.
        """
        named = {path: {split: kind for split, kind in found.items() if split} for path, found in self._splits.items()}
        self._refuse_clashes(root, named)
        rest = "train" if any(named.values()) else ""
        sorted_out: dict[str, list[Record]] = {split: [] for split in ("", *SPLITS)}
        for record in self.records:
            sorted_out[next(iter(named[record.path]), rest)].append(record)
        loose = [record.name for record in self.records if not named[record.path]] if rest else []
        notes = [f"{root}: counted as 'train', being in no split: {list_some(loose)}."] if loose else []
        return {split: tuple(records) for split, records in sorted_out.items() if records}, notes

    def _refuse_clashes(self, root: Path, named: Mapping[Path, Mapping[str, Kind]]) -> None:
        clashes = [record for record in self.records if len(named[record.path]) > 1]
        if clashes:
            found = " and ".join(f"in '{split}' for its {kind}" for split, kind in named[clashes[0].path].items())
            are = "1 picture is" if len(clashes) == 1 else f"{len(clashes):,} pictures are"
            raise DataError(
                f"{root}: {are} in different splits for different kinds, e.g. '{clashes[0].name}' {found}. A picture "
                "is for training or for measuring, of every kind; keep it in one, or give a file of splits."
            )


def _bare(splits: _Splits) -> _Splits:
    """Return records without all that a kind says of them but whom or what they show."""
    kept = ("subject",)
    return {
        split: tuple(
            replace(record, targets={key: record.targets[key] for key in kept if key in record.targets})
            for record in records
        )
        for split, records in splits.items()
    }


def _follow(images: AnnotatedImages, whole: AnnotatedImages) -> AnnotatedImages:
    """Return the data set of a kind in the splits, in the order and under the names that all kinds share."""
    own = {record.path: record.targets for record in images.everything}

    def pick(splits: _Splits) -> dict[str, tuple[Record, ...]]:
        picked = {
            split: tuple(replace(record, targets=own[record.path]) for record in records if record.path in own)
            for split, records in splits.items()
        }
        return {split: records for split, records in picked.items() if records}

    splits = pick(whole.splits)
    notes = [note for note in images.notes if note not in note_splits(images.root, images.splits)]
    notes += note_splits(images.root, splits)
    return replace(
        images, splits=splits, found=pick(whole.found), splits_origin=whole.splits_origin, notes=tuple(notes)
    )


def _note_unknown(whole: AnnotatedImages, kinds: Mapping[Kind, AnnotatedImages]) -> list[str]:
    """Return a note for each kind that isn't known of every picture of a split, where its own notes can't say so."""
    return [
        f"{whole.root}: the {kind} are known of {known:,} of the {len(records):,} pictures in '{split}'."
        for kind, images in kinds.items()
        for split, records in whole.splits.items()
        if images.format != "superset" and (known := len(images.splits.get(split, ()))) < len(records)
    ]
