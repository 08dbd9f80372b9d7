"""Tables of questions."""

from pathlib import Path

from .contents import Contents


def read_question_table(path: Path) -> Contents:
    """To be written."""
    return Contents({})
