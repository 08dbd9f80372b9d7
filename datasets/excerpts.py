"""Short reads of files that tell one content from another."""

import hashlib
import os
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path

from .file_state import hash_file
from .many_files import look_at_files
from .sample import Record

_EXCERPT_BYTES = 16 * 1024

Excerpt = tuple[int, str]
"""A file's size, and the SHA-256 of its first and last 16 KiB."""


def read_excerpts(records: Sequence[Record]) -> list[Excerpt | None]:
    """Return the excerpt of each record's file, or None where it can't be read.

    It is all of a small picture, and enough of a large one for any compressed format to show a change, while a million
    pictures take minutes rather than hours.
    """
    return look_at_files(_read_excerpt, [record.path for record in records])


def identify_contents(records: Sequence[Record], excerpts: Sequence[Excerpt | None]) -> dict[Path, Hashable]:
    """Return a key for each file with something in it, the same for the same bytes and for no others.

    Only where files agree in size and both ends, and are longer than these, they are read whole.
    """
    counts = Counter(excerpts)
    keys: dict[Path, Hashable] = {}
    for record, excerpt in zip(records, excerpts, strict=True):
        if excerpt is None or excerpt[0] == 0:
            continue
        is_told = counts[excerpt] == 1 or excerpt[0] <= 2 * _EXCERPT_BYTES
        key = excerpt if is_told else hash_file(record.path)
        if key is not None:
            keys[record.path] = key
    return keys


def short_hashes(records: Sequence[Record], excerpts: Sequence[Excerpt | None]) -> dict[str, int]:
    """Return 64 bits for each record's file, by the record's name: enough to tell that a file is another one."""
    return {
        record.name: int.from_bytes(hashlib.sha256(repr(excerpt).encode()).digest()[:8])
        for record, excerpt in zip(records, excerpts, strict=True)
        if excerpt is not None
    }


def _read_excerpt(path: Path) -> Excerpt | None:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(_EXCERPT_BYTES)
            file.seek(max(len(head), size - _EXCERPT_BYTES))
            return size, hashlib.sha256(head + file.read()).hexdigest()
    except OSError:
        return None
