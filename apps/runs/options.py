"""The options of the commands about runs."""

from dataclasses import dataclass
from typing import Literal

from ..arguments import positional
from ..config import CheckedOptions
from ..option_checks import check_range


@dataclass(kw_only=True)
class ListOptions:
    """List the runs below a folder."""

    folder: str = positional("FOLDER", default="runs")
    """The folder to look into; unset: runs."""
    json: bool = False
    """Print JSON for scripts instead of a table."""


@dataclass(kw_only=True)
class CompareOptions:
    """Compare two runs on the same images."""

    first: str = positional("A")
    """The folder of a run, of several seeds or folds, or of an evaluation (evaluate --output DIR)."""
    second: str = positional("B")
    """Another one; differences are B - A."""
    all: bool = False
    """Print every class and every image that only one of them got right, not the first twenty."""
    output: str | None = None
    """The folder for compare.json and compare.csv; unset: the comparison is only printed."""
    overwrite: bool = False
    """Write over a comparison that the folder already holds."""


@dataclass(kw_only=True)
class GainOptions(CheckedOptions):
    """Train a run's recipe from random weights and as a frozen probe, and compare."""

    run: str = positional("RUN")
    """The folder of a finished run."""
    device: Literal["auto", "cpu", "cuda", "mps"] | None = None
    """Where to train; unset: as the run."""
    workers: int | None = None
    """Processes that read images; unset: as the run."""
    overwrite: bool = False
    """Train what the run is compared with anew, after the run itself was trained anew."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "workers")
