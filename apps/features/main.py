"""The commands ``onetrunk features extract|probe|search``; their work is imported when one of them runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..cli import Command
from .options import ExtractOptions, ProbeOptions, SearchOptions

if TYPE_CHECKING:
    from pathlib import Path

    from ..card import Card


def extract(options: ExtractOptions) -> Path:
    """Run a trunk over images and write the features of its layers; return the file.

    Raises:
        UserError: For options, weights or data that can't be used, or a disk that is too small; nothing was written
            over. What was computed until an interruption is kept, and the same command goes on.
    """
    from .export import run_extraction

    return run_extraction(options)


def probe(options: ProbeOptions) -> dict[str, Card]:
    """Fit logistic regression and nearest neighbours on the training split; print and return a card of each.

    Raises:
        UserError: For a file that can't be read, or that lacks labels or a split.
    """
    from .probes import run_probe

    return run_probe(options)


def search(options: SearchOptions) -> list[list[dict[str, Any]]]:
    """Print and return for each query the images with the most similar features, the nearest first.

    Raises:
        UserError: For a file or a picture that can't be read, or weights that are no longer those of the file.
    """
    from .neighbours import run_search

    return run_search(options)


COMMANDS = {
    "extract": Command(extract, ExtractOptions, "write the features of images into a file"),
    "probe": Command(probe, ProbeOptions, "how well features separate the classes, by simple classifiers"),
    "search": Command(search, SearchOptions, "find the images nearest to others"),
}
