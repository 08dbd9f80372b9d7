"""The kinds of feature files, and reading any of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from ...backbones.errors import UserError, did_you_mean
from . import hdf5_file, npz_file, parquet_file, safetensors_file
from .table import Export, FeatureTable

FORMAT = 1

Found = TypeVar("Found", FeatureTable, Mapping[str, Any])


class FileKind(Protocol):
    """What each kind of file does."""

    def write(self, stream: IO[bytes], export: Export) -> None: ...  # noqa: D102
    def read_recipe(self, path: Path) -> Mapping[str, Any]: ...  # noqa: D102
    def read(self, path: Path, layers: Sequence[str]) -> FeatureTable: ...  # noqa: D102


KINDS: dict[str, FileKind] = {
    ".parquet": parquet_file,
    ".npz": npz_file,
    ".h5": hdf5_file,
    ".safetensors": safetensors_file,
}


def kind_of(path: Path) -> FileKind:
    """Return the kind of a file by its ending.

    Raises:
        UserError: It has none of the endings.
    """
    suffix = path.suffix.lower()
    if suffix not in KINDS:
        near = did_you_mean(suffix, KINDS)
        raise UserError(f"{path}: a feature file ends in {', '.join(KINDS)}, not in '{path.suffix}'.{near}")
    return KINDS[suffix]


def read_recipe(path: str | Path) -> Mapping[str, Any]:
    """Return what the features of a file were made with, without reading them.

    Raises:
        UserError: It isn't there, is damaged, or no file of features.
    """
    return _reading(Path(path), lambda kind, file: kind.read_recipe(file))


def read_features(path: str | Path, layers: Sequence[str] | None = None) -> FeatureTable:
    """Return what a feature file holds.

    Args:
        path: The file.
        layers: Read only these; unset: all.

    Raises:
        UserError: It isn't there, is damaged, no file of features, or has no such layer.
    """
    from .table import choose_layer

    there = tuple(read_recipe(path)["layers"])
    chosen = there if layers is None else [choose_layer(there, layer) for layer in layers]
    return _reading(Path(path), lambda kind, file: kind.read(file, chosen))


def _reading(path: Path, read: Callable[[FileKind, Path], Found]) -> Found:
    kind = kind_of(path)
    if not path.is_file():
        part = " It is being written, or was interrupted: run its command again." if _part(path).is_dir() else ""
        raise UserError(f"{path}: there is no such file.{part}")
    try:
        found = read(kind, path)
    except Exception as error:  # each library has its own for damaged files
        raise UserError(
            f"{path}: holds no features that can be read: it is damaged, or wasn't written by `onetrunk features "
            "extract`."
        ) from error
    recipe = found.recipe if isinstance(found, FeatureTable) else found
    if recipe.get("format") != FORMAT:
        raise UserError(f"{path}: features of format {recipe.get('format')}; this release reads {FORMAT}.")
    return found


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")
