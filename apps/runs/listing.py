"""The command ``onetrunk runs list``: what each run below a folder is, and how far it got."""

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from ...backbones.errors import UserError
from ..card import Card
from ..console import wide_console
from ..multitask.card import MultiTaskCard
from ..run_folder import RunFolder, read_app, read_config
from ..task_names import MULTITASK
from .judged import list_tasks
from .options import ListOptions

FINISHED = "finished"
#: What a run writes; nobody starts a run in there.
_INNER = {"checkpoints", "model", "tensorboard"}


@dataclass(frozen=True)
class Row:
    """What is known of a run; what isn't known is empty.

    Attributes:
        path: Its folder.
        task: The app.
        data: The data set.
        trunk: Its name.
        weights: Where its weights came from.
        frozen: What of it stayed as it was.
        tuned: What of the rest was trained.
        state: ``finished``, ``epoch 3 of 10``, ``not started``, or ``broken: `` and the reason.
        metric: The primary metric.
        value: Its value.
        low: The lower end of its 95% interval.
        high: The upper end.
        changed: When it last wrote something that counts, ISO 8601.
    """

    path: str
    task: str = ""
    data: str = ""
    trunk: str = ""
    weights: str = ""
    frozen: str = ""
    tuned: str = ""
    state: str = ""
    metric: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    changed: str = ""


def list_and_print(options: ListOptions) -> list[Row]:
    """Find the runs, print them as a table or as JSON, and return them."""
    folder = Path(options.folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder '{folder}'. Name the one that holds runs: onetrunk runs list FOLDER")
    found = (row for path in _find_runs(folder) for row in _read_rows(path))
    rows = sorted(found, key=lambda row: row.changed, reverse=True)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False))
    elif rows:
        wide_console().print(_table(rows))
    else:
        print(f"There is no run below '{folder}'.")
    return rows


def _find_runs(folder: Path) -> Iterator[Path]:
    """Return the folders with a run, or with the card of several runs or tasks."""
    for place, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if name not in _INNER)
        path = Path(place)
        if RunFolder(path).holds_run or ("results.json" in files and _speaks_of_several(path)):
            yield path


def _speaks_of_several(path: Path) -> bool:
    try:
        card = json.loads(RunFolder(path).card.read_text(encoding="utf-8"))
        return bool(card.get("repeats") or card.get("sweep") or card.get("task") == MULTITASK)
    except (OSError, ValueError, AttributeError):  # whatever it is, it isn't the card of several
        return False


def _read_rows(path: Path) -> list[Row]:
    """Return the row of a run, or one for each task of a model with several heads."""
    run = RunFolder(path)
    written = max(file.stat().st_mtime for file in (run.config, run.log, run.last, run.card) if file.is_file())
    changed = datetime.fromtimestamp(written).astimezone().isoformat(timespec="seconds")
    try:
        rows = _finished_rows(run) if run.is_finished else [_unfinished_row(run)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, csv.Error, yaml.YAMLError) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        rows = [{"state": f"broken: {run.card if run.is_finished else run.config} ({reason})"}]
    return [Row(**{"path": str(path), "changed": changed, **row}) for row in rows]


def _finished_rows(run: RunFolder) -> list[dict[str, Any]]:
    """Return what the card says, for each of its tasks under the folder that commands take for it."""
    if not list_tasks(run.path):
        return [_finished_row(Card.read(run.card))]
    card = MultiTaskCard.read(run.card)
    done = FINISHED if run.holds_run else f"evaluated on {card.split}"
    about = {"state": f"{done}, one of {len(card.tasks)} tasks" if len(card.tasks) > 1 else done}
    rows = []
    for name, each in card.cards.items():
        # a metric without a value on these images is no damage, and the other tasks have theirs
        known = each if each.primary in each.metrics else replace(each, metrics={}, primary="")
        rows.append({**_finished_row(known), "path": str(run.path / name), "metric": each.primary, **about})
    return rows


def _finished_row(card: Card) -> dict[str, Any]:
    metric = card.primary or next(iter(card.metrics), "")
    figures = card.metrics[metric] if metric else {}
    many = f", {len(card.repeats['folders'])} {card.repeats['over']}s" if card.repeats else ""
    if card.sweep:
        many = f", the best of {len(card.sweep['candidates'])}: {card.sweep['best']}"
    return {
        "task": card.task,
        "data": str(card.data["path"]),
        "trunk": card.backbone["name"],
        "weights": card.backbone["weights"],
        "frozen": card.backbone.get("frozen", ""),
        "tuned": card.backbone.get("tuned", ""),
        "state": FINISHED + many,
        "metric": metric,
        **{key: float(figures[key]) for key in ("value", "low", "high") if figures.get(key) is not None},
    }


def _unfinished_row(run: RunFolder) -> dict[str, Any]:
    config, app = read_config(run), read_app(run)
    if app == MULTITASK:  # each of its tasks may have data of its own, and a trunk may come with a model
        config = {"backbone": "", "weights": "", "freeze": "", **config, "data": ""}
    return {
        "task": app,
        "data": config["data"],
        "trunk": config["backbone"],
        "weights": config["weights"],
        "frozen": config["freeze"],
        "tuned": config.get("tune", ""),
        "state": _progress(run, config["epochs"]),
    }


def _progress(run: RunFolder, epochs: int) -> str:
    if run.log.is_file():
        with run.log.open(encoding="utf-8") as stream:
            if rows := list(csv.DictReader(stream)):  # none where the run was killed while it wrote the first
                return f"epoch {rows[-1]['epoch']} of {epochs}"
    return f"epoch 0 of {epochs}" if run.last.is_file() else "not started"


def _table(rows: list[Row]) -> Table:
    headings = ("run", "task", "data", "trunk", "weights", "frozen, tuned", "state", "metric", "value", "95% interval")
    table = Table(*headings)
    for row in rows:
        interval = "" if row.low is None or row.high is None else f"{row.low:.3f} to {row.high:.3f}"
        frozen = row.frozen if row.frozen == "all" else ", ".join(filter(None, (row.frozen, row.tuned)))
        value = "" if row.value is None else f"{row.value:.4f}"
        cells = (row.path, row.task, row.data, row.trunk, row.weights, frozen, row.state, row.metric, value, interval)
        table.add_row(*cells)
    return table
