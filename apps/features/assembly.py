"""From stores to what a feature file holds: rows with all that is known of them, and the features, block by block."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..store import DTYPES, FeatureStore, Row
from .files import FORMAT
from .options import ExtractOptions
from .plan import Plan, fitting_split, kept_shape
from .reduction import Reduction, fit_reduction
from .source import Source
from .table import COLUMNS, SEPARATOR, Columns, Export, Layer

#: Letters of a reason at most: archives of NumPy give every row as much room as the longest text.
_LONGEST_REASON = 200


def make_export(plan: Plan, stores: Sequence[FeatureStore], options: ExtractOptions) -> Export:
    """Return what is to be written.

    Raises:
        UserError: There are too few images for the principal components.
    """
    manifests = [store.manifest() for store in stores]
    columns = _columns(plan.source, manifests)
    is_empty = all(error is not None for error in columns["error"])
    reductions = {} if options.pca is None or is_empty else _reductions(plan, stores, manifests, options.pca)
    about: dict[str, Any] = {}
    for name, shape in plan.shapes.items():
        about[name] = {"shape": list(kept_shape(shape, options.pca)), "pooling": options.pooling}
        if reduction := reductions.get(name):
            fitted_on = fitting_split(plan.source) or "all"
            pca = {"components": options.pca, "fitted_on": fitted_on, "images": reduction.images}
            about[name]["pca"] = {**pca, "explained_variance": reduction.explained}

    def blocks(layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        for store, manifest in zip(stores, manifests, strict=True):
            for shard, places in enumerate(store.shards):
                empty = torch.tensor([manifest[place].error is not None for place in places])
                yield {
                    name: _block(features, empty, reductions.get(name))
                    for name, features in store.features(shard, layers).items()
                }

    return Export(
        columns=columns,
        layers={name: Layer(tuple(facts["shape"]), DTYPES[options.dtype]) for name, facts in about.items()},
        recipe=_recipe(plan, about),
        attachments={key: each for name, one in reductions.items() for key, each in one.attachments(name).items()},
        blocks=blocks,
    )


def _recipe(plan: Plan, layers: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, **plan.recipe, **plan.facts, "layers": dict(layers)}


def _block(features: Tensor, empty: Tensor, reduction: Reduction | None) -> Tensor:
    """Return a shard's features as the file has them: reduced, and NaN where there are none."""
    # a copy, and not the file that is mapped into memory
    kept = reduction(features) if reduction else features.clone(memory_format=torch.contiguous_format)
    kept[empty] = torch.nan
    return kept


def _reductions(
    plan: Plan, stores: Sequence[FeatureStore], manifests: Sequence[Sequence[Row]], components: int
) -> dict[str, Reduction]:
    split = fitting_split(plan.source)

    def rows(layer: str) -> Iterator[Tensor]:
        for store, manifest in zip(stores, manifests, strict=True):
            for shard, places in enumerate(store.shards):
                chosen = [
                    row
                    for row, place in enumerate(places)
                    if manifest[place].error is None and plan.source.splits.get(manifest[place].name) == split
                ]
                if chosen:
                    yield store.features(shard, [layer])[layer][chosen]

    described = f"the split '{split}'" if split else "the folder"
    return {name: fit_reduction(rows(name), components, layer=name, split=described) for name in plan.shapes}


def _columns(source: Source, manifests: Sequence[Sequence[Row]]) -> Columns:
    """Return what is known of each row: every image in the manifest's order, view after view."""
    records = [record for _ in manifests for record in source.records]
    rows = [row for manifest in manifests for row in manifest]
    columns: dict[str, list[Any]] = {
        "name": [_text(record.name) for record in records],
        "path": [_text(str(record.path)) for record in records],
        "label": [_text(record.targets.get("label")) for record in records],
        "labels": [_text(SEPARATOR.join(record.targets.get("labels", ()))) for record in records],
        "split": [source.splits.get(record.name) for record in records],
        "subject": [_text(record.targets.get("subject")) for record in records],
        "sha256": [row.state.sha256 or None for row in rows],
        "error": [
            row.error and _text(textwrap.shorten(row.error, _LONGEST_REASON, placeholder=" ...")) for row in rows
        ],
        "view": [view for view, manifest in enumerate(manifests) for _ in manifest],
    }
    optional = {
        "labels": any("labels" in record.targets for record in source.records),
        "subject": any("subject" in record.targets for record in source.records),
        "view": len(manifests) > 1,
    }
    return {name: columns[name] for name in COLUMNS if optional.get(name, True)}


def _text(name: str | None) -> str | None:
    """Return a name as UTF-8; bytes that aren't are escaped."""
    return None if name is None else name.encode("utf-8", "backslashreplace").decode()
