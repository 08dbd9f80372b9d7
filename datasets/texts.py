"""Text as data sets have it: one rule for what becomes of it when it is read.

A caption, question or answer is put in order by ``clean_text`` and nothing else: letters, case, punctuation and HTML
entities stay, and so does its length. One that is empty then is left out, and an image that is left with none too; the
data set's notes count them and say where they stood.
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

_LISTED = 5


def clean_text(text: str) -> str:
    """Return a text in Unicode's form NFC, with one space for each run of white space and control characters.

    Letters, case and punctuation stay: what of them counts is the business of whoever learns or judges the text. Half
    of a character (a lone surrogate), which JSON can hold and UTF-8 can't, becomes U+FFFD; two halves become one.
    """
    if text.isascii() and text.isprintable():  # most text, and millions of answers; it is in that form
        return " ".join(text.split())
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    composed = unicodedata.normalize("NFC", whole)
    return " ".join("".join(" " if unicodedata.category(each) == "Cc" else each for each in composed).split())


def note_empty(source: Path, what: str, places: Sequence[str]) -> list[str]:
    """Return a note on empty texts that were left out, if there are any.

    Args:
        source: The file they stand in.
        what: One of them, such as ``caption``.
        places: Where each stands, such as ``row 3``.
    """
    if not places:
        return []
    were = f"1 empty {what} was" if len(places) == 1 else f"{len(places):,} empty {what}s were"
    return [f"{source}: {were} left out: {list_some(places)}."]


def note_bare(source: Path, what: str, names: Sequence[str]) -> list[str]:
    """Return a note on images that were left out because no text is left for them, if there are any; as above."""
    if not names:
        return []
    were = "1 image" if len(names) == 1 else f"{len(names):,} images"
    return [f"{source}: {were} without a {what} {'was' if len(names) == 1 else 'were'} left out: {list_some(names)}."]


def list_some(names: Sequence[str]) -> str:
    """Return the first few of some names, for a sentence."""
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
