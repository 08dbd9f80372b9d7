"""What tells a file's content from another, or from that of before."""

import hashlib
from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """A file's size, times and content.

    Where size and times are those of before, the content is taken to be, too, as in git's index: the time of the last
    change of state (``changed_ns``, ctime) can't be set back. Else the hash decides, so that a copied or touched file
    stays known.
    """

    size: int
    """In bytes; -1 where there is no file."""
    modified_ns: int
    changed_ns: int
    sha256: str
    """Of the content; empty where that couldn't be read, or there is none."""

    def is_still(self, path: Path) -> bool:
        """Whether a file has this content; reads it where size and times leave that open.

        A file that is there and couldn't be read is never the same: it may be readable now.
        """
        signature = read_signature(path)
        if not self.sha256:
            return self.size <= 0 and self[:3] == signature
        return self[:3] == signature or self.sha256 == hash_file(path)


def read_signature(path: Path) -> tuple[int, int, int]:
    """Return size and times of a file; -1 and zeros where there is none."""
    try:
        status = path.stat()
    except OSError:
        return -1, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def state_of(signature: tuple[int, int, int], content: bytes) -> FileState:
    """Return the state of a file that had a signature before its content was read."""
    return FileState(*signature, hashlib.sha256(content).hexdigest())


def hash_file(path: Path) -> str | None:
    """Return the SHA-256 of all that a file holds; None where it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
