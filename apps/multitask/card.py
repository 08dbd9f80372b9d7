"""The card of a model with heads of several apps: the card of each task, and what they have in common."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from ...datasets.findings import count
from ..card import Card, command_line, cost_lines, count_skipped, estimate_cells
from ..console import wide_console
from ..intervals import CONFIDENCE
from ..run_folder import replace_json, versions
from ..task_names import MULTITASK


@dataclass(frozen=True, kw_only=True)
class MultiTaskCard:
    """What ``results.json`` holds of several tasks; that of each lies in a folder of its name beside it.

    Attributes:
        task: ``multitask``.
        split: What was evaluated.
        tasks: By name, what each task's own card holds.
        backbone: Of the trunk that all stand on: name, weights, what was frozen, fingerprints.
        cost: What all of them together took.
        details: More there is to say; ``notes`` are printed.
        versions: Of the packages that results depend on.
        command: What was typed.
        alone: By task, how it compares with a model that was trained alone, as :func:`.alone.compare_alone` gives it.
    """

    task: str = MULTITASK
    split: str
    tasks: dict[str, dict[str, Any]]
    backbone: dict[str, Any]
    cost: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)
    command: str = field(default_factory=command_line)
    alone: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def cards(self) -> dict[str, Card]:
        """The card of each task."""
        return {name: Card(**content) for name, content in self.tasks.items()}

    def write(self, path: Path) -> None:
        """Write the card as JSON, whole or not at all."""
        replace_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "MultiTaskCard":
        """Read a card."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def print_multitask_card(card: MultiTaskCard, where: Path | None = None) -> None:
    """Print a row for each task, what the model took, and where the whole card lies."""
    console = wide_console()
    console.print(f"{count(len(card.tasks), 'task')} on one trunk ({card.split})", soft_wrap=True)
    interval = f"{CONFIDENCE:.0%} interval"
    table = Table("task", "data", "images", "metric", "value", interval)
    if card.alone:
        for heading in ("alone", "together - alone", f"its {interval}"):
            table.add_column(heading)
    cards = card.cards
    for name, each in cards.items():
        alone = _alone_cells(card.alone[name]) if name in card.alone else []
        table.add_row(name, str(each.data["path"]), str(each.samples["used"]), *_figure_cells(each), *alone)
    console.print(table)
    lines = cost_lines(card.backbone, card.cost)
    skipped = {name: count_skipped(each.samples, each.data) for name, each in cards.items()}
    if any(skipped.values()):
        counts = ", ".join(f"{count} of {name}" for name, count in skipped.items() if count)
        lines.append(f"skipped    images that can't be read: {counts}; the card lists them")
    lines += [f"note       {note}" for note in card.details.get("notes", [])]
    lines += [f"note       {name}: {note}" for name, each in cards.items() for note in each.details.get("notes", [])]
    # a comparison of runs calls them A and B
    lines += [
        f"note       {name}, A alone and B together: {note}"
        for name, row in card.alone.items()
        for note in row.get("notes", [])
    ]
    if where is not None:
        lines.append(f"card       {where}")
    console.print("\n".join(lines), soft_wrap=True)


def _figure_cells(card: Card) -> list[str]:
    """Return the metric to look at first, its value and interval as text."""
    name = card.primary or next(iter(card.metrics), "")
    return [name, *(estimate_cells(card.metrics[name]) if name in card.metrics else ["undefined", ""])]


def _alone_cells(row: dict[str, Any]) -> list[str]:
    """Return a model that was trained alone, and how much better the head together with others is, as text."""
    return [f"{row['alone']:.4f}", f"{row['difference']:+.4f}", f"{row['low']:+.4f} to {row['high']:+.4f}"]
