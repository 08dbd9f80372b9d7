"""Training one more head on the trunk of a model, with the train command of the head's app."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from ...backbones.errors import UserError, unknown
from ...backbones.strict_loading import IncompleteWeightsError
from ..arguments import parse_options
from ..cli import Command
from ..inputs import InputRecipe
from ..shell import quoted
from ..task_names import TASKS
from .options import AddOptions
from .stored import StoredModel

#: Options of training that the model decides, or the command itself.
_GIVEN = (
    *("backbone", "weights", "freeze", "tune", "image_size", "resize", "channels"),
    *("data", "output", "resume", "overwrite", "seeds", "folds", "fold"),
)


def train_head(options: AddOptions, model: StoredModel) -> Path:
    """Train a head on a model's frozen trunk and canvas; return the run's folder, below that of the command.

    Raises:
        UserError: If there is no such app, the model has its head already, or its pictures come onto the canvas in a
            way that the app doesn't have; and for whatever its train command refuses.
    """
    task = options.task
    assert task is not None
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    if task in model.heads:
        raise UserError(
            f"{model.name} has a head of {task} already, and a model has one head of an app. Put the model together "
            "without it: onetrunk multitask join."
        )
    command: Command = import_module(f"..{task}.main", __package__).COMMANDS["train"]
    run = Path(options.output) / task
    words = [*_config(options), *_fixed_words(options, model, command, run)]
    try:
        parsed: object = parse_options(command.options, words, prog=f"onetrunk {task} train", description=command.help)
    except UserError as error:
        if options.training is None:
            raise
        raise UserError(f"--training {options.training}: {error}") from error
    try:
        command.run(parsed)
    except IncompleteWeightsError as error:
        raise _too_shallow_error(options, model, words) from error
    return run


def _too_shallow_error(options: AddOptions, model: StoredModel, words: Sequence[str]) -> UserError:
    """Return the error for a head that reads deeper than the model's trunk goes on.

    Args:
        options: Of the command.
        model: Which keeps no more of its trunk than its heads read.
        words: By which the head was to be trained.
    """
    weights = str(model.backbone["weights"])
    is_original = model.backbone.get("fingerprint_before") == model.backbone["fingerprint_after"]
    if is_original and weights != "none":
        changed = {str(model.folder): weights, str(Path(options.output) / str(options.task)): "RUN"}
        command = " ".join(quoted(changed.get(word, word)) for word in words)
        what_to_do = (
            f"Train the head on the weights that the trunk is from: onetrunk {options.task} train {command}. Then put "
            f"it in: onetrunk multitask add --model {quoted(options.model)} --head RUN --output "
            f"{quoted(options.output)}"
        )
    else:
        what_to_do = (
            "Its values aren't those of published weights, so nothing deeper goes with them: choose levels that it has "
            "in --training FILE, or train all heads anew on one trunk with the levels of all."
        )
    return UserError(
        f"The trunk of {model.name} was kept only as far as its heads read it, to "
        f"{', '.join(model.backbone['recipe']['levels'])}, and the head of {options.task} reads deeper levels. "
        f"{what_to_do}"
    )


def _fixed_words(options: AddOptions, model: StoredModel, command: Command, run: Path) -> list[str]:
    """Return the flags by which a head sees what the heads of the model see."""
    inputs: InputRecipe = next(iter(model.recipes().values()))
    allowed = get_args(get_type_hints(command.options)["resize"])
    if inputs.mode not in allowed:
        raise UserError(
            f"The pictures of {model.name} come onto the canvas by --resize {inputs.mode}, and {options.task} knows "
            f"{' and '.join(allowed)}. One pass of the trunk can't serve both."
        )
    size = [str(side) for side in inputs.canvas]
    words = ["--backbone", str(model.backbone["name"]), "--weights", str(model.folder), "--freeze", "all"]
    words += ["--image-size", *size, "--resize", inputs.mode, "--channels", str(inputs.channels)]
    words += ["--data", str(options.data), "--output", str(run)]
    return words + ["--resume"] * options.resume + ["--overwrite"] * options.overwrite


def _config(options: AddOptions) -> list[str]:
    """Return the flag for a file with more options, after a check that it leaves alone what isn't free.

    Raises:
        UserError: If it can't be read or sets what the model or the command decides.
    """
    if options.training is None:
        return []
    try:
        content = yaml.safe_load(Path(options.training).read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"--training {options.training} can't be read: {error}") from error
    if not isinstance(content, Mapping):
        raise UserError(f"--training {options.training} holds no options: write a line for each, such as epochs: 20")
    given: Mapping[str, Any] = content
    if "config" in given:
        raise UserError(
            f"--training {options.training} names another file by 'config', and is the only one that is read. Write "
            "the options of that file into it."
        )
    if taken := [name for name in given if str(name).replace("-", "_") in _GIVEN]:
        raise UserError(
            f"--training {options.training} sets {', '.join(taken)}, which the model and this command decide: a head "
            "is trained once, on the model's frozen trunk and canvas. Leave that out of the file."
        )
    return ["--config", options.training]
