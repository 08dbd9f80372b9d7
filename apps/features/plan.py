"""What an extraction will compute, and what that will take, before anything is computed."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ...backbones import UserError, build_backbone
from ...datasets import DataError
from ..config import canvas_of
from ..disk_space import free_bytes, size_text, stored_bytes
from ..extraction import FeatureNetwork
from ..inputs import InputRecipe
from ..run_folder import versions
from ..store import row_bytes
from .options import ExtractOptions
from .source import Source
from .table import COLUMNS, SEPARATOR

#: Bytes of components in a Parquet file: twice and a third of that in its footer, of which readers take 100 MB.
_LARGEST_FOOTER = 32 * 2**20


@dataclass(frozen=True)
class Plan:
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


def make_plan(network: FeatureNetwork, inputs: InputRecipe, source: Source, options: ExtractOptions) -> Plan:
    """Return what will be computed.

    Raises:
        UserError: For principal components of maps, or more than a file can hold.
        DataError: For a label that the file can't hold.
    """
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
        if is_parquet(options) and components > _LARGEST_FOOTER:
            raise UserError(
                f"--pca {options.pca} of these layers makes components of {size_text(components)}, more than the "
                "footer of a Parquet file can hold. Write .npz, .h5 or .safetensors, or take fewer."
            )
        _check_components(options.pca, shapes, source)
        maps = [name for name, shape in shapes.items() if len(shape) > 1]
        if maps:
            raise UserError(f"--pca takes vectors, and '{maps[0]}' is a map. Pool it: --pooling avg, max or flat.")
    return Plan(source, shapes, recipe, facts, range(options.views + 1))


def _check_components(components: int, shapes: Mapping[str, tuple[int, ...]], source: Source) -> None:
    """Refuse more components than there can be.

    Raises:
        UserError: Naming the layer, or how many images there are to fit on.
    """
    small = {name: math.prod(shape) for name, shape in shapes.items() if math.prod(shape) < components}
    if small:
        name, width = next(iter(small.items()))
        raise UserError(f"--pca {components}: '{name}' has only {width} numbers an image. Take fewer.")
    split = fitting_split(source)
    if split is None and source.splits:
        raise UserError("--pca is fitted on the training split, and no image is of it. Take --split all, or no --pca.")
    count = sum(source.splits.get(record.name) == split for record in source.records)
    if count < components:
        raise UserError(
            f"--pca {components} needs at least as many images to fit on, and there are {count} of them. Take fewer."
        )


def fitting_split(source: Source) -> str | None:
    """Return the split that anything is fitted on; nothing where there are no splits, and so every image serves."""
    return "train" if any(source.splits.get(record.name) == "train" for record in source.records) else None


def announce(plan: Plan, part: Path, options: ExtractOptions) -> None:
    """Print what will be written, before the work begins.

    Raises:
        UserError: The disk is too small for it.
    """
    rows = len(plan.source.records) * len(plan.views)
    in_store = rows * row_bytes(plan.shapes, options.dtype)
    kept = {name: kept_shape(shape, options.pca) for name, shape in plan.shapes.items()}
    in_file = rows * row_bytes(kept, _file_dtype(options))
    if options.pca is not None:  # the components; a Parquet file has them twice, once in base64
        in_file += 4 * options.pca * sum(map(math.prod, plan.shapes.values())) * (7 if is_parquet(options) else 3) // 3
    layers = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in plan.shapes.items())
    views = f", each plain and in {options.views} random views" if options.views else ""
    free = free_bytes(part)
    images = f"{len(plan.source.records):,} images{views}"
    print(f"{options.backbone} ({options.weights}): {layers}; {images}, {options.dtype}")
    print(
        f"{part}: {size_text(in_store)} while it runs; {options.output}: {size_text(in_file)}; free: {size_text(free)}"
    )
    needed = in_store + in_file - stored_bytes(part)
    if needed > free:
        raise UserError(
            f"'{part}' and '{options.output}' need {size_text(needed)} more, and the disk has {size_text(free)} "
            "free. Keep less (--pooling avg, --dtype fp16, fewer --layers or --views), or write to another disk: "
            "--output FILE."
        )


def is_parquet(options: ExtractOptions) -> bool:
    """Whether a Parquet file was asked for."""
    return options.output.lower().endswith(".parquet")


def kept_shape(shape: tuple[int, ...], pca: int | None) -> tuple[int, ...]:
    """Return the shape of a layer's features of one image in the file."""
    return shape if pca is None else (pca,)


def _file_dtype(options: ExtractOptions) -> Any:
    """Return the dtype in the file; only safetensors has bf16."""
    widens = options.dtype == "bf16" and not options.output.lower().endswith(".safetensors")
    return "fp32" if widens else options.dtype
