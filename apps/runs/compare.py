"""The command ``onetrunk runs compare``: prints and writes a comparison."""

import csv
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..console import wide_console
from ..intervals import CONFIDENCE
from ..outputs import output_folder
from ..run_folder import make_folder, replace_json, replacing
from .comparison import Compared, Comparison, compare_judged
from .judged import read_judged
from .options import CompareOptions

FILES = ("compare.json", "compare.csv")
_SHOWN = 20


def compare_and_print(options: CompareOptions) -> Comparison:
    """Compare two folders, print the comparison, write it where that was asked for, and return it."""
    comparison = compare_judged(read_judged(Path(options.first)), read_judged(Path(options.second)))
    where = output_folder(options.output, *FILES, overwrite=options.overwrite)
    print_comparison(comparison, shown=None if options.all else _SHOWN)
    if where is not None:
        write_comparison(comparison, where)
        print(f"comparison {where / FILES[0]}")
    return comparison


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write all of it as JSON, and the figures of metrics and classes as a table."""
    replace_json(make_folder(folder) / FILES[0], comparison.to_dict())
    with replacing(folder / FILES[1]) as stream:
        writer = csv.writer(stream)
        writer.writerow(["kind", "name", "images", "a", "b", "difference", "low", "high", "p_value"])
        for kind, figures in (("metric", comparison.metrics), ("recall", comparison.per_class)):
            for name, found in figures.items():
                images = comparison.images if found.images is None else found.images
                shift = found.difference
                row = [found.first, found.second, shift.value, shift.low, shift.high, shift.p_value]
                writer.writerow([kind, name, images, *row])


def print_comparison(comparison: Comparison, *, shown: int | None) -> None:
    """Print a comparison; ``shown`` classes and images at most."""
    console = wide_console()
    console.print(
        f"A: {comparison.first}\nB: {comparison.second}\n"
        f"{comparison.images} {comparison.unit}s that both were judged on",
        soft_wrap=True,
    )
    for note in comparison.notes:
        console.print(note, soft_wrap=True)
    console.print(_figures("metric", _marked(comparison), None, comparison.unit))
    console.print(comparison.verdict, soft_wrap=True, style="bold")
    if test := comparison.disagreement:
        console.print(
            f"only A is right on {test.only_first} {comparison.unit}s, only B on {test.only_second}; "
            f"exact McNemar test: p = {test.p_value:.4f}",
            soft_wrap=True,
        )
    if len(comparison.metrics) > 1:
        console.print(
            f"{len(comparison.metrics)} metrics are compared; of twenty that don't differ, one is expected to seem so. "
            f"Judge by {comparison.primary}.",
            soft_wrap=True,
        )
    if comparison.per_class:
        console.print(_figures("recall of", comparison.per_class, shown, comparison.unit))
        _print_rest(console, len(comparison.per_class), shown, "classes")
    if comparison.unlike:
        console.print(_unlike_images(comparison.unlike[:shown], comparison.unit))
        _print_rest(console, len(comparison.unlike), shown, f"{comparison.unit}s that only one has right")


def _print_rest(console: Console, total: int, shown: int | None, what: str) -> None:
    if shown is not None and total > shown:
        console.print(f"... and {total - shown:,} more {what}: --all")


def _marked(comparison: Comparison) -> dict[str, Compared]:
    """Return the metrics under names that say where less is better."""
    return {metric_label(comparison, name): found for name, found in comparison.metrics.items()}


def metric_label(comparison: Comparison, name: str) -> str:
    """Return a metric's name for a table, marked where less is better."""
    return f"{name} (lower is better)" if name in comparison.lower_is_better else name


def _figures(heading: str, figures: dict[str, Compared], shown: int | None, unit: str) -> Table:
    has_counts = any(found.images is not None for found in figures.values())
    headings = ["A", "B", "B - A", f"{CONFIDENCE:.0%} interval", "p"]
    table = Table(heading, *([f"{unit}s"] if has_counts else []), *headings)
    for name, found in list(figures.items())[:shown]:
        count = ["all" if found.images is None else str(found.images)] if has_counts else []
        table.add_row(name, *count, *figure_cells(found))
    return table


def figure_cells(found: Compared) -> list[str]:
    """Return A, B, the difference, its interval and the p-value as text."""
    shift = found.difference
    return [
        f"{found.first:.4f}",
        f"{found.second:.4f}",
        f"{shift.value:+.4f}",
        f"{shift.low:+.4f} to {shift.high:+.4f}",
        "< 0.002" if shift.p_value < 0.002 else f"{shift.p_value:.3f}",
    ]


def _unlike_images(rows: list[dict[str, Any]], unit: str) -> Table:
    table = Table(unit, "label", "A", "A's p of it", "B", "B's p of it", title="where only one is right")
    for row in rows:
        label = row.get("label", ";".join(row.get("labels", ())))
        cells = [cell for key in ("first", "second") for cell in _judgement(row[key])]
        table.add_row(row["image"], label, *cells)
    return table


def _judgement(found: dict[str, Any]) -> tuple[str, str]:
    predicted = found.get("predicted")
    if predicted is None:
        said = f"{found['right']:.0%} right"
    else:
        said = ";".join(predicted) if isinstance(predicted, list) else str(predicted)
        said += "" if found["right"] else " (wrong)"
    return said, f"{found['probability']:.3f}"
