"""``--seeds``, ``--folds`` and ``--sweep``: the same command trained several times, with one card over all of them.

Each of the runs lies in a folder of its own below the command's (``seed-0``, ``fold-1``, ``sweep-1``) and is a whole
run, which goes on by itself after an interruption. Over seeds the figures are means on the same images; over folds each
image is judged once, by the model that hasn't seen it, and the figures are those of all images together; of a sweep
they are the best run's.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..backbones.errors import UserError
from .card import Card, print_card
from .config import TrainingOptions
from .divergence import Diverged
from .evaluated_images import EvaluatedImages, Rows, pool_images, read_images
from .evaluation import Evaluator
from .intervals import Weights, bootstrap
from .outputs import IMAGES, PREDICTIONS, RESULTS, write_predictions
from .processes import is_first, is_one_of_several
from .run_folder import RunFolder, check_writable, holds_others, open_run, refuse_resume_and_overwrite, run_path
from .subject_figures import describe_subjects
from .sweep import Tried, describe_values, list_candidates, publish_best

Options = TypeVar("Options", bound=TrainingOptions)

#: What runs are repeated over, as folders are named by it: what a person calls one of them, and the option.
_KINDS = {"seed": ("seed", "--seeds"), "fold": ("fold", "--folds"), "sweep": ("candidate", "--sweep")}
_RUN = re.compile(rf"({'|'.join(_KINDS)})-\d+")


@dataclass(frozen=True)
class Repeat(Generic[Options]):
    """One of the runs.

    Attributes:
        over: What they are repeated over: ``seed``, ``fold`` or ``sweep``.
        number: Which one it is.
        run: Where it lies.
        options: Its own: those of a single run.
    """

    over: str
    number: int
    run: RunFolder
    options: Options

    @property
    def name(self) -> str:
        """As a person calls it."""
        return f"{_KINDS[self.over][0]} {self.number}"


def wants_repeats(options: TrainingOptions) -> bool:
    """Whether the options ask for several runs."""
    is_cross_validation = options.folds is not None and options.fold is None
    return options.seeds is not None or is_cross_validation or options.sweep.is_asked_for


def repeat(train: Callable[[Options], Card], app: str, options: Options) -> Card:
    """Train once for each of ``--seeds``, ``--folds`` or ``--sweep``; write, print and return the card over all runs.

    Of several processes the first one writes it; the others return their last run's.

    Args:
        train: The app's command.
        app: Its name.
        options: With ``seeds``, with ``folds`` and no ``fold``, or with a ``sweep``.

    Raises:
        UserError: If the folder holds something else, or runs and neither ``resume`` nor ``overwrite`` was asked for;
            and if none of a sweep's trainings came to an end.
    """
    folder = run_path(app, options)
    repeats = _list_repeats(folder, options)
    _check_folder(folder, app, repeats, options)
    cards = []
    with _replacing_former(folder, repeats, options):
        cards.append(_train(train, repeats[0], repeats))
    for each in repeats[1:]:
        cards.append(_train(train, each, repeats))
        _refuse_other_data(repeats, cards)
    finished = [card for card in cards if card is not None]
    if not is_first():
        return finished[-1]
    if repeats[0].over == "sweep":
        tried = [Tried(each.run, each.options, card) for each, card in zip(repeats, cards, strict=True)]
        card = publish_best(folder, tried)
    else:
        card = _seeds_card(repeats, finished) if options.seeds is not None else _folds_card(folder, repeats, finished)
    card.write(folder / RESULTS)
    if _shares_features(repeats[0].over, options):
        shutil.rmtree(RunFolder(folder).features, ignore_errors=True)
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


def _list_repeats(folder: Path, options: Options) -> list[Repeat[Options]]:
    """Return the runs that the options ask for, each with its own options and folder."""
    if options.sweep.is_asked_for:
        over, own = "sweep", dict(enumerate(list_candidates(options), start=1))
    elif options.seeds is not None:
        over, own = "seed", {number: replace(options, seeds=None, seed=number) for number in options.seeds}
    else:
        assert options.folds is not None
        over, own = "fold", {number: replace(options, fold=number) for number in range(1, options.folds + 1)}
    runs = {number: RunFolder(folder / f"{over}-{number}") for number in own}
    features = str(RunFolder(folder).features) if _shares_features(over, options) else options.cache_folder
    return [
        Repeat(over, n, runs[n], replace(each, output=str(runs[n].path), cache_folder=features))
        for n, each in own.items()
    ]


def _shares_features(over: str, options: TrainingOptions) -> bool:
    """Whether all runs shall store features in one folder of this command, which is deleted when they are finished.

    The images of a fold are its own, and so are a seed's random looks at them: stored together they would only take
    the room of all runs at once.
    """
    has_own = over == "fold" or (over == "seed" and options.cache_views is not None)
    return options.cache_folder is None and not has_own


def _former_runs(folder: Path) -> list[RunFolder]:
    """Return the runs of an earlier command with ``--seeds``, ``--folds`` or ``--sweep``."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return [RunFolder(entry) for entry in entries if _RUN.fullmatch(entry.name) and RunFolder(entry).holds_run]


def _check_folder(folder: Path, app: str, repeats: Sequence[Repeat[Options]], options: Options) -> None:
    """Refuse a folder as ``open_run`` does, and what it refuses of any of the runs."""
    refuse_resume_and_overwrite(options)
    if not is_first():
        return
    former, over = _former_runs(folder), repeats[0].over
    noun, flag = _KINDS[over]
    if RunFolder(folder).holds_run:
        raise UserError(f"'{folder}' holds a single run, not those of several {noun}s. Choose another: --output DIR.")
    if folder.exists() and holds_others(folder, _expected_names(folder, former, repeats)):
        raise UserError(f"'{folder}' isn't empty and holds no runs of {noun}s. Choose another folder: --output DIR.")
    if former and not options.resume and not options.overwrite:
        raise UserError(
            f"'{folder}' already holds runs of several {_KINDS[_over(former[0])][0]}s. Go on: --resume. "
            "Replace them: --overwrite. Or choose another folder: --output DIR."
        )
    if options.resume and (others := [run.path.name for run in former if _over(run) != over]):
        raise UserError(f"'{folder}' holds {', '.join(others)}; it can't go on with {flag}. Use another: --output.")
    check_writable(folder)
    for each in repeats:  # now, not when its turn comes after hours
        open_run(app, each.options)


def _over(run: RunFolder) -> str:
    """Return what a run's folder is named by."""
    return run.path.name.partition("-")[0]


def _expected_names(folder: Path, former: Sequence[RunFolder], repeats: Sequence[Repeat[Options]]) -> set[str]:
    """Return what may lie in the folder of the runs: theirs, and what was written of all of them together."""
    common = RunFolder(folder)
    names = {run.path.name for run in former} | {each.run.path.name for each in repeats}
    if former:
        names |= {name + end for name in (RESULTS, IMAGES, *PREDICTIONS) for end in ("", ".part")}
        names.add(common.features.name)
    if any(_over(run) == "sweep" for run in former):
        names.add(common.model.name)
    return names


@contextmanager
def _replacing_former(folder: Path, repeats: Sequence[Repeat[Options]], options: Options) -> Iterator[None]:
    """With ``--overwrite``: delete the other former runs once the first new one has begun, and so passed all checks."""
    first = repeats[0].run
    before = _started_at(first)
    try:
        yield
    finally:
        if options.overwrite and is_first() and _started_at(first) != before:
            for name in (RESULTS, IMAGES, *PREDICTIONS):
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(RunFolder(folder).model, ignore_errors=True)
            for run in _former_runs(folder):
                if run.path != first.path:
                    run.delete_run()
                    if not any(run.path.iterdir()):
                        shutil.rmtree(run.path)


def _started_at(run: RunFolder) -> int | None:
    return run.config.stat().st_mtime_ns if run.config.is_file() else None


def _train(train: Callable[[Options], Card], one: Repeat[Options], repeats: Sequence[Repeat[Options]]) -> Card | None:
    """Train one of the runs and return its card; nothing for a candidate whose training diverged.

    Of several processes the others are ended by then, so the next candidate can't be trained: the error is raised.
    """
    values = f", {describe_values(one.options)}" if one.over == "sweep" else ""
    print(f"\n{one.name} ({repeats.index(one) + 1} of {len(repeats)}){values}: {one.run.path}")
    try:
        return train(one.options)
    except Diverged as error:  # the other candidates may do well
        if one.over != "sweep" or is_one_of_several():
            raise
        print(error)
        return None


def _refuse_other_data(repeats: Sequence[Repeat[Options]], cards: Sequence[Card | None]) -> None:
    """Raise a ``UserError`` if the last run so far saw other images than the first; folds always do."""
    finished = [(each, card) for each, card in zip(repeats, cards, strict=False) if card is not None]
    if not finished or repeats[0].over == "fold":
        return
    (first, former), (last, latter) = finished[0], finished[-1]
    one, other = ((card.data["train"]["fingerprint"], card.data["fingerprint"]) for card in (former, latter))
    if one != other:
        raise UserError(
            f"{last.name} was trained on other data than {first.name}: images or labels in '{former.data['path']}' "
            f"have changed in between. Train all {_KINDS[first.over][0]}s again: --overwrite."
        )


def _seeds_card(repeats: Sequence[Repeat[Options]], cards: Sequence[Card]) -> Card:
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


def _folds_card(folder: Path, repeats: Sequence[Repeat[Options]], cards: Sequence[Card]) -> Card:
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


def _read_alike(repeats: Sequence[Repeat[Options]]) -> tuple[list[EvaluatedImages], Evaluator]:
    read = [read_images(each.run.images) for each in repeats]
    evaluator = read[0][1]
    for each, (_, other) in zip(repeats, read, strict=True):
        if not evaluator.judges_as(other):
            raise UserError(
                f"{each.name} is judged in another way than {repeats[0].name}: {other.description()}, not "
                f"{evaluator.description()}. Fix by an option what the training data choose."
            )
    return [images for images, _ in read], evaluator


def _join_cards(repeats: Sequence[Repeat[Options]], cards: Sequence[Card]) -> Card:
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
