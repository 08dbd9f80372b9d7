"""Stored features: what a frozen trunk makes of images, computed once and kept on the disk.

A store holds one look at each image of a manifest, in shards of consecutive rows. A shard is one safetensors file with
an array a layer, ``[rows, ...]``, that readers map into memory; its header has the manifest's rows. For training it
has the targets too that moved with the pictures onto the canvas. Shards are written whole or not at all, so a killed
run loses what it was computing and no more, and any number of processes may read.

What features are a function of is the store's recipe: the trunk's fingerprint, preprocessing, canvas, levels and their
pooling, precision, the versions that compute, for a random view its seed and number. A store of another recipe is only
replaced where that is asked for; a shard whose images, or their targets, have other names or contents than when it was
computed is stale, and computed again.
"""

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..backbones.errors import UserError
from ..datasets import FileState, Record
from .run_folder import holds_others, make_folder, replace_json, replacing

FORMAT = 2

DTypeName = Literal["fp32", "fp16", "bf16"]
DTYPES: dict[DTypeName, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

#: Rows and bytes that a shard has at most, unless a single batch has more.
_SHARD_ROWS = 256
_SHARD_BYTES = 32 * 2**20
_ABOUT = "store.json"
#: Begins the names of arrays that aren't features.
_BESIDE = "beside/"
_GO_ON = "run the same command again"


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
        self._rows = rows
        self._opened: dict[int, Any] = {}
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
            cls.delete(folder, keeping={folder / _ABOUT, *map(store._path, range(len(store.shards)))})
        elif begun is None and folder.exists() and holds_others(folder, {f"{_ABOUT}.part"}):
            raise UserError(f"'{folder}' isn't empty and holds no feature store. Move it away, or choose another.")
        elif begun is not None and not replaces:
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
        replace_json(folder / _ABOUT, {**about, "recipe": store.recipe})
        return store

    @classmethod
    def open(cls, folder: Path) -> "FeatureStore":
        """Return the store in a folder, for reading.

        Raises:
            UserError: There is none, or one that this release can't read.
        """
        about = _read_about(folder)
        if about is None or about.get("format") != FORMAT:
            raise UserError(f"'{folder}' holds no feature store that this release can read: no sound {_ABOUT}.")
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
        return {**self.__dict__, "_opened": {}}

    @property
    def shards(self) -> list[range]:
        """The rows of each shard."""
        starts = range(0, self._rows, self.shard_rows)
        return [range(start, min(start + self.shard_rows, self._rows)) for start in starts]

    def missing(self, records: Sequence[Record], *, with_targets: bool = False) -> list[int]:
        """Return the shards that have to be computed: absent, damaged, or of images that are others now.

        Args:
            records: The manifest, a record a row.
            with_targets: Whether also those count of which the targets that move with the images are others now.
        """
        with ThreadPoolExecutor(max_workers=8) as pool:
            return [
                shard
                for shard, places in enumerate(self.shards)
                if not self._is_current(shard, [records[place] for place in places], pool, with_targets)
            ]

    def _is_current(self, shard: int, records: Sequence[Record], pool: ThreadPoolExecutor, with_targets: bool) -> bool:
        try:
            rows = self.rows(shard)
        except (OSError, SafetensorError, ValueError):
            return False
        if [row.name for row in rows] != [record.name for record in records]:
            return False
        if with_targets and [row.annotation for row in rows] != [record.annotation for record in records]:
            return False
        return all(pool.map(FileState.is_still, [row.state for row in rows], [record.path for record in records]))

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
        self._opened.pop(shard, None)
        arrays = {name: features[name].to(DTYPES[self.dtype]).contiguous() for name in self.layers}
        arrays |= {f"{_BESIDE}{name}": tensor.contiguous() for name, tensor in (beside or {}).items()}
        listing = [[row.name, *row.state, row.error, row.annotation] for row in rows]
        header = {"key": self.key, "rows": json.dumps(listing), "seconds": f"{seconds:.6f}"}
        with replacing(self._path(shard), "wb", go_on=_GO_ON) as stream:
            stream.write(save(arrays, metadata=header))

    def rows(self, shard: int) -> list[Row]:
        """Return a shard's rows of the manifest.

        Raises:
            OSError, SafetensorError, ValueError: It is absent, damaged or of another recipe.
        """
        header = self._open(shard).metadata()
        if header.get("key") != self.key:
            raise ValueError(f"{self._path(shard)} is of another recipe")
        listing = json.loads(header["rows"])
        return [Row(name, FileState(*state), error, annotation) for name, *state, error, annotation in listing]

    def manifest(self) -> list[Row]:
        """Return the row of every image, of a store that is complete."""
        return [row for shard in range(len(self.shards)) for row in self.rows(shard)]

    def seconds(self) -> float:
        """Return how long the shards that are there took to compute, whenever that was."""
        there = [shard for shard in range(len(self.shards)) if self._path(shard).is_file()]
        return sum(float(self._open(shard).metadata().get("seconds", 0)) for shard in there)

    def beside(self, shard: int) -> dict[str, Tensor]:
        """Return what a shard keeps beside its features, by name."""
        opened = self._kept_open(shard)
        names = [name for name in opened.keys() if name.startswith(_BESIDE)]  # it is no dict
        return {name.removeprefix(_BESIDE): opened.get_tensor(name) for name in names}

    def features(self, shard: int, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the arrays of a shard, mapped into memory for as long as they are held."""
        opened = self._open(shard)
        return {name: opened.get_tensor(name) for name in (self.layers if layers is None else layers)}

    def read(self, places: Sequence[int], layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the features of some images, by their places in the manifest, in the order given.

        Args:
            places: Any of the rows, also several times.
            layers: Of which layers; all of them where it isn't said.

        Returns:
            Copies ``[len(places), ...]`` by layer.
        """
        names = list(self.layers) if layers is None else list(layers)
        found = {name: torch.empty(len(places), *self.layers[name], dtype=DTYPES[self.dtype]) for name in names}
        for index, place in enumerate(places):
            shard, row = divmod(place, self.shard_rows)
            opened = self._kept_open(shard)
            for name in names:
                found[name][index] = opened.get_slice(name)[row]
        return found

    @staticmethod
    def delete(folder: Path, *, keeping: Collection[Path] = ()) -> None:
        """Delete what stores write into a folder, and the folder if nothing else is in it.

        Args:
            folder: Of a store, perhaps of a half deleted one.
            keeping: Files to keep.
        """
        for file in (*folder.glob("[0-9]*.safetensors"), *folder.glob("*.part"), folder / _ABOUT):
            if file not in keeping:
                file.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()

    def _kept_open(self, shard: int) -> Any:
        if shard not in self._opened:
            self._opened[shard] = self._open(shard)
        return self._opened[shard]

    def _open(self, shard: int) -> Any:
        # no file stays open, only a mapping into memory
        return safe_open(self._path(shard), framework="pt").__enter__()  # type: ignore[no-untyped-call]

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:06}.safetensors"


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
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else None


@contextmanager
def writing_alone(folder: Path, *, chosen_by: str = "--output") -> Iterator[None]:
    """Keep other processes from writing into a folder meanwhile; readers need no lock. The folder goes if it is empty.

    Args:
        folder: Made if it isn't there.
        chosen_by: The option that names another folder, for messages.

    Raises:
        UserError: Another process is writing.
    """
    path = make_folder(folder) / "lock"
    with path.open("w") as lock:
        try:
            # not flock, which loaders' workers inherit: they outlive a killed process by seconds
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            is_busy = error.errno in (errno.EAGAIN, errno.EACCES)
            reason = (
                "another process is writing there. Wait for it"
                if is_busy
                else f"{error.strerror}. Move to another disk"
            )
            raise UserError(f"'{folder}' can't be locked: {reason}, or choose another {chosen_by}.") from None
        if not (path.exists() and os.path.samestat(path.stat(), os.fstat(lock.fileno()))):
            # the process that had it went in between, and took the file away
            raise UserError(f"'{folder}' can't be locked: another process has just left it. Run the command again.")
        try:
            yield
        finally:
            path.unlink()
            with suppress(OSError):  # not empty, or another process has begun
                folder.rmdir()


def free_bytes(folder: Path) -> int:
    """Return the room on the disk on which a folder lies or will lie."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def stored_bytes(folder: Path) -> int:
    """Return the bytes of the files below a folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def size_text(count: int) -> str:
    """Return a number of bytes as people read it, ``1.9 MiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024  # type: ignore[assignment]
    return f"{count:.1f} TiB"
