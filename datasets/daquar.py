"""DAQUAR."""

from pathlib import Path

from .contents import Contents


def holds_daquar(root: Path) -> bool:
    """To be written."""
    return False


def read_daquar(root: Path) -> Contents:
    """To be written."""
    return Contents({})
