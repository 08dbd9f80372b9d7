"""Tables of captions: CSV (also with ``;`` or tabs between columns), Parquet, and JSON lines.

============  ==================================================================================================
column        meaning
============  ==================================================================================================
``path``      the image, absolute or relative to the table's folder; ``image`` means the same
``caption``   what somebody says of it; several captions of an image stand in several rows, or in a list
``captions``  instead of ``caption``: a list of them in Parquet and JSON lines, in CSV one in JSON: ``["a", "b"]``
``subject``   optional: as in every table (``table.py``)
``split``     optional: train, val or test, or a synonym
============  ==================================================================================================

Texts are put in order as ``texts.py`` says.
"""

import json
from pathlib import Path
from typing import Any

from .contents import Contents
from .sample import DataError
from .table_files import Row, name_near, require
from .table_rows import as_text
from .text_table import TextColumns, read_text_table
from .texts import clean_text


def read_caption_table(path: Path) -> Contents:
    """Read a table of images with captions; no picture is opened.

    Raises:
        DataError: As ``read_text_table``.
    """
    return read_text_table(path, TextColumns("caption", ("caption", "captions"), _check_columns, _read_captions))


def _check_columns(columns: list[str], path: Path) -> None:
    require(["path"], columns, path)
    if ("caption" in columns) == ("captions" in columns):
        both = "caption" in columns
        problem = "'caption' and 'captions' can't both be there" if both else "the column 'caption' is missing"
        near = "" if both else name_near("caption", columns)
        raise DataError(f"{path}: {problem}; columns: {', '.join(columns) or 'none'}.{near}")


def _read_captions(row: Row) -> list[str | None]:
    """Return the captions of a row, None for an empty one.

    Raises:
        DataError: There is no list where one has to be, or it holds something else than text.
    """
    value = row["captions"] if "captions" in row else row["caption"]
    if "captions" in row:
        value = _read_list(value)
    texts = value if isinstance(value, list) else [value]
    if any(isinstance(text, list | dict) for text in texts):
        raise DataError("a caption is text, not a list or an object.")
    return [clean_text(as_text(text)) or None for text in texts] or [None]


def _read_list(value: Any) -> list[Any]:
    if isinstance(value, list) or not as_text(value):
        return value or []
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise DataError(
            f'captions are a list, such as ["a cat", "a cat sits"], not {value!r:.60}. A column of single captions '
            "is called 'caption'."
        )
    return found
