"""``--seeds`` and ``--folds``: the same command trained several times, with one card over all of them.

Each of the runs lies in a folder of its own below the command's (``seed-0``, ``fold-1``) and is a whole run, which goes
on by itself after an interruption. Over seeds the figures are means on the same images; over folds each image is
judged once, by the model that hasn't seen it, and the figures are those of all images together.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..backbones.errors import UserError
from .card import Card, print_card
from .config import TrainingOptions
from .evaluated_images import EvaluatedImages, Rows, pool_images, read_images
from .evaluation import Evaluator
from .intervals import Weights, bootstrap
from .outputs import IMAGES, PREDICTIONS, RESULTS, write_predictions
from .processes import is_first
from .run_folder import RunFolder, check_writable, holds_others, refuse_resume_and_overwrite, run_path
from .subject_figures import describe_subjects

Options = TypeVar("Options", bound=TrainingOptions)

_RUN = re.compile(r"(seed|fold)-\d+")


@dataclass(frozen=True)
class Repeat:
    """One of the runs: what it is the n-th of, and where it lies."""

    over: str
    number: int
    run: RunFolder

    @property
    def name(self) -> str:
        """As a person calls it."""
        return f"{self.over} {self.number}"


def wants_repeats(options: TrainingOptions) -> bool:
    """Whether the options ask for several runs."""
    return options.seeds is not None or (options.folds is not None and options.fold is None)


def repeat(train: Callable[[Options], Card], app: str, options: Options) -> Card:
    """Train once for each of ``--seeds`` or ``--folds``; write, print and return the card over all runs.

    Of several processes the first one writes it; the others return their last run's.

    Args:
        train: The app's command.
        app: Its name.
        options: With ``seeds``, or with ``folds`` and no ``fold``.

    Raises:
        UserError: If the folder holds something else, or runs and neither ``resume`` nor ``overwrite`` was asked for.
    """
    folder = run_path(app, options)
    repeats = list(_list_repeats(folder, options))
    _check_folder(folder, repeats, options)
    cards = []
    with _replacing_former(folder, repeats, options):
        cards.append(_train(train, repeats[0], repeats, options))
    for each in repeats[1:]:
        cards.append(_train(train, each, repeats, options))
        _refuse_other_data(repeats, cards)
    if not is_first():
        return cards[-1]
    card = _seeds_card(repeats, cards) if options.seeds is not None else _folds_card(folder, repeats, cards)
    card.write(folder / RESULTS)
    print_card(card, where=folder / RESULTS)
    return card


def mean_measure(
    measure: Callable[[Rows, Weights], dict[str, NDArray[np.float64]]], rows: Sequence[Rows], weights: Weights
) -> dict[str, NDArray[np.float64]]:
    """Return the mean of each metric over several models' rows of the same images, weighted alike; ``[R]`` each."""
    parts = [measure(each, weights) for each in rows]
    return {name: np.mean([part[name] for part in parts], axis=0) for name in parts[0] if all(name in p for p in parts)}


def run_images(folder: Path, card: Card) -> list[Path]:
    """Return the files with the images that a card's figures come from: several where they are means over seeds."""
    if card.repeats.get("over") == "seed":
        return [folder / name / IMAGES for name in card.repeats["folders"]]
    return [folder / IMAGES]


def _list_repeats(folder: Path, options: TrainingOptions) -> Iterator[Repeat]:
    over = "seed" if options.seeds is not None else "fold"
    for number in options.seeds if options.seeds is not None else range(1, (options.folds or 0) + 1):
        yield Repeat(over, number, RunFolder(folder / f"{over}-{number}"))


def _former_runs(folder: Path) -> list[RunFolder]:
    """Return the runs of an earlier command with ``--seeds`` or ``--folds``."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return [RunFolder(entry) for entry in entries if _RUN.fullmatch(entry.name) and RunFolder(entry).holds_run]


def _check_folder(folder: Path, repeats: Sequence[Repeat], options: TrainingOptions) -> None:
    """Refuse a folder as ``open_run`` does; each of the runs is checked by itself when its turn comes."""
    refuse_resume_and_overwrite(options)
    if not is_first():
        return
    former, over = _former_runs(folder), repeats[0].over
    if RunFolder(folder).holds_run:
        raise UserError(f"'{folder}' holds a single run, not those of several {over}s. Choose another: --output DIR.")
    expected = {run.path.name for run in former} | {each.run.path.name for each in repeats}
    if former:
        expected |= {name + end for name in (RESULTS, IMAGES, *PREDICTIONS) for end in ("", ".part")}
    if folder.exists() and holds_others(folder, expected):
        raise UserError(f"'{folder}' isn't empty and holds no runs of {over}s. Choose another folder: --output DIR.")
    if former and not options.resume and not options.overwrite:
        raise UserError(
            f"'{folder}' already holds runs of several {former[0].path.name.partition('-')[0]}s. Go on: --resume. "
            "Replace them: --overwrite. Or choose another folder: --output DIR."
        )
    if options.resume and (others := [run.path.name for run in former if not run.path.name.startswith(over)]):
        raise UserError(f"'{folder}' holds {', '.join(others)}; it can't go on with --{over}s. Use another: --output.")
    check_writable(folder)


@contextmanager
def _replacing_former(folder: Path, repeats: Sequence[Repeat], options: TrainingOptions) -> Iterator[None]:
    """With ``--overwrite``: delete the other former runs once the first new one has begun, and so passed all checks."""
    first = repeats[0].run
    before = _started_at(first)
    try:
        yield
    finally:
        if options.overwrite and is_first() and _started_at(first) != before:
            for name in (RESULTS, IMAGES, *PREDICTIONS):
                (folder / name).unlink(missing_ok=True)
            for run in _former_runs(folder):
                if run.path != first.path:
                    run.delete_run()
                    if not any(run.path.iterdir()):
                        shutil.rmtree(run.path)


def _started_at(run: RunFolder) -> int | None:
    return run.config.stat().st_mtime_ns if run.config.is_file() else None


def _train(train: Callable[[Options], Card], one: Repeat, repeats: Sequence[Repeat], options: Options) -> Card:
    print(f"\n{one.name} ({repeats.index(one) + 1} of {len(repeats)}): {one.run.path}")
    if one.over == "seed":
        return train(replace(options, seeds=None, seed=one.number, output=str(one.run.path)))
    return train(replace(options, fold=one.number, output=str(one.run.path)))


def _refuse_other_data(repeats: Sequence[Repeat], cards: Sequence[Card]) -> None:
    """Raise a ``UserError`` if the last of the seeds so far saw other images than the first; folds always do."""
    first, last = ((card.data["train"]["fingerprint"], card.data["fingerprint"]) for card in (cards[0], cards[-1]))
    if repeats[0].over == "seed" and first != last:
        raise UserError(
            f"{repeats[len(cards) - 1].name} was trained on other data than {repeats[0].name}: images or labels in "
            f"'{cards[0].data['path']}' have changed in between. Train all seeds again: --overwrite."
        )


def _seeds_card(repeats: Sequence[Repeat], cards: Sequence[Card]) -> Card:
    """Return the card of means over seeds; an interval is over images, which are the same for all seeds."""
    parts, evaluator = _read_alike(repeats)
    if any(part.names != parts[0].names for part in parts):
        raise UserError("The seeds were validated on different images; did the data change? Train again: --overwrite.")
    card = _join_cards(repeats, cards)
    return replace(card, metrics=_mean_metrics(parts, evaluator), per_class=[], details={}, samples=cards[0].samples)


def _mean_metrics(parts: Sequence[EvaluatedImages], evaluator: Evaluator) -> dict[str, dict[str, float]]:
    """Return the mean of each metric over models that were judged on the same images, with its interval over them.

    Where a single model's interval is a closed one, the mean of theirs: it holds the truth at least as often, because
    models that don't all fail on the same images have a mean that varies less. The bootstrap would be too narrow near
    1, as it is for a single model.
    """
    measure = partial(mean_measure, evaluator.measure, [part.rows for part in parts])
    found = bootstrap(measure, len(parts[0]), inflated=evaluator.inflated)
    closed = [evaluator.intervals(part.rows) for part in parts]
    for name in set(found).intersection(*closed):
        low, high = (float(np.mean([getattr(own[name], end) for own in closed])) for end in ("low", "high"))
        found[name] = replace(found[name], low=low, high=high)
    return {name: asdict(estimate) for name, estimate in found.items()}


def _folds_card(folder: Path, repeats: Sequence[Repeat], cards: Sequence[Card]) -> Card:
    """Return the card over the images of all folds; write them and their predictions, the folds one after another."""
    parts, evaluator = _read_alike(repeats)
    images = pool_images(parts)
    evaluation = evaluator.evaluate(images)
    images.save(folder / IMAGES, evaluator)
    predictions = [
        {**row, "fold": each.number}
        for each in repeats
        for row in json.loads((each.run.path / PREDICTIONS[0]).read_text(encoding="utf-8"))
    ]
    write_predictions(folder, predictions)
    used = sum(card.samples["used"] for card in cards)
    skipped = [file for card in cards for file in card.samples["skipped_files"]]
    card = _join_cards(repeats, cards)
    return replace(
        card,
        metrics={name: asdict(estimate) for name, estimate in evaluation.metrics.items()},
        per_class=evaluation.per_class,
        details={**evaluation.details, **describe_subjects(images, evaluator)},
        samples={"used": used, "skipped": len(skipped), "skipped_files": skipped},
    )


def _read_alike(repeats: Sequence[Repeat]) -> tuple[list[EvaluatedImages], Evaluator]:
    read = [read_images(each.run.images) for each in repeats]
    evaluator = read[0][1]
    for each, (_, other) in zip(repeats, read, strict=True):
        if not evaluator.judges_as(other):
            raise UserError(
                f"{each.name} is judged in another way than {repeats[0].name}: {other.description()}, not "
                f"{evaluator.description()}. Fix by an option what the training data choose."
            )
    return [images for images, _ in read], evaluator


def _join_cards(repeats: Sequence[Repeat], cards: Sequence[Card]) -> Card:
    """Return the first card with what holds for all runs alike, what they cost together, and each one's figures."""
    names = [name for name in cards[0].metrics if all(name in card.metrics for card in cards)]
    values = {name: [card.metrics[name]["value"] for card in cards] for name in names}
    spreads = {name: float(np.std(each, ddof=1)) if len(each) > 1 else None for name, each in values.items()}
    cost = dict(cards[0].cost)
    cost["images_per_second"] = float(np.mean([card.cost["images_per_second"] for card in cards]))
    cost["peak_memory_mib"] = max(card.cost["peak_memory_mib"] for card in cards)
    cost["seconds"] = sum(card.cost["seconds"] for card in cards)
    return replace(
        cards[0],
        cost=cost,
        backbone=_alike([card.backbone for card in cards]),
        data=_alike([card.data for card in cards]),
        repeats={
            "over": repeats[0].over,
            "numbers": [each.number for each in repeats],
            "folders": [each.run.path.name for each in repeats],
            "metrics": {name: {"spread": spreads[name], "values": values[name]} for name in names},
        },
    )


def _alike(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what all runs have alike."""
    return {key: value for key, value in facts[0].items() if all(other.get(key) == value for other in facts)}
