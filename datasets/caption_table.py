"""Tables of captions."""

from pathlib import Path

from .contents import Contents


def read_caption_table(path: Path) -> Contents:
    """To be written."""
    return Contents({})
