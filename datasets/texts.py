"""Text as data sets have it: one rule for what becomes of it when it is read."""

import unicodedata


def clean_text(text: str) -> str:
    """Return a text in Unicode's form NFC, with one space for each run of white space and control characters.

    Letters, case and punctuation stay: what of them counts is the business of whoever learns or judges the text.
    """
    composed = unicodedata.normalize("NFC", text)
    return " ".join("".join(" " if unicodedata.category(each) == "Cc" else each for each in composed).split())
