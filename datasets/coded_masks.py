"""From pictures and mask files to records: what the values of a data set's masks stand for, and which can't be used."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .class_lists import TABLES, TEXT_FILES, read_class_list
from .images import picture_size
from .mask_values import check_size, read_values
from .masks import (
    BACKGROUND,
    MAX_CLASSES,
    ClassMaskFiles,
    MaskCoding,
    MaskFile,
    unknown_values,
)
from .sample import IGNORED, DataError, Record

_THREADS = 8
_BINARY = {0: BACKGROUND, 1: "foreground"}
_BINARY_BYTES = {0: BACKGROUND, IGNORED: "foreground"}


class MaskPair(NamedTuple):
    """A picture and its mask."""

    record: Record
    mask: Path


@dataclass(frozen=True)
class CodedMasks:
    """Records with masks.

    Attributes:
        records: In the order of the pairs; each with ``mask``, and with ``labels``, the classes that occur in it.
        classes: In the order of their values.
        notes: What was assumed, in full sentences.
    """

    records: list[Record]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


class _Look(NamedTuple):
    """What reading a mask told: how often it has each value, or why it can't be used."""

    counts: Mapping[int, int]
    fault: str | None = None


def code_masks(root: Path, pairs: Sequence[MaskPair], *, known: MaskCoding | None = None, hint: str = "") -> CodedMasks:
    """Read all masks of a data set, and return its records.

    A list of classes beside the pictures says what the values are (``class_lists.py``). Without one, masks of nothing
    but 0 and 1 (and 255, which is ignored), or of 0 and 255, show ``background`` and ``foreground``; of other masks
    each value is a class named by its number, and 255 is ignored.

    Args:
        root: Where a list of classes may be.
        pairs: Pictures and masks.
        known: What the values of this layout are, where nothing else says so.
        hint: For a note: where ``known`` comes from.

    Raises:
        DataError: The list of classes can't be used, or there are more classes than a mask can have.
    """
    listed = read_class_list(root)
    coding = listed or known
    colors = coding.colors if coding else None
    with ThreadPoolExecutor(_THREADS) as pool:
        looks = list(pool.map(lambda pair: _look_at(pair, colors), pairs))
    notes: list[str] = []
    if coding is None:
        coding, notes = _infer_coding(root, looks)
    elif listed is None:
        notes = [f"{root}: {hint}"]
    records = [_make_record(pair, look, coding) for pair, look in zip(pairs, looks, strict=True)]
    classes = tuple(name for _, name in sorted(coding.names.items()))
    return CodedMasks(records, classes, tuple(notes))


def code_class_masks(
    records: Sequence[Record], masks: Sequence[Mapping[str, Path]], classes: tuple[str, ...]
) -> CodedMasks:
    """Return records whose pixels may be of several classes, from a mask file a class.

    Args:
        records: The pictures.
        masks: Of each picture: class -> file.
        classes: In order.
    """

    def look(record: Record, files: Mapping[str, Path]) -> Record:
        pixels, fault = {}, None
        size = _size_of(record)
        try:
            for name, path in files.items():
                values = read_values(path, None)
                if size is not None:
                    check_size(path, values.shape, size)
                pixels[name] = int(np.count_nonzero(values))
                if len(found := np.unique(values[values != 0])) > 1:
                    raise DataError(
                        f"{path}: a mask in a folder of a class has 0 and one other value, this one also "
                        f"{', '.join(map(str, found[1:4].tolist()))}. If '{name}' is no class but a part of the data "
                        "set, sort the pictures into folders of the same names."
                    )
        except DataError as error:
            pixels, fault = {}, str(error)
        labels = tuple(name for name in classes if pixels.get(name))
        mask = ClassMaskFiles(files, pixels, fault, area=size[0] * size[1] if size else 0, known=classes)
        return replace(record, targets={"mask": mask, "labels": labels})

    with ThreadPoolExecutor(_THREADS) as pool:
        return CodedMasks(list(pool.map(look, records, masks)), classes)


def _look_at(pair: MaskPair, colors: Mapping[tuple[int, int, int], int] | None) -> _Look:
    try:
        values = read_values(pair.mask, colors)
    except DataError as error:
        return _Look({}, str(error))
    counts = np.bincount(values.ravel())
    found = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    try:
        if (size := _size_of(pair.record)) is not None:
            check_size(pair.mask, values.shape, size)
    except DataError as error:
        return _Look(found, str(error))
    return _Look(found)


def _size_of(record: Record) -> tuple[int, int] | None:
    """Return height and width of a picture; None of one that can't be read, which will be named for itself."""
    try:
        return picture_size(record.path)
    except DataError:
        return None


def _infer_coding(root: Path, looks: Sequence[_Look]) -> tuple[MaskCoding, list[str]]:
    sound = [look for look in looks if look.fault is None]
    found = Counter(value for look in sound for value in look.counts)
    values = set(found)
    if values <= set(_BINARY_BYTES) and IGNORED in values:
        return MaskCoding(_BINARY_BYTES, frozenset()), []
    ignored = sum(IGNORED in look.counts for look in sound)
    if values <= {*_BINARY, IGNORED}:  # or none of them can be read
        note = f"{root}: 0 is taken for background and 1 for foreground; {IGNORED} is ignored (in {ignored} masks)."
        return MaskCoding(_BINARY), [note] if ignored else []
    classes = sorted(values - {IGNORED})
    if len(classes) > MAX_CLASSES:
        raise DataError(
            f"{root}: the masks have {len(classes)} different values; a segmentation has at most {MAX_CLASSES} "
            "classes. Are they grey pictures rather than masks, or soft at their edges?"
        )
    names = {value: str(value) for value in classes}
    note = (
        f"{root}: no list of classes ({', '.join((*TEXT_FILES, *TABLES))}); each of the {len(names)} values of the "
        f"masks is a class of its own, {classes[0]} to {classes[-1]}"
    )
    return MaskCoding(names), [note + (f"; {IGNORED} is ignored (in {ignored} masks)." if ignored else ".")]


def _make_record(pair: MaskPair, look: _Look, coding: MaskCoding) -> Record:
    meant = {value: coding.names.get(value, "") for value in look.counts}
    fault = look.fault
    unknown = [value for value in look.counts if value not in coding.names and value not in coding.ignored]
    if fault is None and unknown:
        fault = unknown_values(pair.mask, unknown, coding)
    pixels: dict[str, int] = {}
    if fault is None:
        for value, number in look.counts.items():
            pixels[meant[value]] = pixels.get(meant[value], 0) + number
    labels = tuple(name for _, name in sorted(coding.names.items()) if pixels.get(name))
    mask = MaskFile(pair.mask, coding, pixels, fault)
    return replace(pair.record, targets={**pair.record.targets, "mask": mask, "labels": labels})
