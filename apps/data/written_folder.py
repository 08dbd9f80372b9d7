"""Folders that a command of ``data`` writes as a whole, and may replace: those with its marker in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ...backbones.errors import UserError


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
    there = next((place for place in folder.absolute().parents if place.exists()), folder)
    try:
        _refuse_full(folder, marker, overwrite)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            written = Path(temporary) / what
            yield written
            (written / marker).touch()
            if folder.exists():
                folder.rename(Path(temporary) / "replaced")
            written.rename(folder)
    except OSError as error:
        raise UserError(
            f"'{folder}' can't be written: {error.strerror or error}. Make room, or choose another: --output DIR."
        ) from error
    finally:
        _remove_empty(folder.absolute().parent, there)


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
