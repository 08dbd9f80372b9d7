"""``features search``: the images whose features point in the most similar direction."""

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table
from sklearn.neighbors import NearestNeighbors

from ...backbones import build_backbone
from ...backbones.errors import UserError
from ...datasets import DataError, find_bad_images, list_pictures, read_image
from ..config import ComputeOptions
from ..console import wide_console
from ..extraction import FeatureNetwork
from ..inputs import InputRecipe
from .files import read_features, read_recipe
from .options import SearchOptions
from .reduction import read_reduction
from .table import FeatureTable, choose_layer

_BATCH_SIZE = 32


def run_search(options: SearchOptions) -> list[list[dict[str, Any]]]:
    """Print and return for each query the images with the most similar features, the nearest first.

    Raises:
        UserError: For a file or a picture that can't be read, or weights that are no longer those of the file.
    """
    there = tuple(read_recipe(options.features)["layers"])
    layer = choose_layer(there, options.layer or there[0])
    if len(there) > 1 and options.layer is None and not options.json:
        print(f"by {layer}, the first of {', '.join(there)}; another: --layer")
    table = read_features(options.features, [layer])
    channels = table.recipe["inputs"]["channels"]
    transform = InputRecipe.from_dict(table.recipe["inputs"]).transform()
    records = [record for query in options.query for record in list_pictures([query])]
    if bad := find_bad_images(records):
        raise DataError("\n".join(["Queries that can't be read:", *(f"  {sample.reason}" for sample in bad)]))
    canvases = torch.stack([transform(read_image(record.path, channels=channels))[0] for record in records])
    network = rebuild_network(table.recipe, options.device, options.features)
    features = torch.cat([network(batch)[layer].cpu() for batch in torch.split(canvases, _BATCH_SIZE)])
    reduction = read_reduction(table.attachments, layer, table.recipe["layers"][layer])
    queries = (reduction(features) if reduction else features.flatten(1)).numpy()
    places = np.flatnonzero(table.is_sound & table.is_plain_view)
    similarities, nearest = nearest_by_cosine(table.layer(layer)[places], queries, options.top)
    found = [_rows(table, places[row], similarity) for row, similarity in zip(nearest, similarities, strict=True)]
    names = [record.name for record in records]
    if options.json:
        print(json.dumps([{"query": name, "nearest": rows} for name, rows in zip(names, found, strict=True)]))
    else:
        _print(names, found)
    return found


def nearest_by_cosine(
    features: NDArray[Any], queries: NDArray[Any], top: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the cosines and the places of the features nearest to each query, the nearest first.

    Exact: by faiss where it is installed, which is faster on millions, else by scikit-learn.

    Args:
        features: ``[N, D]``.
        queries: ``[Q, D]``.
        top: How many, at most all.

    Returns:
        Two arrays ``[Q, min(top, N)]``.
    """
    there, asked = _unit(features), _unit(queries)
    count = min(top, len(there))
    if find_spec("faiss"):
        index = import_module("faiss").IndexFlatIP(there.shape[1])
        index.add(there)
        similarities, places = index.search(asked, count)
        return similarities, places
    distances, places = NearestNeighbors(n_neighbors=count, metric="cosine").fit(there).kneighbors(asked)
    return (1 - distances).astype(np.float32), places


def _unit(features: NDArray[Any]) -> NDArray[np.float32]:
    wide = np.ascontiguousarray(features, dtype=np.float32)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: NDArray[np.float32] = wide / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def rebuild_network(recipe: Mapping[str, Any], device: Any, path: str) -> FeatureNetwork:
    """Return the trunk that the features of a file were made with.

    Raises:
        UserError: Its weights can't be had, or are others now.
    """
    about = recipe["backbone"]
    torch.manual_seed(recipe.get("seed", 0))
    backbone = build_backbone(**about["recipe"], weights=about["weights"])
    if backbone.fingerprint() != about["fingerprint"]:
        raise UserError(
            f"{path}: its features were made with other weights than '{about['weights']}' has now "
            f"(SHA-256 {about['fingerprint'][:12]}…, now {backbone.fingerprint()[:12]}…). Extract them anew."
        )
    options = ComputeOptions(device=device, precision=recipe["precision"])
    return FeatureNetwork(backbone, pooling=recipe["pooling"], options=options)


def _rows(table: FeatureTable, places: NDArray[np.int64], similarities: NDArray[np.float32]) -> list[dict[str, Any]]:
    shown = [name for name in ("label", "labels", "split", "name", "path") if name in table.columns]
    return [
        {"similarity": round(float(similarity), 6), **{name: table.columns[name][place] for name in shown}}
        for place, similarity in zip(places.tolist(), similarities, strict=True)
    ]


def _print(queries: Sequence[str], found: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    console = wide_console()
    for query, rows in zip(queries, found, strict=True):
        console.print(f"nearest to {query}", soft_wrap=True)
        key = "labels" if rows and "labels" in rows[0] else "label"
        table = Table("", "similarity", key, "split", "path")
        for rank, row in enumerate(rows, start=1):
            table.add_row(str(rank), f"{row['similarity']:.4f}", row[key] or "", row["split"] or "", row["path"])
        console.print(table)
