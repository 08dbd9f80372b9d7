"""``features extract``: images through a trunk into a store, and from there into a file."""

import json
import math
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from ...backbones import UserError, build_backbone
from ...datasets import DataError
from ..config import canvas_of, to_plain
from ..console import wide_console
from ..extraction import FeatureNetwork, fill
from ..inputs import InputRecipe, check_images, make_recipe
from ..interruption import Interrupted
from ..run_folder import check_writable, holds_others, replace_json, replacing, versions
from ..store import DTYPES, FeatureStore, Row, free_bytes, row_bytes, stored_bytes, writing_alone
from .files import FORMAT, kind_of, read_recipe
from .options import ExtractOptions
from .reduction import Reduction, fit_reduction
from .source import Source, open_source
from .table import COLUMNS, SEPARATOR, Columns, Export, Layer

_GO_ON = "run the same command again"
#: Says which file the parts beside it were written into.
_WRITTEN = "written.json"
#: Letters of a reason at most: archives of NumPy give every row as much room as the longest text.
_LONGEST_REASON = 200
#: Bytes of components in a Parquet file: twice and a third of that in its footer, of which readers take 100 MB.
_LARGEST_FOOTER = 32 * 2**20


def run_extraction(options: ExtractOptions) -> Path:
    """Write the features of images into a file, and return its path.

    Raises:
        UserError: For options, weights or data that can't be used, or a disk that is too small.
    """
    output = _check_output(options)
    part = output.with_name(output.name + ".part")
    kind = kind_of(output)
    if _is_written(part, output, options):  # it was interrupted right at its end
        with writing_alone(part):
            _delete(part)
        print(f"{output}: is whole; nothing was left to do")
        return output
    source = open_source(options)
    for note in source.notes:
        print(note)
    check_images(source.records, options)
    network = build_network(options)
    inputs = make_recipe(network.backbone.preprocessing, canvas_of(options.image_size), options.resize)
    plan = _plan(network, inputs, source, options)
    _announce(plan, part, options)
    with writing_alone(part), _keeping(part):
        _refuse_existing(output, options)  # another process may have written it in the meantime
        started = time.monotonic()
        stores, computed = _fill_stores(plan, part, network, inputs, options)
        seconds = time.monotonic() - started
        export = _export(plan, stores, options)
        written = part / output.name
        with replacing(written, "w+b", go_on=_GO_ON) as stream:
            kind.write(stream, export)
        read_recipe(written)  # nothing that can't be read takes the place of what it was made from
        replace_json(part / _WRITTEN, _marker(written, options))
        written.replace(output)
        _delete(part)
    _summarize(output, export, computed, seconds)
    return output


def _check_output(options: ExtractOptions) -> Path:
    """Return the file to write, where a link leads to.

    Raises:
        UserError: It can't be written, is there already, or would be taken for a part of the data.
    """
    output = Path(options.output)
    output = output.resolve() if output.is_symlink() else output
    kind_of(output)
    if output.is_dir():
        raise UserError(f"'{output}' is a folder. Choose a file: --output FILE.")
    if any("\ud800" <= letter <= "\udfff" for letter in str(output.absolute())):
        raise UserError(
            f"{str(output)!r}: the path isn't UTF-8, as the files below it need it. Choose another: --output FILE."
        )
    data, part = Path(options.data), output.with_name(output.name + ".part")
    if data.is_dir() and data.resolve() in output.resolve().parents:
        raise UserError(
            f"'{output}' lies in the data, '{data}': while it is written, its parts would be taken for data. Choose "
            "another place: --output FILE."
        )
    names = ("lock", _WRITTEN, output.name, *(f"{name}.part" for name in (_WRITTEN, output.name)))
    views = {path.name for path in part.glob("view-*")} if part.is_dir() else set()
    if part.exists() and holds_others(part, {*names, *views}):
        raise UserError(
            f"'{part}' holds something else than parts of features. Move it away, or choose another --output."
        )
    if not _is_written(part, output, options):
        _refuse_existing(output, options)
    check_writable(output.parent)
    return output


def _refuse_existing(output: Path, options: ExtractOptions) -> None:
    if output.exists() and not options.overwrite:
        raise UserError(f"'{output}' is already there. Write over it: --overwrite. Or elsewhere: --output FILE.")


def _marker(path: Path, options: ExtractOptions) -> dict[str, Any]:
    """Return what says that a file was written by a command: what it keeps when it is renamed, and the options."""
    status = path.stat()
    given = {name: value for name, value in to_plain(options).items() if name != "overwrite"}
    return {"file": [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns], "options": given}


def _is_written(part: Path, output: Path, options: ExtractOptions) -> bool:
    """Whether this very command has written the file, and only the parts it was made from are left to be removed."""
    try:
        marker = json.loads((part / _WRITTEN).read_text(encoding="utf-8"))
        return bool(marker == json.loads(json.dumps(_marker(output, options)))) and not options.overwrite
    except (OSError, ValueError):
        return False


def _delete(part: Path) -> None:
    """Delete what an extraction left beside its file; the marker last, so that it can be interrupted, too."""
    for folder in part.glob("view-*"):
        FeatureStore.delete(folder)
    (part / _WRITTEN).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Plan:
    """What will be computed, known before anything is.

    Attributes:
        source: The images.
        shapes: Of each layer's features of one image, before any reduction.
        recipe: What the features are a function of, besides the images and the view.
        facts: More for the file's recipe.
        views: The number of each view, 0 for the plain one.
    """

    source: Source
    shapes: Mapping[str, tuple[int, ...]]
    recipe: Mapping[str, Any]
    facts: Mapping[str, Any]
    views: range


def build_network(options: ExtractOptions) -> FeatureNetwork:
    """Return the trunk that the options name, with its weights; random ones are a function of the seed.

    Raises:
        UserError: For a network, weights or a layer that can't be had.
    """
    taken = sorted({*options.layers} & {*COLUMNS, "recipe", "columns", "attachments"})
    if taken:
        raise UserError(f"--layers {taken[0]}: the file has a column of that name. Take another module.")
    with torch.random.fork_rng(devices=[]):  # the process's generator stays as it is
        torch.manual_seed(options.seed)
        backbone = build_backbone(
            options.backbone,
            weights=str(options.weights),
            levels=options.layers,
            in_channels=options.channels,
            image_size=canvas_of(options.image_size),
        )
    for note in backbone.notes:
        print(note)
    return FeatureNetwork(backbone, pooling=options.pooling, options=options)


def _plan(network: FeatureNetwork, inputs: InputRecipe, source: Source, options: ExtractOptions) -> _Plan:
    recipe = {**network.recipe(inputs), "versions": versions()}
    if options.weights == "none":
        recipe["seed"] = options.seed
    facts: dict[str, Any] = {"data": {"path": str(options.data), "split": options.split, "split_origin": source.origin}}
    facts |= {"dtype": options.dtype, "pca": options.pca}
    if options.views:
        facts["views"] = {"count": options.views, "seed": options.seed, "augment": asdict(options.augment)}
    shapes = network.shapes(inputs.canvas)
    joined = [
        record for record in source.records if any(SEPARATOR in name for name in record.targets.get("labels", ()))
    ]
    if joined:
        raise DataError(
            f"{joined[0].path}: a label holds '{SEPARATOR}', which stands between labels in the file. Rename it."
        )
    if options.pca is not None:
        components = 4 * options.pca * sum(math.prod(shape) for shape in shapes.values())
        if options.output.lower().endswith(".parquet") and components > _LARGEST_FOOTER:
            raise UserError(
                f"--pca {options.pca} of these layers makes components of {_size(components)}, more than the footer of "
                "a Parquet file can hold. Write .npz, .h5 or .safetensors, or take fewer."
            )
        maps = [name for name, shape in shapes.items() if len(shape) > 1]
        if maps:
            raise UserError(f"--pca takes vectors, and '{maps[0]}' is a map. Pool it: --pooling avg, max or flat.")
    return _Plan(source, shapes, recipe, facts, range(options.views + 1))


def _announce(plan: _Plan, part: Path, options: ExtractOptions) -> None:
    """Print what will be written, before the work begins.

    Raises:
        UserError: The disk is too small for it.
    """
    rows = len(plan.source.records) * len(plan.views)
    in_store = rows * row_bytes(plan.shapes, options.dtype)
    kept = {name: _kept_shape(shape, options.pca) for name, shape in plan.shapes.items()}
    in_file = rows * row_bytes(kept, _file_dtype(options))
    layers = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in plan.shapes.items())
    views = f" in {len(plan.views)} views" if options.views else ""
    free = free_bytes(part)
    images = f"{len(plan.source.records):,} images{views}"
    print(f"{options.backbone} ({options.weights}): {layers}; {images}, {options.dtype}")
    print(f"{_size(in_store)} while it runs in {part}, {_size(in_file)} in {options.output}; {_size(free)} are free")
    needed = in_store + in_file - stored_bytes(part)
    if needed > free:
        raise UserError(
            f"'{part}' and '{options.output}' need {_size(needed)} more, and the disk has {_size(free)} free. Keep "
            "less (--pooling avg, --dtype fp16, fewer --layers or --views), or write to another disk: --output FILE."
        )


def _kept_shape(shape: tuple[int, ...], pca: int | None) -> tuple[int, ...]:
    return shape if pca is None else (pca,)


def _file_dtype(options: ExtractOptions) -> Any:
    """Return the dtype in the file; only safetensors has bf16."""
    widens = options.dtype == "bf16" and not options.output.lower().endswith(".safetensors")
    return "fp32" if widens else options.dtype


def _size(count: int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024  # type: ignore[assignment]
    return f"{count:.1f} TiB"


@contextmanager
def _keeping(part: Path) -> Iterator[None]:
    """Say what was kept where a signal stopped the work."""
    try:
        yield
    except Interrupted as stop:
        stop.add_note(f"stopped by {stop}; what was computed is in '{part}'. To go on, {_GO_ON}.")
        raise


def _fill_stores(
    plan: _Plan, part: Path, network: FeatureNetwork, inputs: InputRecipe, options: ExtractOptions
) -> tuple[list[FeatureStore], int]:
    """Return the complete store of each view, and how many images were computed for them."""
    stores, computed = [], 0
    with _progress() as progress:
        task = progress.add_task("images", total=len(plan.source.records) * len(plan.views))
        for view in plan.views:
            random_view = {"seed": options.seed, "number": view, "augment": asdict(options.augment)}
            store = FeatureStore.create(
                part / f"view-{view}",
                {**plan.recipe, "view": random_view} if view else plan.recipe,
                plan.shapes,
                dtype=options.dtype,
                rows=len(plan.source.records),
                batch_size=options.batch_size,
            )
            computed += fill(
                store,
                network,
                plan.source.records,
                inputs.augmentation(options.augment) if view else inputs.transform(),
                options,
                seed=options.seed,
                view=view,
                advance=lambda images: progress.advance(task, images),
            )
            stores.append(store)
    return stores, computed


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = wide_console()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _export(plan: _Plan, stores: Sequence[FeatureStore], options: ExtractOptions) -> Export:
    """Return what is to be written.

    Raises:
        DataError: No image could be read.
        UserError: There are too few images for the principal components.
    """
    manifests = [store.manifest() for store in stores]
    columns = _columns(plan.source, manifests)
    if all(error is not None for error in columns["error"]):
        raise DataError(
            f"{options.data}: none of the {len(columns['error'])} images could be read, e.g. "
            f"{columns['path'][0]}: {columns['error'][0]}"
        )
    reductions = {} if options.pca is None else _reductions(plan, stores, manifests, options.pca)
    about: dict[str, Any] = {}
    for name, shape in plan.shapes.items():
        about[name] = {"shape": list(_kept_shape(shape, options.pca)), "pooling": options.pooling}
        if reduction := reductions.get(name):
            fitted_on = _fitting_split(plan.source) or "all"
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


def _recipe(plan: _Plan, layers: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, **plan.recipe, **plan.facts, "layers": dict(layers)}


def _block(features: Tensor, empty: Tensor, reduction: Reduction | None) -> Tensor:
    """Return a shard's features as the file has them: reduced, and NaN where there are none."""
    kept = reduction(features) if reduction else features.clone()  # not the file that is mapped into memory
    kept[empty] = torch.nan
    return kept


def _reductions(
    plan: _Plan, stores: Sequence[FeatureStore], manifests: Sequence[Sequence[Row]], components: int
) -> dict[str, Reduction]:
    split = _fitting_split(plan.source)
    if split is None and plan.source.splits:
        raise UserError(
            "--pca is fitted on the training split, and no image is of it. Take --split all, or leave it out."
        )

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


def _fitting_split(source: Source) -> str | None:
    """Return the split that anything is fitted on; nothing where there are no splits, and so every image serves."""
    return "train" if any(source.splits.get(record.name) == "train" for record in source.records) else None


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


def _summarize(output: Path, export: Export, computed: int, seconds: float) -> None:
    bad = [place for place, error in enumerate(export.columns["error"]) if error is not None]
    for place in bad[:5]:
        print(f"no features: {export.columns['path'][place]}: {export.columns['error'][place]}")
    if len(bad) > 5:
        print(f"... and {len(bad) - 5:,} more; the column 'error' has the reasons")
    layers = ", ".join(f"{name} {'x'.join(map(str, layer.shape))}" for name, layer in export.layers.items())
    print(
        f"{output}: {len(export):,} rows, {len(bad)} of them without features; {layers}; "
        f"{_size(output.stat().st_size)}" + (f", {computed / seconds:.0f} images/s" if computed else "")
    )
