"""One command at a time writes into a folder."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..backbones.errors import UserError
from .run_folder import make_folder

_POLLING_SECONDS = 0.5


@contextmanager
def writing_alone(folder: Path, *, name: str = "lock", waits: bool = False) -> Iterator[None]:
    """Keep other processes from writing into a folder meanwhile; readers need no lock. The folder goes if it is empty.

    Args:
        folder: Made if it isn't there.
        name: Of the lock, where several parts of a folder are written apart.
        waits: Whether to wait for another process, after saying so, instead of refusing.

    Raises:
        UserError: Another process is writing, or the folder can't be locked.
    """
    path = make_folder(folder) / name
    is_said = False
    while True:
        with path.open("w") as lock:
            try:
                # not flock, which loaders' workers inherit: they outlive a killed process by seconds
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                is_busy = error.errno in (errno.EAGAIN, errno.EACCES)
                if not (is_busy and waits):
                    raise _lock_error(folder, is_busy, error) from None
            else:
                if path.exists() and os.path.samestat(path.stat(), os.fstat(lock.fileno())):
                    with _unlock_at_end(folder, path):
                        yield
                    return
                # the process that had it went in between, and took the file away
                if not waits:
                    raise UserError(
                        f"'{folder}' can't be locked: another process has just left it. Run the command again."
                    )
        if not is_said:
            print(f"waiting for another command that stores features in '{folder}'")
            is_said = True
        time.sleep(_POLLING_SECONDS)


@contextmanager
def _unlock_at_end(folder: Path, path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        path.unlink()
        with suppress(OSError):  # not empty, or another process has begun
            folder.rmdir()


def _lock_error(folder: Path, is_busy: bool, error: OSError) -> UserError:
    reason = "another process is writing there. Wait for it" if is_busy else f"{error.strerror}. Move to another disk"
    return UserError(f"'{folder}' can't be locked: {reason}, or choose another --output.")
