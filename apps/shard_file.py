"""Safetensors files, written without copies and read row by row without mapping them into memory.

The library's own writer copies every tensor twice before it writes, and Python stands still meanwhile. And pages of a
mapped file count as the process's own: a training on maps would seem to take all the memory that its store takes room.
The format is eight bytes with the header's length, the header as JSON, then the tensors' bytes
(https://huggingface.co/docs/safetensors, "Format"); numbers are little-endian, as on every machine that torch runs on.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from ..backbones.errors import UserError

_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "BOOL": torch.bool},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8},
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
#: The tensors begin at a multiple of so many bytes, as mapping them into memory wants it.
_ALIGNMENT = 8


def write_tensors(stream: IO[bytes], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors as a safetensors file.

    Args:
        stream: Open for writing bytes, at its start.
        tensors: On the CPU, and contiguous.
        metadata: What the header shall say besides.
    """
    # the widest numbers first: each tensor then begins at a multiple of what a number takes
    ordered = sorted(tensors.items(), key=lambda named: (-named[1].itemsize, named[0]))
    write_header(stream, {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in ordered}, metadata)
    for _, tensor in ordered:
        stream.write(bytes_of(tensor))


def write_header(
    stream: IO[bytes], tensors: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], metadata: Mapping[str, str]
) -> None:
    """Write what stands in a safetensors file before the bytes of its tensors, which have to follow in this order.

    Args:
        stream: Open for writing bytes, at its start.
        tensors: Dtype and shape by name.
        metadata: What the header shall say besides.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    stream.write(len(text).to_bytes(8, "little") + text)


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the memory of a tensor on the CPU, for reading and writing.

    Raises:
        RuntimeError: The tensor isn't contiguous.
    """
    flat = tensor.detach().view(-1)
    return (flat.view(torch.uint8) if flat.numel() else flat.to(torch.uint8)).numpy().data


class _Array(NamedTuple):
    """Where a tensor lies: its dtype, its shape, and its first byte in the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int


class ShardFile:
    """A file of which rows are read; it stays the one that was first opened, or is refused.

    Attributes:
        arrays: Dtype, shape and place of each tensor.
        metadata: What the header says besides.
    """

    def __init__(self, path: Path) -> None:
        """Read the header, and keep the file open.

        Raises:
            OSError, ValueError, KeyError: There is no such file, or it is none of safetensors.
        """
        self._path = path
        self._descriptor: int | None = os.open(path, os.O_RDONLY)
        self._identity = _identity(self._descriptor)
        length = int.from_bytes(os.pread(self._descriptor, 8, 0), "little")
        header: dict[str, Any] = json.loads(os.pread(self._descriptor, length, 8))
        self.metadata: dict[str, str] = header.pop("__metadata__", {})
        self.arrays = {
            name: _Array(_DTYPES[facts["dtype"]], tuple(facts["shape"]), 8 + length + facts["data_offsets"][0])
            for name, facts in header.items()
        }

    def close(self) -> None:
        """Close the file; reading opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        """Close the file."""
        if getattr(self, "_descriptor", None) is not None:
            self.close()

    def read_row(self, name: str, row: int, into: Tensor) -> None:
        """Read a row of a tensor ``[rows, ...]``.

        Args:
            name: The tensor.
            row: Its place along the first dimension.
            into: Contiguous, of its dtype and of the shape of a row.

        Raises:
            UserError: The file is damaged, or another one by now.
        """
        array = self.arrays[name]
        size = array.dtype.itemsize * math.prod(array.shape[1:])
        self._read(array.start + row * size, into)

    def read(self, name: str) -> Tensor:
        """Return a whole tensor.

        Raises:
            UserError: The file is damaged, or another one by now.
        """
        array = self.arrays[name]
        found = torch.empty(array.shape, dtype=array.dtype)
        self._read(array.start, found)
        return found

    def _read(self, start: int, into: Tensor) -> None:
        if into.numel() == 0:
            return
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDONLY)
            if _identity(self._descriptor) != self._identity:
                raise UserError(
                    f"'{self._path}' was written anew while it was read: another command stores features of changed "
                    "files there. Go on with --resume, or give each a --cache-folder of its own."
                )
        memory = bytes_of(into)
        while memory:
            count = os.preadv(self._descriptor, [memory], start)
            if not count:
                raise UserError(f"'{self._path}' is damaged: it ends too early. Delete it and run the command again.")
            memory, start = memory[count:], start + count


def _identity(descriptor: int) -> tuple[int, int, int]:
    status = os.fstat(descriptor)
    return status.st_ino, status.st_size, status.st_mtime_ns
