"""``features extract``: images through a trunk into a store, and from there into a file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from ...datasets import DataError, SampleDataset
from ..config import canvas_of
from ..console import ImageProgress
from ..disk_space import size_text
from ..extraction import FeatureNetwork, settle_trunk
from ..filling import Filling, fill
from ..folder_lock import writing_alone
from ..inputs import InputRecipe, check_images, make_recipe
from ..interruption import Interrupted
from ..run_folder import replace_json, replacing
from ..store import FeatureStore
from .assembly import make_export
from .files import kind_of, read_recipe
from .options import ExtractOptions
from .parts import WRITTEN, check_output, delete_parts, is_written, marker_of, parts_folder, refuse_existing
from .plan import Plan, announce, build_network, make_plan
from .source import Source, open_source
from .table import Export

_GO_ON = "run the same command again"


def run_extraction(options: ExtractOptions) -> Path:
    """Write the features of images into a file, and return its path.

    Raises:
        UserError: For options, weights or data that can't be used, or a disk that is too small.
    """
    output = check_output(options)
    part = parts_folder(output)
    kind = kind_of(output)
    if is_written(part, output, options):  # it was interrupted right at its end
        with writing_alone(part):
            delete_parts(part)
        print(f"{output}: is whole; nothing was left to do")
        return output
    source = open_source(options)
    for note in source.notes:
        print(note)
    check_images(source.records, options)
    network = build_network(options)
    inputs = make_recipe(network.backbone.preprocessing, canvas_of(options.image_size), options.resize)
    _settle_form(network, inputs, source, part, options)
    plan = make_plan(network, inputs, source, options)
    announce(plan, part, options)
    with writing_alone(part), _keeping(part):
        refuse_existing(output, options)  # another process may have written it in the meantime
        started = time.monotonic()
        stores, computed = _fill_stores(plan, part, network, inputs, options)
        seconds = time.monotonic() - started
        export = make_export(plan, stores, options)
        if not export.has_features:
            delete_parts(part)
            columns = export.columns
            raise DataError(
                f"{options.data}: none of the {len(export)} images could be read, e.g. {columns['path'][0]}: "
                f"{columns['error'][0]}"
            )
        written = part / output.name
        with replacing(written, "w+b", go_on=_GO_ON) as stream:
            kind.write(stream, export)
        read_recipe(written)  # nothing that can't be read takes the place of what it was made from
        replace_json(part / WRITTEN, marker_of(written, options))
        written.replace(output)
        delete_parts(part)
    _summarize(output, export, computed, seconds)
    return output


def _settle_form(
    network: FeatureNetwork, inputs: InputRecipe, source: Source, part: Path, options: ExtractOptions
) -> None:
    """Bring the trunk into its form, that of an extraction which goes on."""
    trunk = settle_trunk(network.backbone, source.records, inputs.transform(), options, canvas=inputs.canvas)
    begun = FeatureStore.begun_recipe(part / "view-0")
    network.run_in(replace(trunk.form, is_compiled=begun.get("compiled", trunk.form.is_compiled)), trunk)


@contextmanager
def _keeping(part: Path) -> Iterator[None]:
    """Say what was kept where a signal stopped the work."""
    try:
        yield
    except Interrupted as stop:
        stop.add_note(f"stopped by {stop}; what was computed is in '{part}'. To go on, {_GO_ON}.")
        raise


def _fill_stores(
    plan: Plan, part: Path, network: FeatureNetwork, inputs: InputRecipe, options: ExtractOptions
) -> tuple[list[FeatureStore], int]:
    """Return the complete store of each view, and how many images were computed for them."""
    fillings = []
    records = [replace(record, targets={}) for record in plan.source.records]
    for view in plan.views:
        random_view = {"seed": options.seed, "number": view, "augment": asdict(options.augment)}
        store = FeatureStore.create(
            part / f"view-{view}",
            {**plan.recipe, "view": random_view} if view else plan.recipe,
            plan.shapes,
            dtype=options.dtype,
            rows=len(records),
            batch_size=options.batch_size,
            replaces=options.overwrite,
        )
        transform = inputs.augmentation(options.augment) if view else inputs.transform()
        channels = network.backbone.in_channels
        dataset = SampleDataset(records, transform, channels=channels, seed=options.seed)
        fillings.append(Filling(store, dataset, view))
    total = len(records) * len(plan.views)
    with ImageProgress(total) as progress:
        fill(fillings, network, options, progress=progress)
    return [filling.store for filling in fillings], total - progress.kept


def _summarize(output: Path, export: Export, computed: int, seconds: float) -> None:
    bad = [place for place, error in enumerate(export.columns["error"]) if error is not None]
    for place in bad[:5]:
        print(f"no features: {export.columns['path'][place]}: {export.columns['error'][place]}")
    if len(bad) > 5:
        print(f"... and {len(bad) - 5:,} more; the column 'error' has the reasons")
    without = f", {len(bad):,} of them without features" if bad else ""
    layers = ", ".join(f"{name} {'x'.join(map(str, layer.shape))}" for name, layer in export.layers.items())
    print(
        f"{output}: {len(export):,} rows{without}; {layers}; "
        f"{size_text(output.stat().st_size)}" + (f", {computed / seconds:.1f} images/s" if computed else "")
    )
