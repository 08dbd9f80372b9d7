"""The categories of COCO's JSON files: read from one, and joined where each split has a file of its own."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .sample import DataError


def read_categories(categories: Iterable[Mapping[str, Any]], path: Path) -> dict[int, str]:
    """Return the names of a file's categories by id.

    Args:
        categories: The entries of the list.
        path: The file, for messages.

    Raises:
        DataError: Two have the same id, so that annotations don't tell which of them they are of.
    """
    named: dict[int, str] = {}
    for each in categories:
        number, name = int(each["id"]), str(each["name"])
        if number in named:
            raise DataError(
                f"{path}: the categories '{named[number]}' and '{name}' have the same id, {number}, so annotations "
                "don't tell which of them is meant. Give each category an id of its own."
            )
        named[number] = name
    return named


def join_categories(files: Mapping[Path, Mapping[int, str]]) -> dict[int, str]:
    """Return the categories of all splits by id.

    Args:
        files: Those of each split's file.

    Raises:
        DataError: Two of a file are called alike, or splits have other ids or names for them.
    """
    joined: dict[int, str] = {}
    for path, categories in files.items():
        for number, name in categories.items():
            if joined.setdefault(number, name) != name:
                raise DataError(f"{path}: category {number} is '{name}' here and '{joined[number]}' in another split.")
        names = Counter(categories.values())
        if twice := [name for name, number in names.items() if number > 1]:
            ids = ", ".join(str(number) for number, name in categories.items() if name == twice[0])
            raise DataError(
                f"{path}: {names[twice[0]]} categories are called '{twice[0]}', with the ids {ids}. Keep one, and give "
                "their annotations its id; or name them apart."
            )
    numbers: dict[str, int] = {}
    for number, name in joined.items():
        if numbers.setdefault(name, number) != number:
            sources = ", ".join(map(str, files))
            raise DataError(f"{sources}: '{name}' is category {numbers[name]} in one split and {number} in another.")
    return joined
