"""Pictures without annotations, for prediction."""

from collections.abc import Sequence
from pathlib import Path

from .image_folder import describe_folder, walk_pictures
from .sample import DataError, Record


def list_pictures(paths: Sequence[Path | str]) -> tuple[Record, ...]:
    """Return a record for each picture among files and below folders, sorted by path, each file once.

    A record is named by its path as it was given or found. Files that are named outright need no picture's ending.

    Raises:
        DataError: A path that isn't there, or a folder without pictures.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder.")
        pictures = list(walk_pictures(path)) if path.is_dir() else [path]
        if not pictures:
            raise DataError(f"{path}: no pictures in this folder, it holds {describe_folder(path)}.")
        for picture in pictures:
            found.setdefault(picture.resolve(), picture)
    if not found:
        raise DataError("No pictures were given: name files or folders.")
    return tuple(
        Record(path=picture, targets={}, name=picture.as_posix())
        for picture in sorted(found.values(), key=lambda picture: picture.as_posix())
    )
