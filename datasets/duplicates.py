"""Images that are there twice, byte for byte: across splits, under different labels, within a split."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from .contents import class_names
from .findings import Finding, count
from .sample import Record

ACROSS, CONFLICTING, WITHIN = "duplicates_across_splits", "duplicates_under_different_labels", "duplicates_in_a_split"
"""The kinds of the findings."""

_Group = list[tuple[str, Record]]
"""Records of the same content, each with its split."""


def find_duplicates(splits: Mapping[str, Sequence[Record]], contents: Mapping[Path, Hashable]) -> list[Finding]:
    """Return a warning for each kind of duplicates, and for each split or pair of splits that has them.

    Args:
        splits: The records of each split.
        contents: A key for the content of each file, the same for the same bytes and for no others; files without a
            key are passed over.
    """
    by_content: dict[Hashable, _Group] = defaultdict(list)
    for split, records in splits.items():
        for record in records:
            if record.path in contents:
                by_content[contents[record.path]].append((split, record))
    groups = [group for group in by_content.values() if len(group) > 1]
    return [
        *(finding for pair in combinations(splits, 2) for finding in _across(groups, pair, splits)),
        *_conflicting(groups),
        *(finding for split in splits for finding in _within(groups, split, splits)),
    ]


def _across(
    groups: Iterable[_Group], pair: tuple[str, str], splits: Mapping[str, Sequence[Record]]
) -> Iterable[Finding]:
    first, second = pair
    shared = [_of(group, first, second) for group in groups if {first, second} <= {split for split, _ in group}]
    if shared:
        copies = sum(len(_of(group, second)) for group in shared)
        are = f"{copies:,} of the {count(len(splits[second]), 'image')} in '{second}' {'is' if copies == 1 else 'are'}"
        message = (
            f"{are} in '{first}' too, byte for byte, e.g. {_example(shared[0], first, second)}. Figures on '{second}' "
            "come out too good: keep such images in one of the two."
        )
        yield _warning(ACROSS, message, shared)


def _conflicting(groups: Iterable[_Group]) -> Iterable[Finding]:
    found = [group for group in groups if len({frozenset(class_names(record)) for _, record in group}) > 1]
    if found:
        by_labels = {frozenset(class_names(record)): record for _, record in found[0]}
        example = " = ".join(f"{record.name} ({_labels(record)})" for record in by_labels.values())
        message = (
            f"{count(len(found), 'image is', 'images are')} there under different labels, byte for byte, e.g. "
            f"{example}. One of the labels is wrong, or the image needs several."
        )
        yield _warning(CONFLICTING, message, found)


def _within(groups: Iterable[_Group], split: str, splits: Mapping[str, Sequence[Record]]) -> Iterable[Finding]:
    found = [inside for group in groups if len(inside := _of(group, split)) > 1]
    if found:
        copies = sum(len(group) - 1 for group in found)
        message = (
            f"{copies:,} of the {count(len(splits[split]), 'image')} in '{split}' "
            f"{'is a copy' if copies == 1 else 'are copies'} of another one there, byte for byte, e.g. "
            f"{found[0][0][1].name} = {found[0][1][1].name}."
        )
        yield _warning(WITHIN, message, found)


def _of(group: _Group, *splits: str) -> _Group:
    return [(split, record) for split, record in group if split in splits]


def _example(group: _Group, first: str, second: str) -> str:
    return f"{_of(group, first)[0][1].name} = {_of(group, second)[0][1].name}"


def _labels(record: Record) -> str:
    return ", ".join(class_names(record)) or "none"


def _warning(kind: str, message: str, groups: Iterable[_Group]) -> Finding:
    names = tuple(tuple(record.name for _, record in group) for group in groups)
    return Finding("warning", kind, message, tuple(name for group in names for name in group), names)
