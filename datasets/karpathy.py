"""Karpathy's JSON files."""

from pathlib import Path

from .contents import Contents


def holds_karpathy(root: Path) -> bool:
    """To be written."""
    return False


def read_karpathy(root: Path) -> Contents:
    """To be written."""
    return Contents({})
