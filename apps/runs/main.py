"""The commands ``onetrunk runs list|compare|gain``; their work is imported when one of them runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..cli import Command
from .options import CompareOptions, GainOptions, ListOptions

if TYPE_CHECKING:
    from .comparison import Comparison
    from .gain import Gain
    from .listing import Row


def list_runs(options: ListOptions) -> list[Row]:
    """Print and return the runs below a folder, the newest first.

    Raises:
        UserError: If there is no such folder.
    """
    from .listing import list_and_print

    return list_and_print(options)


def compare(options: CompareOptions) -> Comparison:
    """Compare two runs on the same images; print, write and return what the images say.

    Raises:
        UserError: For folders that hold no results, or results that can't be compared.
    """
    from .compare import compare_and_print

    return compare_and_print(options)


def gain(options: GainOptions) -> list[Gain]:
    """Train what a run has to be compared with; print, write and return what its pretraining and fine-tuning brought.

    Raises:
        UserError: For a folder that holds no finished run, or a run that has nothing to be compared with.
    """
    from .gain import train_and_compare

    return train_and_compare(options)


COMMANDS = {
    "list": Command(list_runs, ListOptions, "list the runs below a folder"),
    "compare": Command(compare, CompareOptions, "compare two runs on the same images"),
    "gain": Command(gain, GainOptions, "what pretraining and fine-tuning brought a run, by training it without them"),
}
