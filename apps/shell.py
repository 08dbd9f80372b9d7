"""What printed commands need so that a shell takes them as they were meant."""

from pathlib import Path
from shlex import quote


def quoted(path: str | Path) -> str:
    """Return a path for a printed command: in quotes where a shell would otherwise make several words of it."""
    return quote(str(path))
