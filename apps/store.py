"""Stored features: what a frozen trunk makes of images, computed once and kept on the disk.

A store holds one look at each image of a manifest, in shards of consecutive rows. A shard is one safetensors file with
an array a layer, ``[rows, ...]``, that readers map into memory; its header has the manifest's rows. Maps lie
channels-last in it, ``[rows, h, w, C]``, as the trunk computes them and heads read them. For training it has the
targets too that moved with the pictures onto the canvas. Shards are written whole or not at all, so a killed run loses
what it was computing and no more, and any number of processes may read.

What features are a function of is the store's recipe: the trunk's fingerprint, preprocessing, canvas, levels and their
pooling, precision, the versions that compute, for a random view its seed and number. A store of another recipe is only
replaced where that is asked for, or nothing was computed yet; a shard whose images, or their targets, have other names
or contents than when it was computed is stale, and computed again.
"""

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..backbones.errors import UserError
from ..datasets import FileState, Record, look_at_files
from .placed_targets import PackedNames
from .run_folder import holds_others, make_folder, replace_json, replacing
from .shard_file import ShardFile, write_tensors

FORMAT = 3

DTypeName = Literal["fp32", "fp16", "bf16"]
DTYPES: dict[DTypeName, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

#: Rows and bytes that a shard has at most, unless a single batch has more.
_SHARD_ROWS = 256
_SHARD_BYTES = 32 * 2**20
ABOUT = "store.json"
_SHARDS = "[0-9]*.safetensors"
#: Begins the names of arrays that aren't features.
_BESIDE = "beside/"
#: Files that are open at once, of those whose rows are read.
_OPEN_FILES = 64


class Row(NamedTuple):
    """One row of a store's manifest."""

    name: str
    """Of the image, as in its data set's manifest."""
    state: FileState
    """Of the file that the features were computed from."""
    error: str | None
    """Why there are no features: the reader's reason, without the path. The arrays then hold zeros."""
    annotation: str = ""
    """The hash of what was kept beside the features, ``Record.annotation``."""


class FeatureStore:
    """The features of one look at each image.

    Attributes:
        folder: Where it lies.
        recipe: Plain values: what the features are a function of, besides the files.
        layers: The shape of each layer's features of one image.
        dtype: Of the arrays.
        shard_rows: How many rows a shard has; the last one may have fewer.
        go_on: What to do after a disk was full, for the message.
        key: The SHA-256 of recipe, layers and dtype.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Mapping[str, Any],
        layers: Mapping[str, tuple[int, ...]],
        *,
        dtype: DTypeName = "fp32",
        rows: int,
        shard_rows: int,
    ) -> None:
        """Describe a store; nothing is read or written. See ``create`` and ``open``."""
        self.folder, self.recipe, self.dtype = folder, dict(recipe), dtype
        self.layers = {name: tuple(shape) for name, shape in layers.items()}
        self.shard_rows = shard_rows
        self.go_on = "run the same command again"
        self._rows = rows
        self._files: dict[int, tuple[ShardFile, PackedNames]] = {}
        self._open_files: list[ShardFile] = []
        facts = json.dumps([FORMAT, self.recipe, self.layers, self.dtype], sort_keys=True)
        self.key = hashlib.sha256(facts.encode()).hexdigest()

    @classmethod
    def create(
        cls,
        folder: Path,
        recipe: Mapping[str, Any],
        layers: Mapping[str, tuple[int, ...]],
        *,
        dtype: DTypeName,
        rows: int,
        batch_size: int,
        replaces: bool = False,
    ) -> "FeatureStore":
        """Return the store of a recipe in a folder: the one that was begun there, else a new one.

        Args:
            folder: Where it lies; made if it isn't there.
            recipe: What the features are a function of, besides the files.
            layers: The shape of each layer's features of one image.
            dtype: Of the arrays.
            rows: The number of images.
            batch_size: Of the computation: a new store's shards are whole batches, so that going on after an
                interruption computes the same batches.
            replaces: Whether a store of another recipe that was begun there is deleted first.

        Raises:
            UserError: The folder holds something else, or a store of another recipe that may not be replaced.
        """
        shard_rows = _shard_rows(batch_size, row_bytes(layers, dtype))
        store = cls(folder, recipe, layers, dtype=dtype, rows=rows, shard_rows=shard_rows)
        begun = _read_about(folder)
        if begun is not None and begun.get("key") == store.key:
            store.shard_rows = int(begun["shard_rows"])
            # but for the shards of images that are no longer there
            cls.delete(folder, keeping={folder / ABOUT, *map(store._path, range(len(store.shards)))})
        elif begun is None and folder.exists() and holds_others(folder, {f"{ABOUT}.part"}):
            raise UserError(f"'{folder}' isn't empty and holds no feature store. Move it away, or choose another.")
        elif begun is not None and not replaces and any(folder.glob(_SHARDS)):
            changed = [key for key in store.recipe if begun.get("recipe", {}).get(key) != _plain(store.recipe[key])]
            differs = f" ({', '.join(changed)})" if changed else ""
            raise UserError(
                f"'{folder}' holds features that were begun with other options{differs}. Go on with those, or drop "
                "what was computed: --overwrite."
            )
        else:
            cls.delete(folder)
        make_folder(folder)
        about = {"format": FORMAT, "key": store.key, "rows": rows, "shard_rows": store.shard_rows}
        about |= {"layers": {name: list(shape) for name, shape in store.layers.items()}, "dtype": dtype}
        replace_json(folder / ABOUT, {**about, "recipe": store.recipe})
        return store

    @classmethod
    def open(cls, folder: Path) -> "FeatureStore":
        """Return the store in a folder, for reading.

        Raises:
            UserError: There is none, or one that this release can't read.
        """
        about = _read_about(folder)
        if about is None or about.get("format") != FORMAT:
            raise UserError(f"'{folder}' holds no feature store that this release can read: no sound {ABOUT}.")
        layers = {name: tuple(shape) for name, shape in about["layers"].items()}
        return cls(
            folder,
            about["recipe"],
            layers,
            dtype=about["dtype"],
            rows=about["rows"],
            shard_rows=about["shard_rows"],
        )

    @staticmethod
    def begun_recipe(folder: Path) -> dict[str, Any]:
        """Return the recipe of the store that was begun in a folder; empty where none was."""
        return dict((_read_about(folder) or {}).get("recipe", {}))

    def __len__(self) -> int:
        """Return the number of rows, one an image."""
        return self._rows

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without open files, which no other process can use."""
        return {**self.__dict__, "_files": {}, "_open_files": []}

    @property
    def shards(self) -> list[range]:
        """The rows of each shard."""
        starts = range(0, self._rows, self.shard_rows)
        return [range(start, min(start + self.shard_rows, self._rows)) for start in starts]

    def missing(self, records: Sequence[Record], annotations: Sequence[str] | None = None) -> list[int]:
        """Return the shards that have to be computed: absent, damaged, or of images that are others now.

        Args:
            records: The manifest, a record a row.
            annotations: Of each record what its features' shard has to have been computed with; see ``Row``.
        """
        stale: set[int] = set()
        files = []
        for shard, places in enumerate(self.shards):
            try:
                rows = self.rows(shard)
            except (OSError, SafetensorError, ValueError):
                stale.add(shard)
                continue
            is_named_so = [row.name for row in rows] == [records[place].name for place in places]
            kept = [row.annotation for row in rows]
            if is_named_so and (not annotations or kept == annotations[places.start : places.stop]):
                files += [(shard, row.state, records[place].path) for row, place in zip(rows, places, strict=True)]
            else:
                stale.add(shard)
        still = look_at_files(lambda file: file[1].is_still(file[2]), files)
        stale |= {shard for (shard, _, _), is_still in zip(files, still, strict=True) if not is_still}
        return sorted(stale)

    def write(
        self,
        shard: int,
        rows: Sequence[Row],
        features: Mapping[str, Tensor],
        *,
        beside: Mapping[str, Tensor] | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Write a shard, whole or not at all.

        Args:
            shard: Its number.
            rows: The manifest's rows.
            features: The arrays ``[rows, ...]`` by layer.
            beside: More tensors to keep with them, see ``beside``.
            seconds: How long the shard took.

        Raises:
            UserError: The disk is full or the folder can't be written to.
        """
        self._files.pop(shard, None)
        arrays = {name: _channels_last(features[name].to(DTYPES[self.dtype])).contiguous() for name in self.layers}
        arrays |= {f"{_BESIDE}{name}": tensor.contiguous() for name, tensor in (beside or {}).items()}
        listing = [[row.name, *row.state, row.error, row.annotation] for row in rows]
        header = {"key": self.key, "rows": json.dumps(listing), "seconds": f"{seconds:015.6f}"}
        with replacing(self._path(shard), "wb", go_on=self.go_on) as stream:
            write_tensors(stream, arrays, header)

    def rows(self, shard: int) -> list[Row]:
        """Return a shard's rows of the manifest, as the file has them now.

        Raises:
            OSError, SafetensorError, ValueError: It is absent, damaged or of another recipe.
        """
        return self._listed(self._open(shard).metadata(), shard)

    def _listed(self, header: Mapping[str, str], shard: int) -> list[Row]:
        if header.get("key") != self.key:
            raise ValueError(f"{self._path(shard)} is of another recipe")
        listing = json.loads(header["rows"])
        return [Row(name, FileState(*state), error, annotation) for name, *state, error, annotation in listing]

    def manifest(self) -> list[Row]:
        """Return the row of every image, of a store that is complete; after ``hold`` as it was then."""
        found: list[Row] = []
        for shard in range(len(self.shards)):
            held = self._files.get(shard)
            found += self.rows(shard) if held is None else self._listed(held[0].metadata, shard)
        return found

    def seconds(self) -> float:
        """Return how long the shards that are there took to compute, whenever that was."""
        there = [shard for shard in range(len(self.shards)) if self._path(shard).is_file()]
        return sum(float(self._open(shard).metadata().get("seconds", 0)) for shard in there)

    def beside(self, place: int) -> dict[str, Tensor]:
        """Return what is kept beside the features of an image, by name."""
        shard, row = divmod(place, self.shard_rows)
        file, names = self._file(shard)
        found = {}
        for name in names.shared:
            array = file.arrays[f"{_BESIDE}{name}"]
            found[name] = torch.empty(array.shape[1:], dtype=array.dtype)
            file.read_row(f"{_BESIDE}{name}", row, found[name])
        return found | {key: file.read(f"{_BESIDE}{name}") for key, name in names.own(row)}

    def features(self, shard: int, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the arrays of a shard, mapped into memory for as long as they are held; see ``read``."""
        opened = self._open(shard)
        return {name: _channels_first(opened.get_tensor(name)) for name in (self.layers if layers is None else layers)}

    def read(self, places: Sequence[int], layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the features of some images, by their places in the manifest, in the order given.

        Args:
            places: Any of the rows, also several times.
            layers: Of which layers; all of them where it isn't said.

        Returns:
            Copies ``[len(places), ...]`` by layer. Maps are ``[len(places), C, h, w]``, channels-last in memory.
        """
        names = list(self.layers) if layers is None else list(layers)
        found = {name: empty_rows(len(places), self.layers[name], DTYPES[self.dtype]) for name in names}
        arrays = {name: _channels_last(array) for name, array in found.items()}
        for index, place in enumerate(places):
            shard, row = divmod(place, self.shard_rows)
            file, _ = self._file(shard)
            for name in names:
                file.read_row(name, row, arrays[name][index])
        return found

    def hold(self) -> None:
        """Look into every shard now, so that one which another process writes later is refused and not read.

        Raises:
            OSError, ValueError, KeyError: One is absent, damaged or of another recipe.
        """
        for shard in range(len(self.shards)):
            self._file(shard)

    def _file(self, shard: int) -> tuple[ShardFile, PackedNames]:
        if shard not in self._files:
            file = ShardFile(self._path(shard))
            if file.metadata.get("key") != self.key:
                raise ValueError(f"{self._path(shard)} is of another recipe")
            beside = (name.removeprefix(_BESIDE) for name in file.arrays if name.startswith(_BESIDE))
            self._files[shard] = file, PackedNames(beside)
        file, names = self._files[shard]
        if file not in self._open_files:
            self._open_files.append(file)
            if len(self._open_files) > _OPEN_FILES:
                self._open_files.pop(0).close()
        return file, names

    @staticmethod
    def delete(folder: Path, *, keeping: Collection[Path] = ()) -> None:
        """Delete what stores write into a folder, and the folder if nothing else is in it.

        Args:
            folder: Of a store, perhaps of a half deleted one.
            keeping: Files to keep.
        """
        for file in (*folder.glob(_SHARDS), *folder.glob("*.part"), folder / ABOUT):
            if file not in keeping:
                file.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()

    def _open(self, shard: int) -> Any:
        # no file stays open, only a mapping into memory
        return safe_open(self._path(shard), framework="pt").__enter__()  # type: ignore[no-untyped-call]

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:06}.safetensors"


def empty_rows(rows: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return an array ``[rows, *shape]`` to be filled; maps ``[rows, C, h, w]`` lie channels-last, as in shards."""
    if len(shape) != 3:
        return torch.empty(rows, *shape, dtype=dtype)
    return torch.empty(rows, *shape, dtype=dtype, memory_format=torch.channels_last)


def _channels_last(array: Tensor) -> Tensor:
    """Return maps as they lie in shards, ``[rows, h, w, C]``, and other arrays as they are."""
    return array.permute(0, 2, 3, 1) if array.dim() == 4 else array


def _channels_first(array: Tensor) -> Tensor:
    """Return maps of a shard as ``[rows, C, h, w]``, and other arrays as they are."""
    return array.permute(0, 3, 1, 2) if array.dim() == 4 else array


def row_bytes(layers: Mapping[str, tuple[int, ...]], dtype: DTypeName) -> int:
    """Return the bytes that the features of one image take."""
    return DTYPES[dtype].itemsize * sum(math.prod(shape) for shape in layers.values())


def _shard_rows(batch_size: int, bytes_a_row: int) -> int:
    batches = min(_SHARD_ROWS // batch_size, _SHARD_BYTES // (bytes_a_row * batch_size))
    return batch_size * max(1, batches)


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back."""
    return json.loads(json.dumps(value))


def _read_about(folder: Path) -> dict[str, Any] | None:
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else None
