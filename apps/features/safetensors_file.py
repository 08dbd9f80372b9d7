"""Features as safetensors: a tensor a layer, NaN in rows without features, and the columns as bytes of JSON.

Written by hand, because the library takes whole tensors from memory: eight bytes with the header's length, the header
as JSON, then the tensors' bytes (https://huggingface.co/docs/safetensors, "Format"). The library reads it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import safe_open

from .table import Export, FeatureTable, to_numpy

_RECIPE = "recipe"
_ATTACHMENT = "recipe/"
_COLUMNS = "columns"
_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.uint8: "U8"}


def write(stream: IO[bytes], export: Export) -> None:
    """Write the recipe as metadata, the layers block by block, and a tensor ``columns`` of JSON: name -> list."""
    columns = json.dumps({name: list(values) for name, values in export.columns.items()}).encode()
    attachments = {f"{_ATTACHMENT}{key}": torch.from_numpy(array) for key, array in export.attachments.items()}
    # the widest numbers first: each tensor then begins at a multiple of what a number takes
    tensors = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in attachments.items()}
    tensors |= {name: (layer.dtype, (len(export), *layer.shape)) for name, layer in export.layers.items()}
    tensors[_COLUMNS] = (torch.uint8, (len(columns),))
    header: dict[str, Any] = {"__metadata__": {_RECIPE: json.dumps(export.recipe)}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    stream.write(len(text).to_bytes(8, "little") + text)
    for tensor in attachments.values():
        stream.write(_bytes(tensor))
    for name in export.layers:
        for block in export.blocks([name]):
            stream.write(_bytes(block[name]))
    stream.write(columns)


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()  # numpy has no bfloat16


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
