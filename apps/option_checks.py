"""What options may be, beyond their types: ranges, and combinations that make sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backbones.errors import UserError

if TYPE_CHECKING:
    from .config import TrainingOptions


def check_range(options: object, *names: str, least: float = 0, most: float | None = None) -> None:
    """Refuse numbers outside a range, in the words of the command line; an unset one is fine.

    Raises:
        UserError: For the first field among ``names`` that is below ``least`` or above ``most``.
    """
    for name in names:
        value = getattr(options, name)
        if value is None or (value >= least and (most is None or value <= most)):
            continue
        allowed = f"{least} or more" if most is None else f"{least} to {most}"
        raise UserError(f"--{name.replace('_', '-')} takes {allowed}, not {value}.")


def frozen_epochs(freeze: str) -> int:
    """Return the N of ``until:N``, and 0 for anything else that ``--freeze`` takes.

    Raises:
        UserError: If N isn't a number of epochs.
    """
    word, colon, number = freeze.partition(":")
    if not colon and word != "until":
        return 0
    if word != "until" or not number.isdigit() or int(number) < 1:
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
    """Refuse seeds and folds that can't be repeated over.

    Raises:
        UserError: Saying why.
    """
    if options.seeds is not None:
        check_each("seeds", options.seeds, most=2**32 - 1)
        if options.folds is not None:
            raise UserError("--seeds and --folds exclude each other: give --folds one --seed.")
    if options.folds is not None and options.folds < 2:
        raise UserError(f"--folds takes 2 or more, not {options.folds}.")
    if options.fold is not None and not 1 <= options.fold <= (options.folds or 0):
        raise UserError(f"--fold takes a number from 1 to --folds, not {options.fold}.")


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
