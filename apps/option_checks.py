"""What options may be, beyond their types: ranges, and combinations that make sense."""

from __future__ import annotations

from dataclasses import MISSING, fields
from math import isfinite
from typing import TYPE_CHECKING, Any

from ..backbones.errors import UserError

if TYPE_CHECKING:
    from .config import ComputeOptions, SweepOptions, TrainingOptions

#: Of one sweep; somebody who asks for more has mistyped, or wants another method.
_MOST_CANDIDATES = 100


def check_range(options: object, *names: str, least: float = 0, most: float | None = None, group: str = "") -> None:
    """Refuse numbers outside a range, in the words of the command line; an unset one is fine.

    Args:
        options: A command's, or a group of them.
        names: Of fields.
        least: The smallest number that is allowed.
        most: The largest, where there is one.
        group: The name of the group, ``optim`` for ``--optim.ema``.

    Raises:
        UserError: For the first field that is below ``least`` or above ``most``.
    """
    prefix = f"{group}." if group else ""
    for name in names:
        value = getattr(options, name)
        if value is None or (value >= least and (most is None or value <= most)):
            continue
        allowed = f"{least} or more" if most is None else f"{least} to {most}"
        raise UserError(f"--{prefix}{name.replace('_', '-')} takes {allowed}, not {value}.")


def check_effect(options: object, *names: str, has_effect: bool, needs: str) -> None:
    """Refuse options that were set and change nothing; at their defaults they are fine, as in a complete configuration.

    Args:
        options: A command's.
        names: Of fields; ``lora.rank`` is one of a group.
        has_effect: Whether the other options give them one.
        needs: What would, in the words of the command line.

    Raises:
        UserError: Naming the first.
    """
    for name in () if has_effect else names:
        if not is_default(options, name):
            flag = name.replace("_", "-")
            raise UserError(f"--{flag}: has no effect without {needs}; leave it out, or add that.")


def is_default(options: object, name: str) -> bool:
    """Whether an option, ``lora.rank`` for one of a group, has the value that it has where nobody sets it."""
    *groups, last = name.split(".")
    owner: Any = options
    for group in groups:
        owner = getattr(owner, group)
    field = next(field for field in fields(owner) if field.name == last)
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return bool(getattr(owner, last) == default)


def check_effects(options: TrainingOptions) -> None:
    """Refuse options of training that were set and change nothing.

    Raises:
        UserError: Naming the first.
    """
    check_effect(options, "lora.rank", "lora.alpha", has_effect=options.tune == "lora", needs="--tune lora")
    thaws = frozen_epochs(options.freeze) > 0
    check_effect(options, "optim.thaw_factor", has_effect=thaws, needs="--freeze until:N")
    warms_up = options.optim.schedule != "one_cycle"
    needs = "--optim.schedule cosine or constant"
    check_effect(options, "optim.warmup_fraction", has_effect=warms_up, needs=needs)


def check_balance(sampling: str, class_weights: str) -> None:
    """Refuse to correct for rare classes twice.

    Raises:
        UserError: Saying which to choose from.
    """
    if sampling == class_weights == "balanced":
        raise UserError(
            "--sampling balanced and --loss.class-weights balanced both make up for rare classes, together twice: "
            "use one of them."
        )


def refuse_balance(sampling: str) -> None:
    """Refuse to draw classes alike where there are none.

    Raises:
        UserError: Saying so.
    """
    if sampling == "balanced":
        raise UserError("--sampling balanced draws classes equally often, and text has none. Leave it out.")


def note_unused_cut(options: TrainingOptions, *, is_cut: bool) -> None:
    """Print a line where options about cutting a validation split were set, and nothing was cut with them.

    Only that, because many data sets may share a configuration.

    Args:
        options: Those of training.
        is_cut: Whether the validation split was cut, not one that the data set has.
    """
    used = {"split_seed"} if options.fold is not None else {"val_fraction", "split_seed"} if is_cut else set()
    unused = [name for name in ("val_fraction", "split_seed") if name not in used and not is_default(options, name)]
    if unused:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in unused)
        reason = "--folds cuts all images" if options.fold is not None else "the data have a validation split"
        print(f"without effect here: {flags}; {reason}")


def may_be_several(options: ComputeOptions) -> bool:
    """Whether several processes may run a command together."""
    devices, nodes = getattr(options, "devices", 1), getattr(options, "num_nodes", 1)
    return nodes > 1 or str(devices) not in ("1", "0")


def frozen_epochs(freeze: str) -> int:
    """Return the N of ``until:N``, and 0 for anything else that ``--freeze`` takes.

    Raises:
        UserError: If N isn't a number of epochs.
    """
    word, colon, number = freeze.partition(":")
    if not colon and word != "until":
        return 0
    if word != "until" or not number.isdecimal() or int(number) < 1:
        raise UserError(f"--freeze takes none, all, a level such as c3, or until:N with N epochs, not '{freeze}'.")
    return int(number)


def check_freezing(options: TrainingOptions) -> None:
    """Refuse combinations of ``--freeze`` and ``--tune`` that leave nothing to do.

    Raises:
        UserError: Saying which.
    """
    epochs = frozen_epochs(options.freeze)
    if epochs >= options.epochs:
        raise UserError(
            f"--freeze {options.freeze} thaws the trunk after {epochs} epochs, but --epochs is {options.epochs}. "
            "Train longer, or never thaw it: --freeze all."
        )
    if options.tune != "full" and (epochs or options.freeze == "all"):
        raise UserError(
            f"--tune {options.tune} trains a part of the trunk and --freeze {options.freeze} forbids it. "
            "Use --freeze none, or a level such as c3."
        )


def check_repeats(options: TrainingOptions) -> None:
    """Refuse seeds and folds that can't be repeated over, and what excludes them.

    Raises:
        UserError: Saying why.
    """
    if options.sweep.is_asked_for and (options.seeds is not None or options.folds is not None):
        raise UserError(
            "--sweep excludes --seeds and --folds: find the best values with one --seed, then train with those alone "
            "over several seeds or folds."
        )
    if options.seeds is not None:
        check_each("seeds", options.seeds, most=2**32 - 1)
        if options.folds is not None:
            raise UserError("--seeds and --folds exclude each other: give --folds one --seed.")
    if options.folds is not None and options.folds < 2:
        raise UserError(f"--folds takes 2 or more, not {options.folds}.")
    if options.fold is not None and not 1 <= options.fold <= (options.folds or 0):
        raise UserError(f"--fold takes a number from 1 to --folds, not {options.fold}.")


def check_sweep(sweep: SweepOptions) -> None:
    """Refuse values that can't be tried, and more combinations than anybody waits for.

    Raises:
        UserError: Saying which.
    """
    combinations = 1
    for name in ("learning_rates", "weight_decays"):
        given = getattr(sweep, name)
        if given is None:
            continue
        if not given or len(set(given)) < len(given) or not all(value >= 0 and isfinite(value) for value in given):
            raise UserError(f"--sweep.{name.replace('_', '-')} takes different numbers of 0 or more, not {given}.")
        combinations *= len(given)
    if combinations > _MOST_CANDIDATES:
        raise UserError(
            f"--sweep.learning-rates and --sweep.weight-decays give {combinations} combinations, each of which is "
            f"trained; {_MOST_CANDIDATES} are allowed. Try a few values first, then more around the best."
        )


def check_each(name: str, given: list[int], *, most: int) -> None:
    """Refuse an empty list, numbers out of range, and a number given twice.

    Raises:
        UserError: Saying which.
    """
    if not given or len(set(given)) < len(given) or min(given) < 0 or max(given) > most:
        raise UserError(f"--{name} takes different numbers from 0 to {most}, not {given}.")


def check_image_size(image_size: list[int] | None) -> None:
    """Refuse an image size that isn't one or two positive numbers.

    Raises:
        UserError: Saying so.
    """
    if image_size is None:
        return
    if not isinstance(image_size, list) or len(image_size) not in (1, 2) or min(image_size) < 1:
        raise UserError(f"--image-size takes one number, or a height and a width, not {image_size}.")
