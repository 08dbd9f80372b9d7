"""Where tables are printed."""

from rich.console import Console

#: Columns; more than any table has, so that each is as wide as what it holds.
_ENDLESS = 1_000_000


def wide_console() -> Console:
    """Return a console that takes names as they are, and in a pipe never cuts or folds them, where grep looks."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=_ENDLESS)
