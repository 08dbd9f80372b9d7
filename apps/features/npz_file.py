"""Features as a NumPy archive: an array a layer and a column, NaN in rows without features."""

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from .table import COLUMNS, Export, FeatureTable, read_texts, to_numpy, to_texts

_RECIPE = "recipe"
_ATTACHMENT = "recipe/"
#: Of every member: the same features make the same bytes.
_TIME = (1980, 1, 1, 0, 0, 0)


def write(stream: IO[bytes], export: Export) -> None:
    """Write what ``numpy.load`` reads, one array after another and none of them at once."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        arrays = {name: to_texts(name, values) for name, values in export.columns.items()}
        arrays[_RECIPE] = np.array(json.dumps(export.recipe))
        arrays |= {f"{_ATTACHMENT}{key}": array for key, array in export.attachments.items()}
        for name, array in arrays.items():
            with _member(archive, name) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        for name, layer in export.layers.items():
            header = {"descr": layer.numpy_dtype.str, "fortran_order": False, "shape": (len(export), *layer.shape)}
            with _member(archive, name) as member:
                np.lib.format.write_array_header_1_0(member, header)
                for block in export.blocks([name]):
                    member.write(to_numpy(block[name]).tobytes())


@contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    # zip64 from the start: the size isn't known before it is written
    with archive.open(zipfile.ZipInfo(f"{name}.npy", _TIME), "w", force_zip64=True) as member:
        yield member


def read_recipe(path: Path) -> Mapping[str, Any]:
    """Return the recipe."""
    with np.load(path, allow_pickle=False) as stored:
        recipe: dict[str, Any] = json.loads(str(stored[_RECIPE]))
    return recipe


def read(path: Path, layers: Sequence[str]) -> FeatureTable:
    """Return columns, recipe, and the features of some layers."""
    with np.load(path, allow_pickle=False) as stored:
        columns = {name: read_texts(name, stored[name]) for name in COLUMNS if name in stored.files}
        attachments = {
            key.removeprefix(_ATTACHMENT): stored[key] for key in stored.files if key.startswith(_ATTACHMENT)
        }
        return FeatureTable(
            columns, {name: stored[name] for name in layers}, json.loads(str(stored[_RECIPE])), attachments
        )
