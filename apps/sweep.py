"""``--sweep``: a grid of learning rates and weight decays, and the best of its runs in the place of a single one.

Each candidate is a whole run. The best is the one with the highest primary metric on the validation split, the same
rule by which a run keeps an epoch; its card says that its figures are those of a choice made on these very images.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from ..backbones.errors import UserError
from .card import Card
from .config import SweepOptions, TrainingOptions
from .outputs import IMAGES, PREDICTIONS, RESULTS
from .run_folder import RunFolder, make_folder, replacing

Options = TypeVar("Options", bound=TrainingOptions)


@dataclass(frozen=True)
class Tried:
    """A candidate whose turn is over.

    Attributes:
        run: Where it lies.
        options: What it was trained with.
        card: What came out; nothing where the training diverged.
    """

    run: RunFolder
    options: TrainingOptions
    card: Card | None

    @property
    def figures(self) -> dict[str, float] | None:
        """Its primary metric and interval, if that has a value."""
        return self.card.metrics.get(self.card.primary) if self.card else None


def list_candidates(options: Options) -> Iterator[Options]:
    """Yield the options of each run: for each learning rate all weight decays, in the order in which they were given.

    A rate that is added behind the others leaves the former runs' places as they were, so a sweep can go on with it.
    """
    sweep = options.sweep
    rates = [options.learning_rate] if sweep.learning_rates is None else sweep.learning_rates
    decays = [options.optim.weight_decay] if sweep.weight_decays is None else sweep.weight_decays
    for rate, decay in product(rates, decays):
        optim = replace(options.optim, weight_decay=decay)
        yield replace(options, learning_rate=rate, optim=optim, sweep=SweepOptions())


def describe_values(options: TrainingOptions) -> str:
    """Return the values that a candidate is trained with, as a person reads them."""
    return f"learning rate {options.learning_rate:g}, weight decay {options.optim.weight_decay:g}"


def publish_best(folder: Path, tried: Sequence[Tried]) -> Card:
    """Lay the files of the best candidate into the sweep's folder, and return its card with what all of them reached.

    A former card is deleted first: files of two candidates never lie beside a card that speaks of one.

    Args:
        folder: The sweep's.
        tried: The candidates; of two that are equally good the first one is taken.

    Raises:
        UserError: If no training came to an end with a value of the primary metric, or there is no room for the files.
    """
    ranked = [(each.figures["value"], -place) for place, each in enumerate(tried) if each.figures is not None]
    if not ranked:
        raise UserError(
            f"None of the {len(tried)} candidates in '{folder}' came out with a figure to choose by. Where their "
            "trainings diverged, try smaller --sweep.learning-rates, or --fit.clip-norm 1."
        )
    best = tried[-max(ranked)[1]]
    assert best.card is not None
    (folder / RESULTS).unlink(missing_ok=True)
    shutil.rmtree(folder / best.run.model.name, ignore_errors=True)
    make_folder(folder / best.run.model.name)
    for name in (IMAGES, *PREDICTIONS, *(f"{best.run.model.name}/{file.name}" for file in best.run.model.iterdir())):
        _copy(best.run.path / name, folder / name)
    details = best.card.details
    if len(ranked) > 1:
        details = {**details, "notes": [*details.get("notes", []), _describe_choice(len(ranked), best.card.primary)]}
    return replace(best.card, details=details, sweep=_section(tried, best))


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as stream, replacing(target, "wb") as copied:
        shutil.copyfileobj(stream, copied)


def _describe_choice(count: int, primary: str) -> str:
    return (
        f"the best of {count} candidates by {primary}, chosen on these very images: the figures flatter it; judge "
        "it on a test split"
    )


def _section(tried: Sequence[Tried], best: Tried) -> dict[str, Any]:
    """Return the card's ``sweep``."""
    assert best.card is not None
    return {
        "metric": best.card.primary,
        "best": best.run.path.name,
        "seconds": sum(each.card.cost["seconds"] for each in tried if each.card),
        "candidates": [
            {
                "folder": each.run.path.name,
                "learning_rate": each.options.learning_rate,
                "weight_decay": each.options.optim.weight_decay,
                **{key: (each.figures or {}).get(key) for key in ("value", "low", "high")},
                "epochs": each.card.details["training"]["epochs"] if each.card else None,
            }
            for each in tried
        ],
    }
