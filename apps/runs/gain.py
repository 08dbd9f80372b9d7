"""The command ``onetrunk runs gain``: what a run owes to its pretraining, and to training more than the head."""

import shutil
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.table import Table

from ...backbones.errors import UserError
from ..arguments import parse_options
from ..card import Card
from ..cli import Command
from ..config import LoraOptions, OptimOptions, TrainingOptions
from ..console import wide_console
from ..intervals import CONFIDENCE
from ..processes import is_first
from ..run_folder import RunFolder, changed_options, make_folder, replace_json
from ..shell import quoted
from .compare import figure_cells, metric_label
from .comparison import Comparison, compare_judged
from .judged import list_tasks, read_card, read_judged
from .options import GainOptions

RANDOM, PROBE = "random", "probe"
_RECIPES = {
    RANDOM: "the same data, epochs, rates and seed from random weights, all of the trunk trained at the head's rate",
    PROBE: "the same data, epochs, rates and seed with the trunk frozen as it came",
}
_SAYS = {RANDOM: "pretraining brings", PROBE: "fine-tuning against the probe"}


@dataclass(frozen=True)
class Gain:
    """What a run is better by than another of the same recipe.

    Attributes:
        against: ``random`` or ``probe``.
        recipe: How that was trained.
        comparison: A is that one, B the run.
    """

    against: str
    recipe: str
    comparison: Comparison

    @property
    def sentence(self) -> str:
        """The gain in the primary metric, in points."""
        shift = self.comparison.metrics[self.comparison.primary].difference
        return (
            f"{_SAYS[self.against]} {100 * shift.value:+.1f} [{100 * shift.low:+.1f}, {100 * shift.high:+.1f}] points "
            f"of {self.comparison.primary}"
        )


def train_and_compare(options: GainOptions) -> list[Gain]:
    """Train what a finished run is compared with, unless that is done already, and compare.

    Of several processes only the first compares; the others return nothing.
    """
    run = RunFolder(Path(options.run))
    if tasks := list_tasks(run.path):
        raise UserError(
            f"'{run.path}' holds the results of several tasks, and gain trains the recipe of a single one again. Weigh "
            f"a head against a run that was trained alone: onetrunk runs compare RUN {quoted(run.path / tasks[0])}"
        )
    card = read_card(run.path)
    if not run.holds_run:
        inner = f" Ask of one of them: {run.path / card.repeats['folders'][0]}" if card.repeats else ""
        if card.sweep:
            inner = f" Ask of the best one: {run.path / card.sweep['best']}"
        raise UserError(f"'{run.path}' holds no single run, so there is no recipe to train again.{inner}")
    command, trained = _read_recipe(run, card, options)
    recipes = _choose_recipes(run, trained)
    for name, recipe in recipes.items():
        print(f"\n{name}: {_RECIPES[name]}")
        other = RunFolder(run.gain / name)
        _prepare(run, other, overwrite=options.overwrite)
        _refuse_other_recipe(run, other, recipe)
        if not other.is_finished:
            command.run(recipe)
        if is_first():
            _refuse_other_data(run, other)
    if not is_first():
        return []
    judged = read_judged(run.path)
    gains = [Gain(name, _RECIPES[name], compare_judged(read_judged(run.gain / name), judged)) for name in recipes]
    where = run.gain / "gain.json"
    replace_json(where, {"run": str(run.path), "gains": [_plain(gain) for gain in gains]})
    _print_gains(run, gains)
    print(f"gain {where}")
    return gains


def _read_recipe(run: RunFolder, card: Card, options: GainOptions) -> tuple[Command, TrainingOptions]:
    """Return the app's train command, and the options of the run as a continuation of what is compared with it."""
    command: Command = import_module(f"..{card.task}.main", __package__).COMMANDS["train"]
    words = ["--config", str(run.config)]
    trained: TrainingOptions = parse_options(command.options, words, prog="onetrunk runs gain", description="")
    return command, replace(
        trained,
        resume=True,
        overwrite=False,
        device=options.device or trained.device,
        workers=trained.workers if options.workers is None else options.workers,
        # the others have features of their own or none: nothing of the run's is of use to them
        cache="auto",
        compile="auto",
        cache_folder=None,
    )


def _choose_recipes(run: RunFolder, trained: TrainingOptions) -> dict[str, TrainingOptions]:
    """Return the options of what makes sense to compare with: nothing that the run itself is.

    Raises:
        UserError: If nothing does.
    """
    recipes = {}
    # what goes with a tuning or a thaw has no effect without it, and would be refused
    optim = replace(trained.optim, thaw_factor=OptimOptions().thaw_factor)
    plain = replace(trained, freeze="none", tune="full", lora=LoraOptions(), optim=optim)
    if trained.weights != "none":
        fast = replace(optim, trunk_factor=1.0, layer_decay=1.0)
        recipes[RANDOM] = replace(plain, weights="none", optim=fast, output=str(run.gain / RANDOM))
    if trained.freeze != "all":
        recipes[PROBE] = replace(plain, freeze="all", output=str(run.gain / PROBE))
    if not recipes:
        raise UserError(
            f"'{run.path}' is a probe of random weights: there is no pretraining and no fine-tuning to weigh."
        )
    return recipes


def _refuse_other_recipe(run: RunFolder, other: RunFolder, recipe: TrainingOptions) -> None:
    """Refuse what was trained, or begun, with other options than the run has now.

    Where it was trained matters only until it is: a training goes on exactly on the same device.

    Raises:
        UserError: Naming the options, and how to train it anew.
    """
    if not is_first() or not other.holds_run:
        return
    if differences := changed_options(other, recipe, ignoring=("device",) if other.is_finished else ()):
        is_device = any(difference.startswith("--device ") for difference in differences)
        hint = "To go on with it, leave out --device. Or train" if is_device else "Train"
        raise UserError(
            f"'{other.path}' was trained with other options: {'; '.join(differences)}. {hint} it anew: "
            f"onetrunk runs gain {quoted(run.path)} --overwrite"
        )


def _refuse_other_data(run: RunFolder, other: RunFolder) -> None:
    """Refuse what was trained on other images than the run: the data changed, before it was trained or after.

    Raises:
        UserError: Saying so.
    """
    mine, others = (read_card(one.path).data for one in (run, other))
    if (mine["train"]["fingerprint"], mine["fingerprint"]) != (others["train"]["fingerprint"], others["fingerprint"]):
        raise UserError(
            f"'{other.path}' was trained on other data than '{run.path}'; did the data change? Restore them or train "
            f"the run itself again, then: onetrunk runs gain {quoted(run.path)} --overwrite"
        )


def _prepare(run: RunFolder, other: RunFolder, *, overwrite: bool) -> None:
    """Make the folder of what is compared with the run, and give it the run's own split where that was cut."""
    if not is_first():
        return
    if overwrite and other.holds_run:
        other.delete_run()
    make_folder(other.path)
    if run.split.is_file() and not other.split.is_file():
        shutil.copyfile(run.split, other.split)


def _plain(gain: Gain) -> dict[str, Any]:
    about = {"against": gain.against, "recipe": gain.recipe, "says": gain.sentence}
    return {**about, "comparison": {**asdict(gain.comparison), "verdict": gain.comparison.verdict}}


def _print_gains(run: RunFolder, gains: list[Gain]) -> None:
    console = wide_console()
    about = gains[0].comparison
    console.print(f"\n{run.path} against what it has to be compared with: {about.images} {about.unit}s", soft_wrap=True)
    table = Table("metric", "against", "it", "the run", "run - it", f"{CONFIDENCE:.0%} interval", "p")
    for gain in gains:
        for name, found in gain.comparison.metrics.items():
            table.add_row(metric_label(gain.comparison, name), gain.against, *figure_cells(found))
    console.print(table)
    for gain in gains:
        console.print(gain.sentence, style="bold", soft_wrap=True)
    for gain in gains:
        console.print(f"{gain.against}: {gain.recipe}", soft_wrap=True)
