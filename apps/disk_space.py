"""How much room there is on a disk, and how much files take."""

import shutil
from contextlib import suppress
from pathlib import Path


def free_bytes(folder: Path) -> int:
    """Return the room on the disk on which a folder lies or will lie."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def stored_bytes(folder: Path) -> int:
    """Return the bytes of the files below a folder; 0 where there is none."""
    found = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another process writes there
            found += path.stat().st_size if path.is_file() else 0
    return found


def size_text(count: int) -> str:
    """Return a number of bytes as people read it, ``1.9 MiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024  # type: ignore[assignment]
    return f"{count:.1f} TiB"
