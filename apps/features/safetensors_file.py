"""Features as safetensors: a tensor a layer, NaN in rows without features, and the columns as bytes of JSON.

Written block by block, as the library can't: it takes whole tensors from memory. The library reads it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import safe_open

from ..shard_file import bytes_of, write_header
from .table import Export, FeatureTable, to_numpy

_RECIPE = "recipe"
_ATTACHMENT = "recipe/"
_COLUMNS = "columns"


def write(stream: IO[bytes], export: Export) -> None:
    """Write the recipe as metadata, the layers block by block, and a tensor ``columns`` of JSON: name -> list."""
    columns = json.dumps({name: list(values) for name, values in export.columns.items()}).encode()
    attachments = {f"{_ATTACHMENT}{key}": torch.from_numpy(array) for key, array in export.attachments.items()}
    # the widest numbers first: each tensor then begins at a multiple of what a number takes
    tensors = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in attachments.items()}
    tensors |= {name: (layer.dtype, (len(export), *layer.shape)) for name, layer in export.layers.items()}
    tensors[_COLUMNS] = (torch.uint8, (len(columns),))
    write_header(stream, tensors, {_RECIPE: json.dumps(export.recipe)})
    for tensor in attachments.values():
        stream.write(bytes_of(tensor.contiguous()))
    for name in export.layers:
        for block in export.blocks([name]):
            stream.write(bytes_of(block[name].contiguous()))
    stream.write(columns)


def read_recipe(path: Path) -> Mapping[str, Any]:
    """Return the recipe."""
    with safe_open(path, framework="pt") as stored:
        recipe: dict[str, Any] = json.loads(stored.metadata()[_RECIPE])
    return recipe


def read(path: Path, layers: Sequence[str]) -> FeatureTable:
    """Return columns, recipe, and the features of some layers; bf16 as float32."""
    with safe_open(path, framework="pt") as stored:
        columns = json.loads(bytes(stored.get_tensor(_COLUMNS).numpy()))
        attachments = {
            key.removeprefix(_ATTACHMENT): stored.get_tensor(key).numpy()
            for key in stored.keys()  # it is no mapping
            if key.startswith(_ATTACHMENT)
        }
        features = {name: to_numpy(stored.get_tensor(name)) for name in layers}
        return FeatureTable(columns, features, json.loads(stored.metadata()[_RECIPE]), attachments)
