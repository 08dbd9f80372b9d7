"""The JSON Schema of the COCO superset, ``superset.schema.json`` (Draft 2020-12), and what a file breaks of it.

A walk of jsonschema over 20,000 pictures with four objects, five captions and five questions each takes minutes. So a
file is first looked at by columns: all values that a part of the schema is about, at once, which takes less time than
to parse the file. Only where that finds something wrong jsonschema looks, at the one entry that it is in, and what
jsonschema says counts. Both read the same schema, the one statement of the format.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backbones.errors import did_you_mean
from .sample import DataError

if TYPE_CHECKING:
    from jsonschema import ValidationError

_FILE = Path(__file__).with_name("superset.schema.json")

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),  # and floats that are whole
    "number": (int, float),
}
"""What JSON's types become; exactly these, for ``true`` is no number."""

_SHOWN = 60
"""Characters of a value that a message shows."""


@cache
def read_schema() -> dict[str, Any]:
    """Return the schema."""
    schema: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return schema


def read_checked(path: Path) -> dict[str, Any]:
    """Return what a file of the format holds.

    Raises:
        DataError: It can't be read, or breaks the schema: what it holds where, and what is allowed there.
    """
    try:
        plain = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: this can't be read as JSON ({error}). Is it cut off?") from error
    if violation := find_violation(plain):
        raise DataError(f"{path}: {violation}")
    found: dict[str, Any] = plain
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON's")


def find_violation(plain: Any) -> str | None:
    """Return the first thing in a file's content that breaks the schema, a sentence; None where nothing does."""
    schema = read_schema()
    if fits(schema, [plain]):
        return None
    return next(map(_describe, _violations(plain, schema)), None)


def _violations(plain: Any, schema: Mapping[str, Any]) -> Iterator["ValidationError"]:
    """Yield what jsonschema finds: in the first entry of a list that breaks it, or else in the whole."""
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema)
    for key, node in schema["properties"].items():
        entries = plain.get(key) if isinstance(plain, dict) else None
        if isinstance(entries, list) and not fits(node["items"], entries):
            place = _find_misfit(node["items"], entries)
            for error in validator.descend(entries[place], node["items"], path=place):
                error.path.appendleft(key)
                yield error
    yield from validator.iter_errors(plain)


def _find_misfit(node: Mapping[str, Any], entries: Sequence[Any]) -> int:
    """Return the place of the first entry, of a list where there is one, that doesn't fit."""
    start, stop = 0, len(entries)
    while stop - start > 1:
        middle = (start + stop) // 2
        if fits(node, entries[start:middle]):
            start = middle
        else:
            stop = middle
    return start


def fits(node: Mapping[str, Any], column: Sequence[Any]) -> bool:
    """Whether all values of a column are what a part of the schema allows: the keywords that are used there.

    Args:
        node: The part.
        column: The values in its place, of all entries.
    """
    if not column:
        return True
    if "$ref" in node:
        return fits(read_schema()["$defs"][node["$ref"].rpartition("/")[2]], column)
    kinds = set(map(type, column))
    return (
        _are_typed(node, column, kinds)
        and ("enum" not in node or all(value in node["enum"] for value in column))
        and _lists_fit(node, _of(list, column, kinds))
        and _objects_fit(node, _of(dict, column, kinds))
        and _texts_fit(node, _of(str, column, kinds))
        and ("minimum" not in node or min(column) >= node["minimum"])
    )


def _are_typed(node: Mapping[str, Any], column: Sequence[Any], kinds: set[type]) -> bool:
    names = [node["type"]] if isinstance(node["type"], str) else node["type"]
    allowed = {kind for name in names for kind in _TYPES[name]}
    if float in kinds - allowed and int in allowed:
        return kinds - {float} <= allowed and all(value.is_integer() for value in column if type(value) is float)
    return kinds <= allowed


def _of(kind: type, column: Sequence[Any], kinds: set[type]) -> Sequence[Any]:
    """Return the values of a type, to which alone its keywords apply."""
    if kind not in kinds:
        return []
    return column if len(kinds) == 1 else [value for value in column if type(value) is kind]


def _texts_fit(node: Mapping[str, Any], texts: Sequence[str]) -> bool:
    return ("minLength" not in node or all(len(text) >= node["minLength"] for text in texts)) and (
        "pattern" not in node or all(re.search(node["pattern"], text) for text in set(texts))
    )


def _lists_fit(node: Mapping[str, Any], lists: Sequence[list[Any]]) -> bool:
    return (
        ("minItems" not in node or all(len(each) >= node["minItems"] for each in lists))
        and ("maxItems" not in node or all(len(each) <= node["maxItems"] for each in lists))
        and ("items" not in node or fits(node["items"], list(chain.from_iterable(lists))))
        # of text, as the items before say
        and ("uniqueItems" not in node or all(len(set(each)) == len(each) for each in lists))
    )


def _objects_fit(node: Mapping[str, Any], objects: Sequence[dict[str, Any]]) -> bool:
    required = all(key in each for key in node.get("required", ()) for each in objects)
    dependent = all(
        key not in each or all(other in each for other in others)
        for key, others in node.get("dependentRequired", {}).items()
        for each in objects
    )
    return (
        required
        and dependent
        and all(
            fits(part, [each[key] for each in objects if key in each])
            for key, part in node.get("properties", {}).items()
        )
    )


def _describe(error: "ValidationError") -> str:
    """Return where a violation is, what was found and what is allowed."""
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
    where = path.lstrip(".") or "the file"
    allowed = error.schema["description"] if isinstance(error.schema, Mapping) else ""
    found: Any = error.instance
    if error.validator == "required":
        needed = error.schema["required"] if isinstance(error.schema, Mapping) else []
        missing = next(key for key in needed if key not in found)
        near = did_you_mean(missing, [key for key in found if key not in needed])
        return f"{where} has no '{missing}'; it has {', '.join(found) or 'nothing'}. It has to be {allowed}.{near}"
    if error.validator == "dependentRequired":
        return f"it has 'annotations' but no 'categories', which name their classes. It has to be {allowed}."
    shown = repr(found)
    return f"{where} is {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'}; it has to be {allowed}."
