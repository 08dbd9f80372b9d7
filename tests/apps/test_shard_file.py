"""Files of tensors: what is written is what the library reads, and what a mapping into memory can be made of."""

from pathlib import Path

import pytest
import torch
from onetrunk.apps.shard_file import ShardFile, bytes_of, write_tensors
from safetensors import safe_open
from safetensors.torch import load_file

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
DTYPES += [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]


def make_tensors() -> dict[str, torch.Tensor]:
    """Return one tensor of each dtype, odd in size, and such as have no rows or no dimensions."""
    generator = torch.Generator().manual_seed(0)
    tensors = {str(dtype): torch.randint(0, 2, (3, 5, 7), generator=generator).to(dtype) for dtype in reversed(DTYPES)}
    return tensors | {"empty": torch.empty(0, 4), "single": torch.tensor(2.5), "ä/ö": torch.arange(3)}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "some.safetensors"
    with path.open("wb") as stream:
        write_tensors(stream, make_tensors(), {"key": "größer", "rows": "[1, 2]"})
    return path


def test_the_library_reads_what_is_written(written: Path) -> None:
    found, expected = load_file(written), make_tensors()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name
    with safe_open(written, framework="pt") as opened:
        assert opened.metadata() == {"key": "größer", "rows": "[1, 2]"}


def test_each_tensor_begins_where_its_numbers_can_be_mapped(written: Path) -> None:
    for name, array in ShardFile(written).arrays.items():
        assert array.start % array.dtype.itemsize == 0, name


def test_tensors_and_rows_are_read_back(written: Path) -> None:
    file = ShardFile(written)
    assert file.metadata["key"] == "größer"
    for name, tensor in make_tensors().items():
        assert torch.equal(file.read(name), tensor), name
    row = torch.empty(5, 7, dtype=torch.bfloat16)
    file.read_row("torch.bfloat16", 2, row)
    assert torch.equal(row, make_tensors()["torch.bfloat16"][2])


def test_what_does_not_lie_in_one_piece_is_refused_and_not_copied() -> None:
    """Numbers that are read into a copy would be lost."""
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        bytes_of(torch.arange(6).reshape(2, 3).T)
