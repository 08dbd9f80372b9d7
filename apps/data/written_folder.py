"""Folders that a command of ``data`` writes as a whole, and may replace: those with its marker in them."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ...backbones.errors import UserError
from ..shell import quoted


@contextmanager
def writing_folder(folder: Path, *, what: str, overwrite: bool) -> Iterator[Path]:
    """Yield a folder to make and fill, which lies beside ``folder`` and takes its place in the end.

    An interruption so leaves what was there before, and no half of anything. A marker, ``.onetrunk-WHAT``, tells what
    the command wrote, and may delete, from other folders of the same layout.

    Args:
        folder: Missing or empty; or with the marker, if it is to be replaced.
        what: What is written there, one word.
        overwrite: Whether to replace.

    Raises:
        UserError: The folder holds something that may not be replaced, or can't be written.
    """
    marker = f".onetrunk-{what}"
    shown, folder = folder, folder if folder.name not in ("", "..") else folder.resolve()
    there = next((place for place in folder.absolute().parents if place.exists()), folder)
    try:
        _refuse_full(folder, marker, overwrite)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            written = Path(temporary) / what
            yield written
            (written / marker).touch()
            _put_in_place(written, folder, Path(temporary) / "replaced")
    except OSError as error:
        hint = "Make room, or choose another: --output DIR"
        if error.errno in (errno.EBUSY, errno.EXDEV):
            hint = f"If a disk is mounted there, choose a new folder in it: --output {quoted(shown / what)}"
        raise UserError(f"'{shown}' can't be written: {error.strerror or error}. {hint}.") from error
    finally:
        _remove_empty(folder.absolute().parent, there)


def _put_in_place(written: Path, folder: Path, replaced: Path) -> None:
    """Give a folder what was written, in place of all that it holds.

    The current folder stays itself, or whoever works in it would be left in one that is deleted: what it holds is
    changed, the marker last.

    Args:
        written: The new folder.
        folder: Where it belongs; it may be there.
        replaced: A path for the former one.
    """
    if not folder.exists():
        written.rename(folder)
    elif folder.samefile(Path.cwd()):
        replaced.mkdir()
        for former in list(folder.iterdir()):
            former.rename(replaced / former.name)
        for made in sorted(written.iterdir(), reverse=True):
            made.rename(folder / made.name)
    else:
        folder.rename(replaced)
        written.rename(folder)


def _refuse_full(folder: Path, marker: str, overwrite: bool) -> None:
    """Check that nothing is lost where the folder will be."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    is_own = (folder / marker).is_file()
    if is_own and overwrite:
        return
    hint = "Replace it: --overwrite." if is_own else "It doesn't hold what this command wrote, so it stays."
    raise UserError(f"'{folder}' already exists. {hint} Or choose another folder: --output DIR.")


def _remove_empty(folder: Path, last: Path) -> None:
    """Remove the folders above that were made in vain, up to one that was there."""
    while folder != last and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
