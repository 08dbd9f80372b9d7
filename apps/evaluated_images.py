"""What is kept of every image of a split, in memory and in the archive that runs are compared by."""

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..backbones.errors import UserError
from .run_folder import replacing

if TYPE_CHECKING:
    from .evaluation import Evaluator

#: What reading a damaged archive raises, or one of an app or evaluator that this release doesn't have.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    NotImplementedError,
    ImportError,
    zlib.error,
    zipfile.BadZipFile,
)
#: What the keys of subjects' images begin with in an archive.
_MEMBERS = "members."
#: What the keys of texts begin with, and those of where each ends.
_TEXTS, _ENDS = "text.", "ends."

Rows = Mapping[str, NDArray[Any]]
"""What is kept of images, by key; the first axis of each array is the image. Text of any length is of dtype object."""


@dataclass(frozen=True)
class EvaluatedImages:
    """What is kept of every image of a split, in the split's order.

    Attributes:
        indices: int64 ``[N]``: the place of each image in the split; skipped ones are missing.
        names: Of the images.
        rows: The evaluator's.
        contents: uint64 ``[N]``: a short hash of each one's file, 0 where it isn't known; nothing in archives of
            releases that didn't keep it.
        members: Where these are subjects: the images that each was judged by.
    """

    indices: NDArray[np.int64]
    names: tuple[str, ...]
    rows: Rows
    contents: NDArray[np.uint64] | None = None
    members: "Members | None" = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    @property
    def unit(self) -> str:
        """What each of them is: an ``image`` or a ``subject``."""
        return "image" if self.members is None else "subject"

    def select(self, places: Sequence[int] | NDArray[np.integer[Any]]) -> "EvaluatedImages":
        """Return some of the images, by their places among these."""
        chosen = np.asarray(places, dtype=np.intp)
        return EvaluatedImages(
            self.indices[chosen],
            tuple(self.names[place] for place in chosen),
            {key: array[chosen] for key, array in self.rows.items()},
            None if self.contents is None else self.contents[chosen],
            None if self.members is None else self.members.select(chosen, of=len(self)),
        )

    def with_contents(self, hashes: Mapping[str, int]) -> "EvaluatedImages":
        """Return them with the hashes of their files, by the images' names."""
        if self.members is None:
            return replace(self, contents=_look_up(hashes, self.names))
        images, contents = self.members.images, np.zeros(len(self), dtype=np.uint64)
        np.add.at(contents, self.members.places, _look_up(hashes, images.names))  # modulo 2**64, in whatever order
        return replace(self, contents=contents, members=replace(self.members, images=images.with_contents(hashes)))

    def save(self, path: Path, evaluator: "Evaluator") -> None:
        """Write them as a NumPy archive, whole or not at all, with what rebuilds the evaluator."""
        about = json.dumps({"task": evaluator.task, **evaluator.description()})
        with replacing(path, "wb") as stream:
            np.savez_compressed(stream, **{"about": np.array(about), **self._pack()})

    def _pack(self) -> dict[str, Any]:
        arrays = {"indices": self.indices, "names": np.array(self.names)}
        for key, array in self.rows.items():
            arrays |= _pack_texts(key, array) if array.dtype == object else {key: array}
        if self.contents is not None:
            arrays["contents"] = self.contents
        if self.members is not None:
            arrays[f"{_MEMBERS}places"] = self.members.places
            arrays |= {f"{_MEMBERS}{key}": array for key, array in self.members.images._pack().items()}
        return arrays


def _pack_texts(key: str, texts: NDArray[np.object_]) -> dict[str, NDArray[Any]]:
    """Return texts as one array of bytes and one of where each ends: padded to the longest they could fill the disk."""
    coded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return {
        f"{_TEXTS}{key}": np.frombuffer(b"".join(coded), dtype=np.uint8),
        f"{_ENDS}{key}": np.cumsum([len(text) for text in coded], dtype=np.int64),
    }


def _unpack_texts(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.object_]]:
    """Take what ``_pack_texts`` made out of an archive's arrays, and return the texts."""
    found = {}
    for packed in [key for key in arrays if key.startswith(_TEXTS)]:
        key = packed.removeprefix(_TEXTS)
        coded, ends = arrays.pop(packed).tobytes(), arrays.pop(f"{_ENDS}{key}").tolist()
        texts = [coded[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise([0, *ends])]
        found[key] = text_row(texts)
    return found


def text_row(texts: Sequence[str]) -> NDArray[np.object_]:
    """Return texts of any length as a row that is kept of images, ``[N]``."""
    row = np.empty(len(texts), dtype=object)
    row[:] = texts
    return row


def _look_up(hashes: Mapping[str, int], names: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([hashes.get(name, 0) for name in names], dtype=np.uint64)


@dataclass(frozen=True)
class Members:
    """The images of which subjects were judged.

    Attributes:
        images: Of all subjects.
        places: ``[M]``: for each image the place of its subject.
    """

    images: EvaluatedImages
    places: NDArray[np.intp]

    def select(self, chosen: NDArray[np.intp], *, of: int) -> "Members":
        """Return those of some of the subjects, by their places among ``of``."""
        moved = np.full(of, -1, dtype=np.intp)
        moved[chosen] = np.arange(len(chosen))
        kept = np.flatnonzero(moved[self.places] >= 0)
        return Members(self.images.select(kept), moved[self.places][kept])


def pool_images(parts: Sequence[EvaluatedImages]) -> EvaluatedImages:
    """Return all images, numbered anew: those of the first part, then those of the second, and so on."""
    names = tuple(name for part in parts for name in part.names)
    rows = {key: np.concatenate([part.rows[key] for part in parts]) for key in parts[0].rows}
    contents = [part.contents for part in parts if part.contents is not None]
    members = [part.members for part in parts if part.members is not None]
    before = np.cumsum([0, *map(len, parts)])
    return EvaluatedImages(
        np.arange(len(names)),
        names,
        rows,
        np.concatenate(contents) if len(contents) == len(parts) else None,
        Members(
            pool_images([each.images for each in members]),
            np.concatenate([each.places + start for each, start in zip(members, before[:-1], strict=True)]),
        )
        if len(members) == len(parts)
        else None,
    )


def read_images(path: Path) -> "tuple[EvaluatedImages, Evaluator]":
    """Return what :meth:`EvaluatedImages.save` wrote, and the evaluator that knows what to make of it.

    Raises:
        UserError: If the file can't be read.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        about = json.loads(str(arrays.pop("about")))
        images = _unpack(arrays)
        rebuild = import_module(f".{about['task']}.metrics", __package__).rebuild_evaluator
        evaluator: Evaluator = rebuild(about)
    except _DAMAGE as error:
        raise UserError(f"'{path}' is damaged, or of another release: {error}. Evaluate the model again.") from error
    return images, evaluator


def _unpack(arrays: dict[str, NDArray[Any]]) -> EvaluatedImages:
    inner = {key.removeprefix(_MEMBERS): arrays.pop(key) for key in list(arrays) if key.startswith(_MEMBERS)}
    members = Members(places=inner.pop("places"), images=_unpack(inner)) if inner else None
    arrays |= _unpack_texts(arrays)
    indices, names, contents = arrays.pop("indices"), arrays.pop("names"), arrays.pop("contents", None)
    return EvaluatedImages(indices, tuple(names.tolist()), arrays, contents, members)
