"""Features as Parquet: a column a layer of fixed-size lists, null in rows without features."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .table import COLUMNS, Columns, Export, FeatureTable, to_numpy

_RECIPE = b"onetrunk"
_ATTACHMENT = b"onetrunk/"


def write(stream: IO[bytes], export: Export) -> None:
    """Write a row group a block; the recipe and what belongs to it stand in the schema's metadata."""
    texts = {name: pa.int32() if name == "view" else pa.string() for name in COLUMNS if name in export.columns}
    fields = [pa.field(name, kind) for name, kind in texts.items()]
    for name, layer in export.layers.items():
        about = {"shape": json.dumps(list(layer.shape))}
        fields.append(pa.field(name, pa.large_list(pa.from_numpy_dtype(layer.numpy_dtype)), metadata=about))
    metadata = {_RECIPE: json.dumps(export.recipe).encode()}
    metadata |= {_ATTACHMENT + key.encode(): _to_bytes(array) for key, array in export.attachments.items()}
    schema = pa.schema(fields, metadata=metadata)
    # numbers of features hardly ever repeat
    with pq.ParquetWriter(stream, schema, use_dictionary=["label", "split"]) as writer:
        start = 0
        for block in export.blocks(list(export.layers)):
            stop = start + len(next(iter(block.values())))
            arrays = [pa.array(export.columns[name][start:stop], kind) for name, kind in texts.items()]
            is_empty = np.array([error is not None for error in export.columns["error"][start:stop]])
            for name in export.layers:
                arrays.append(_lists(to_numpy(block[name]), is_empty, schema.field(name).type))
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            start = stop


def _lists(rows: NDArray[Any], is_empty: NDArray[np.bool_], kind: pa.DataType) -> pa.LargeListArray:
    """Return a list a row, null where it is empty.

    Lists of a fixed size would say more, but pyarrow before 26 can't write or read nulls among them.
    """
    kept = rows[~is_empty] if is_empty.any() else rows
    ends = np.cumsum(np.where(is_empty, 0, np.prod(rows.shape[1:])))
    offsets = pa.array(np.concatenate([[0], ends]), pa.int64())
    values = pa.array(kept.reshape(-1), kind.value_type)
    return pa.LargeListArray.from_arrays(offsets, values, type=kind, mask=pa.array(is_empty))


def read_recipe(path: Path) -> Mapping[str, Any]:
    """Return the recipe."""
    return _recipe(pq.read_schema(path))


def read(path: Path, layers: Sequence[str]) -> FeatureTable:
    """Return columns, recipe, and the features of some layers."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        texts = [name for name in COLUMNS if name in schema.names]
        columns: Columns = {name: file.read([name]).column(name).to_pylist() for name in texts}
        features = {name: _read_layer(file, schema.field(name)) for name in layers}
    attachments = {
        key.removeprefix(_ATTACHMENT).decode(): np.load(io.BytesIO(value), allow_pickle=False)
        for key, value in schema.metadata.items()
        if key.startswith(_ATTACHMENT)
    }
    return FeatureTable(columns, features, _recipe(schema), attachments)


def _read_layer(file: pq.ParquetFile, field: pa.Field) -> NDArray[Any]:
    shape = json.loads(field.metadata[b"shape"])
    found = np.full(
        (file.metadata.num_rows, int(np.prod(shape))), np.nan, dtype=field.type.value_type.to_pandas_dtype()
    )
    start = 0
    for group in range(file.num_row_groups):  # one after another: whole, there would be two copies for a while
        for chunk in file.read_row_group(group, [field.name]).column(0).chunks:
            values = chunk.flatten().to_numpy(zero_copy_only=False)  # without those of nulls
            found[start : start + len(chunk)][np.asarray(chunk.is_valid())] = values.reshape(-1, found.shape[1])
            start += len(chunk)
    return found.reshape(-1, *shape)


def _recipe(schema: pa.Schema) -> Mapping[str, Any]:
    recipe: dict[str, Any] = json.loads(schema.metadata[_RECIPE])
    return recipe


def _to_bytes(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
