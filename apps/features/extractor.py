"""A trunk as a scikit-learn transformer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from ...backbones.errors import UserError, unknown
from ...datasets import Transform, convert_image, read_image
from ...datasets.file_state import read_signature
from ..config import canvas_of
from ..extraction import FeatureNetwork
from ..hardware import choose_workers
from ..inputs import InputRecipe, make_recipe
from .options import ExtractOptions
from .plan import build_network

TablePooling = Literal["avg", "max", "flat"]
"""How maps become vectors."""

#: Networks that are kept for the next clone: a grid search makes one for each fold and candidate.
_KEPT_NETWORKS = 2
#: Clones in threads share a network, and its taps read one pass at a time.
_RUNNING = Lock()


class FeatureExtractor(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Turns pictures into the vectors that ``features extract`` writes.

    It learns nothing: ``fit`` only builds the trunk, and labels don't matter. In a grid search over what follows it,
    give the pipeline a ``memory``, or the same pictures go through the trunk once for each candidate.

    ``X`` is a list or array of paths, of PIL images, or of arrays ``[H, W]`` or ``[H, W, C]``; or an array
    ``[N, H, W]`` or ``[N, H, W, C]``. Arrays hold uint8 in 0..255, or floats in 0..1. Pictures needn't have one size.

    Args:
        backbone: The trunk, a name from ``onetrunk backbones list``.
        weights: As ``--weights``: ``imagenet``, a named set, a file, a run's folder, or ``none``.
        layer: ``embedding``, a level such as ``c4``, ``fc7``, or any module by name.
        pooling: Of maps: ``avg``, ``max``, or ``flat`` for one long vector.
        image_size: Side of the square canvas, or its height and width; unset: the weights' own.
        channels: 3 for colour, 1 for grey.
        resize: ``crop``, ``pad`` or ``stretch``, as a picture comes onto the canvas.
        batch_size: Pictures a step.
        precision: ``fp32``, ``bf16`` or ``auto``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        seed: Of random weights.

    Attributes:
        n_features_out_: Length of the vectors; there after ``fit``.
    """

    n_features_out_: int

    def __init__(  # noqa: PLR0913  # scikit-learn reads them off the signature
        self,
        backbone: str = "resnet50",
        *,
        weights: str = "imagenet",
        layer: str = "embedding",
        pooling: TablePooling = "avg",
        image_size: int | Sequence[int] | None = None,
        channels: int = 3,
        resize: Literal["crop", "pad", "stretch"] = "crop",
        batch_size: int = 32,
        precision: Literal["auto", "fp32", "bf16"] = "fp32",
        device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
        seed: int = 0,
    ) -> None:
        """See the class."""
        self.backbone = backbone
        self.weights = weights
        self.layer = layer
        self.pooling = pooling
        self.image_size = image_size
        self.channels = channels
        self.resize = resize
        self.batch_size = batch_size
        self.precision = precision
        self.device = device
        self.seed = seed

    def fit(self, X: Any = None, y: Any = None) -> FeatureExtractor:  # scikit-learn's name
        """Build the trunk; the pictures aren't looked at.

        Raises:
            UserError: For a trunk, weights or layer that can't be had.
        """
        if self.pooling not in get_args(TablePooling):
            raise unknown("pooling", str(self.pooling), get_args(TablePooling))
        if not isinstance(self.layer, str):
            raise UserError(f"layer is the name of one layer, not {self.layer!r}. For several, take a FeatureUnion.")
        if not isinstance(self.batch_size, Integral) or self.batch_size < 1:
            raise UserError(f"batch_size is 1 or more, not {self.batch_size!r}.")
        network, inputs = self._network()
        shape = network.shapes(inputs.canvas)[self.layer]
        self.n_features_out_ = int(np.prod(shape))
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return ``[N, D]`` for N pictures.

        Raises:
            UserError: Naming a picture that can't be read, or what isn't one.
        """
        check_is_fitted(self)
        network, inputs = self._network()
        pictures = list_items(X)
        found = [np.empty((0, self.n_features_out_), dtype=np.float32)] if not pictures else []
        for canvases in _batches(pictures, inputs.transform(), channels=self.channels, size=self.batch_size):
            with _RUNNING:
                found.append(network(canvases)[self.layer].flatten(1).cpu().numpy())
        return np.concatenate(found)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return ``embedding0``, ``embedding1`` and so on."""
        check_is_fitted(self)
        return np.array([f"{self.layer}{index}" for index in range(self.n_features_out_)], dtype=np.object_)

    def _network(self) -> tuple[FeatureNetwork, InputRecipe]:
        settings = {name: value for name, value in self.get_params(deep=False).items() if name != "batch_size"}
        size = settings["image_size"]
        settings["image_size"] = (int(size),) if isinstance(size, Integral) else size and tuple(map(int, size))
        settings["weights"] = str(self.weights)
        return _build(tuple(settings.items()), _weights_state(Path(self.weights)))

    def __sklearn_tags__(self) -> Tags:
        """Return what scikit-learn's checks may ask of it: pictures, no table of numbers, and no fit to data."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = tags.input_tags.three_d_array = tags.input_tags.string = True
        tags.no_validation = True
        return tags


@lru_cache(maxsize=_KEPT_NETWORKS)
def _build(
    settings: tuple[tuple[str, Any], ...], weights_state: tuple[tuple[int, int, int], ...]
) -> tuple[FeatureNetwork, InputRecipe]:
    """Return the network of an extractor, and how pictures come onto its canvas.

    Args:
        settings: The extractor's parameters, of which it is a function.
        weights_state: What tells the files of its weights from those of before.
    """
    given = dict(settings)
    size = given.pop("image_size")
    image_size = None if size is None else list(size)
    options = ExtractOptions(data="", output="", layers=[given.pop("layer")], image_size=image_size, **given)
    network = build_network(options)
    return network, make_recipe(network.backbone.preprocessing, canvas_of(image_size), options.resize)


def _weights_state(path: Path) -> tuple[tuple[int, int, int], ...]:
    """Return the signatures of the files of weights that a path names, nothing for a published set."""
    files = sorted(path.rglob("model.safetensors")) if path.is_dir() else [path] if path.is_file() else []
    return tuple(map(read_signature, files))


def list_items(items: Any) -> list[Any]:
    """Return pictures one by one.

    Raises:
        UserError: They are numbers that make no pictures, or a single path.
    """
    if isinstance(items, str | os.PathLike | Image.Image):
        raise UserError(f"X is a list of pictures, not one of them: [{items!r}].")
    if hasattr(items, "to_numpy"):  # a column of a data frame
        items = items.to_numpy()
    if isinstance(items, np.ndarray) and items.dtype.kind not in "OUS" and items.ndim not in (3, 4):
        raise UserError(
            f"X is an array of shape {items.shape}: pictures are [N, H, W] or [N, H, W, C], or a list of paths."
        )
    found = list(items)
    # a column of a table: [N, 1]
    return [
        each[0] if isinstance(each, np.ndarray) and each.dtype.kind in "OU" and each.shape == (1,) else each
        for each in found
    ]


def open_picture(item: Any, place: int, *, channels: int) -> Image.Image:
    """Return a picture as RGB or grey, from a path, a PIL image or an array.

    Raises:
        UserError: It is none of these, or can't be read.
    """
    if isinstance(item, str | os.PathLike):
        return read_image(Path(item), channels=channels)
    name = f"picture {place} of X"
    if isinstance(item, np.ndarray):
        item = _from_array(item, name)
    if not isinstance(item, Image.Image):
        raise UserError(f"{name} is a {type(item).__name__}: pictures are paths, PIL images or arrays.")
    return convert_image(item, name, channels=channels)


def _from_array(array: NDArray[Any], name: str) -> Image.Image:
    is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3, 4))
    if not is_picture or 0 in array.shape:
        raise UserError(
            f"{name} is an array of shape {array.shape}: pictures are [H, W] or [H, W, C] with 1, 3 or 4 C."
        )
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # also NaN
            raise UserError(f"{name} holds floats from {array.min()} to {array.max()}; they lie between 0 and 1.")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise UserError(f"{name} is an array of {array.dtype}: pictures are uint8 in 0..255, or floats in 0..1.")
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array)


def _batches(items: Sequence[Any], transform: Transform, *, channels: int, size: int) -> Iterator[torch.Tensor]:
    """Return uint8 ``[B, C, H, W]``; the next batch is read while the trunk sees this one."""

    def canvas(place: int) -> torch.Tensor:
        return transform(open_picture(items[place], place, channels=channels))[0]

    starts = range(0, len(items), size)
    with ThreadPoolExecutor(max_workers=max(1, choose_workers(None))) as pool:  # Pillow lets threads run side by side

        def read(start: int) -> Iterable[torch.Tensor]:
            return pool.map(canvas, range(start, min(start + size, len(items))))

        coming = read(0) if items else ()
        for start in starts:
            batch, coming = list(coming), read(start + size)
            yield torch.stack(batch)
