"""What lies beside a feature file while it is written, and where a file may be written."""

import json
from pathlib import Path
from typing import Any

from ...backbones import UserError
from ..config import to_plain
from ..run_folder import check_writable, holds_others
from ..store import FeatureStore
from .files import kind_of
from .options import ExtractOptions

WRITTEN = "written.json"
"""Says which file the parts beside it were written into."""


def parts_folder(output: Path) -> Path:
    """Return the folder for the parts of a file."""
    return output.with_name(output.name + ".part")


def check_output(options: ExtractOptions) -> Path:
    """Return the file to write, where a link leads to.

    Raises:
        UserError: It can't be written, is there already, or would be taken for a part of the data.
    """
    output = Path(options.output)
    output = output.resolve() if output.is_symlink() else output
    kind_of(output)
    if output.is_dir():
        raise UserError(f"'{output}' is a folder. Choose a file: --output FILE.")
    if any("\ud800" <= letter <= "\udfff" for letter in str(output.absolute())):
        raise UserError(
            f"{str(output)!r}: the path isn't UTF-8, as the files below it need it. Choose another: --output FILE."
        )
    data, part = Path(options.data), parts_folder(output)
    if data.is_dir() and data.resolve() in output.resolve().parents:
        raise UserError(
            f"'{output}' lies in the data, '{data}': while it is written, its parts would be taken for data. Choose "
            "another place: --output FILE."
        )
    names = ("lock", WRITTEN, output.name, *(f"{name}.part" for name in (WRITTEN, output.name)))
    views = {path.name for path in part.glob("view-*")} if part.is_dir() else set()
    if part.exists() and holds_others(part, {*names, *views}):
        raise UserError(
            f"'{part}' holds something else than parts of features. Move it away, or choose another --output."
        )
    if not is_written(part, output, options):
        refuse_existing(output, options)
    check_writable(output.parent)
    return output


def refuse_existing(output: Path, options: ExtractOptions) -> None:
    """Raise a ``UserError`` if the file is there and may not be written over."""
    if output.exists() and not options.overwrite:
        raise UserError(f"'{output}' is already there. Write over it: --overwrite. Or elsewhere: --output FILE.")


def marker_of(path: Path, options: ExtractOptions) -> dict[str, Any]:
    """Return what says that a file was written by a command: what it keeps when it is renamed, and the options."""
    status = path.stat()
    given = {name: value for name, value in to_plain(options).items() if name != "overwrite"}
    return {"file": [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns], "options": given}


def is_written(part: Path, output: Path, options: ExtractOptions) -> bool:
    """Whether this very command has written the file, and only the parts it was made from are left to be removed."""
    try:
        marker = json.loads((part / WRITTEN).read_text(encoding="utf-8"))
        return bool(marker == json.loads(json.dumps(marker_of(output, options)))) and not options.overwrite
    except (OSError, ValueError):
        return False


def delete_parts(part: Path) -> None:
    """Delete what an extraction left beside its file; the marker last, so that it can be interrupted, too."""
    for folder in part.glob("view-*"):
        FeatureStore.delete(folder)
    (part / WRITTEN).unlink(missing_ok=True)
