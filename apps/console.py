"""Where tables are printed, and how far a pass over images is."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Columns; more than any table has, so that each is as wide as what it holds.
_ENDLESS = 1_000_000


def wide_console() -> Console:
    """Return a console that takes names as they are, and in a pipe never cuts or folds them, where grep looks."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=_ENDLESS)


class ImageProgress:
    """A bar that counts images, where a person looks; a context.

    Attributes:
        kept: How many of them were there already, and needed no computing.
    """

    def __init__(self, total: int) -> None:
        """Take the number of images."""
        self.kept = 0
        console = wide_console()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("images", total=total)

    def __enter__(self) -> "ImageProgress":
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Take the bar away."""
        self._bar.stop()

    def keep(self, images: int, *, of: int) -> None:
        """Count images that were there already, and say so."""
        if images:
            self._bar.console.print(f"going on: {images:,} of {of:,} images are there")
        self.kept += images
        self.advance(images)

    def advance(self, images: int) -> None:
        """Count images."""
        self._bar.advance(self._task, images)
