"""The results card: the one contract between apps, reports, comparisons and people's scripts."""

import json
import shlex
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from .console import wide_console
from .evaluation import Evaluation
from .run_folder import replace_json, versions

#: With more runs than these the table shows the extremes only; the card holds every value.
_RUNS_SHOWN = 5
#: The card holds the others.
_CLASSES_SHOWN = 40
#: The figures of classes that are shown, under which heading; classes that lack any of them aren't.
_CLASS_COLUMNS = (
    {"iou": "IoU", "recall": "recall", "precision": "precision"},
    {"objects": "objects", "ap": "AP", "ap50": "AP50"},
    {"questions": "questions", "vqa_accuracy": "accuracy"},
)


def command_line() -> str:
    """Return the command that this process was started with."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


@dataclass(frozen=True)
class Cost:
    """What a result cost.

    Attributes:
        images_per_second: Of the evaluation.
        peak_memory_mib: Of this process, or of its GPU.
        trained_parameters: How many were trained.
        parameters: How many the model has.
        seconds: Wall time of the command.
        storing_seconds: Of these, or of an earlier command that stored them, how long features took.
    """

    images_per_second: float
    peak_memory_mib: float
    trained_parameters: int
    parameters: int
    seconds: float
    storing_seconds: float = 0.0


@dataclass(frozen=True)
class Card:
    """What ``results.json`` holds; metric values are fractions, never percent.

    Attributes:
        task: The app.
        split: What was evaluated.
        selected_on: The split that chose the checkpoint, if one did.
        metrics: Name -> value, low, high; 95% intervals.
        per_class: A row a class.
        samples: How many images were used and skipped, and which were skipped.
        cost: What it took.
        backbone: Name, weights, fingerprints of the trunk before and after.
        data: Path, fingerprint and where the split comes from.
        details: More that an app has to say.
        versions: Of the packages that results depend on.
        command: What was typed.
        primary: The metric that chose the checkpoint; empty in cards of the first release.
        repeats: Of several runs with one card: what they were repeated over (``over``), the ``numbers`` and
            ``folders`` of the runs, and under ``metrics`` each metric's ``spread`` (standard deviation over the runs;
            null for a single one) and ``values``.
        sweep: Of the best of several candidates: the ``metric`` it was chosen by, the ``best`` one's folder, the
            ``seconds`` of all together, and the ``candidates``, each with its folder, ``learning_rate``,
            ``weight_decay``, the metric's ``value``, ``low`` and ``high``, and its ``epochs``; null where a training
            diverged.
    """

    task: str
    split: str
    selected_on: str | None
    metrics: dict[str, dict[str, float]]
    per_class: list[dict[str, Any]]
    samples: dict[str, Any]
    cost: dict[str, Any]
    backbone: dict[str, Any]
    data: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)
    command: str = field(default_factory=command_line)
    primary: str = ""
    repeats: dict[str, Any] = field(default_factory=dict)
    sweep: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the card as JSON, whole or not at all."""
        replace_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "Card":
        """Read a card."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def make_card(
    evaluation: Evaluation,
    *,
    task: str,
    split: str,
    selected_on: str | None,
    cost: Cost,
    backbone: dict[str, Any],
    data: dict[str, Any],
) -> Card:
    """Return the card of an evaluation."""
    skipped = [{"file": bad.name, "reason": bad.reason} for bad in evaluation.skipped]
    return Card(
        task=task,
        split=split,
        selected_on=selected_on,
        metrics={name: asdict(estimate) for name, estimate in evaluation.metrics.items()},
        per_class=evaluation.per_class,
        samples={"used": evaluation.used, "skipped": len(skipped), "skipped_files": skipped},
        cost=asdict(cost),
        backbone=backbone,
        data=data,
        details=evaluation.details,
        primary=evaluation.primary,
    )


def print_card(card: Card, *, where: Path | None = None) -> None:
    """Print the card's figures as a table, and where the whole card lies."""
    console = wide_console()
    title = f"{card.task} on {card.data['path']} ({card.split}, {card.samples['used']} images)"
    console.print(title, soft_wrap=True)
    table = Table("metric", "mean" if card.repeats.get("over") == "seed" else "value", "95% interval")
    repeats = _repeat_columns(card.repeats)
    for column in next(iter(repeats.values()), {}):
        table.add_column(column)
    for name, row in card.metrics.items():
        table.add_row(name, *estimate_cells(row), *repeats.get(name, {}).values())
    console.print(table)
    for columns in _CLASS_COLUMNS:
        if rows := [row for row in card.per_class if columns.keys() <= row.keys()][:_CLASSES_SHOWN]:
            console.print(_class_table(rows, columns))
    lines = cost_lines(card.backbone, card.cost)
    if skipped := count_skipped(card.samples, card.data):
        lines.append(f"skipped    {skipped} images that can't be read; the card lists them")
    for name, guess in card.details.get("baselines", {}).items():
        if isinstance(guess, dict):
            figures = ", ".join(f"{metric} {guess[metric]['value']:.4f}" for metric in card.metrics if metric in guess)
            lines.append(f"{name:<10} {figures}")
    lines += [f"note       {note}" for note in card.details.get("notes", [])]
    if where is not None:
        lines.append(f"card       {where}")
    console.print("\n".join(lines), soft_wrap=True)
    if card.sweep:
        console.print(_sweep_table(card.sweep, card.split))


def cost_lines(backbone: dict[str, Any], cost: dict[str, Any]) -> list[str]:
    """Return what is printed of a card's trunk, parameters and cost, and of the proof that what is frozen stayed so."""
    lines = [
        f"trunk      {backbone['name']}, weights {backbone['weights']}",
        f"parameters {cost['parameters']:,}"
        + (f", {cost['trained_parameters']:,} of them trained" if cost["trained_parameters"] else ""),
        f"cost       {cost['images_per_second']:.0f} images/s evaluated, {cost['peak_memory_mib']:.0f} MiB, "
        f"{cost['seconds']:.1f} s",
    ]
    if frozen := backbone.get("frozen_fingerprint"):
        part = _fixed_part(backbone["frozen"], backbone.get("tuned", "full"))
        lines.append(f"frozen     proven: the SHA-256 of {part} is {frozen[:16]}… before and after")
    return lines


def count_skipped(samples: dict[str, Any], data: dict[str, Any]) -> int:
    """Return how many images of the evaluated split and of the training split can't be read, by a card's facts."""
    return int(samples["skipped"] + data.get("train", {}).get("skipped", 0))


def estimate_cells(estimate: dict[str, float]) -> list[str]:
    """Return a value and its interval as text."""
    return [f"{estimate['value']:.4f}", f"{estimate['low']:.4f} to {estimate['high']:.4f}"]


def _sweep_table(sweep: dict[str, Any], split: str) -> Table:
    """Return the values of each candidate and what they reached, the best one marked."""
    figure = f"{sweep['metric']} on {split}"
    table = Table("candidate", "learning rate", "weight decay", figure, "95% interval", "epochs", "")
    for row in sweep["candidates"]:
        cells = [row["folder"], f"{row['learning_rate']:g}", f"{row['weight_decay']:g}"]
        if row["epochs"] is None:
            cells += ["", "", "", "diverged"]
        elif row["value"] is None:
            cells += ["", "", str(row["epochs"]), "undefined"]
        else:
            mark = "best" if row["folder"] == sweep["best"] else ""
            cells += [*estimate_cells(row), str(row["epochs"]), mark]
        table.add_row(*cells)
    return table


def _class_table(rows: list[dict[str, Any]], columns: dict[str, str]) -> Table:
    """Return figures of each class; those that have an interval come with it."""
    table = Table("class")
    for name, heading in columns.items():
        table.add_column(heading)
        if isinstance(rows[0][name], dict):
            table.add_column("95% interval")
    for row in rows:
        table.add_row(row["class"], *(cell for name in columns for cell in _class_cells(row[name])))
    return table


def _class_cells(figure: dict[str, float] | float | None) -> list[str]:
    """Return a class's figure, and its interval where it has one, as text; counts are whole numbers."""
    if isinstance(figure, dict):
        return estimate_cells(figure)
    if figure is None:
        return ["-"]
    return [f"{figure:,}" if isinstance(figure, int) else f"{figure:.4f}"]


def _fixed_part(frozen: str, tuned: str) -> str:
    """Return what of a trunk training could not change, in words, from ``--freeze`` and ``--tune``."""
    if tuned == "full":
        return "the trunk" if frozen == "all" else f"the trunk up to {frozen}"
    updates = {"norm": "scales and shifts of its norms", "lora": "low-rank updates of its layers"}[tuned]
    return f"the trunk without the {updates}" + ("" if frozen == "none" else f" above {frozen}")


def _repeat_columns(repeats: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return for each metric the columns of several runs: their spread, and each one's value or the extremes."""
    columns = {}
    for name, row in repeats.get("metrics", {}).items():
        values, spread = row["values"], row["spread"]
        shown = {"spread": "" if spread is None else f"{spread:.4f}"}
        if len(values) <= _RUNS_SHOWN:
            shown |= {f"{repeats['over']} {n}": f"{v:.4f}" for n, v in zip(repeats["numbers"], values, strict=True)}
        else:
            shown |= {"lowest": f"{min(values):.4f}", "highest": f"{max(values):.4f}"}
        columns[name] = shown
    return columns
