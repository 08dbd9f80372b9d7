"""Features as HDF5: a data set a layer and a column, NaN in rows without features."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import h5py

from .table import COLUMNS, Export, FeatureTable, read_texts, to_numpy

_RECIPE = "recipe"
_ATTACHMENTS = "attachments"


def write(stream: IO[bytes], export: Export) -> None:
    """Write the layers block by block; the recipe is an attribute of the file."""
    with h5py.File(stream, "w") as file:
        file.attrs[_RECIPE] = json.dumps(export.recipe)
        for name, values in export.columns.items():
            if name == "view":
                file.create_dataset(name, data=values, dtype="int32")
            else:
                file.create_dataset(name, data=[each or "" for each in values], dtype=h5py.string_dtype())
        for key, attachment in export.attachments.items():
            file.create_dataset(f"{_ATTACHMENTS}/{key}", data=attachment)
        for name, layer in export.layers.items():
            stored = file.create_dataset(name, (len(export), *layer.shape), layer.numpy_dtype)
            start = 0
            for block in export.blocks([name]):
                array = to_numpy(block[name])
                stored[start : start + len(array)] = array
                start += len(array)


def read_recipe(path: Path) -> Mapping[str, Any]:
    """Return the recipe."""
    with h5py.File(path, "r") as file:
        return _recipe(file)


def read(path: Path, layers: Sequence[str]) -> FeatureTable:
    """Return columns, recipe, and the features of some layers."""
    with h5py.File(path, "r") as file:
        columns = {name: _read_column(name, file[name]) for name in COLUMNS if name in file}
        attachments: dict[str, Any] = {}
        if _ATTACHMENTS in file:
            file[_ATTACHMENTS].visititems(
                lambda key, each: attachments.update({key: each[()]}) if isinstance(each, h5py.Dataset) else None
            )
        return FeatureTable(columns, {name: file[name][()] for name in layers}, _recipe(file), attachments)


def _read_column(name: str, stored: h5py.Dataset) -> list[Any]:
    return read_texts(name, stored[()] if name == "view" else stored.asstr()[()])


def _recipe(file: h5py.File) -> Mapping[str, Any]:
    recipe: dict[str, Any] = json.loads(file.attrs[_RECIPE])
    return recipe
