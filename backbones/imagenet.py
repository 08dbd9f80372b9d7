"""The thousand classes of ImageNet in the order of the classifiers, and finding a person's class names among them."""

import difflib
import functools
import re
from collections.abc import Sequence
from typing import Any

from .errors import UserError

WORDNET_ID = re.compile(r"n\d{8}")


@functools.cache
def imagenet_classes() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the WordNet id and the names of each class, e.g. ``("n01440764", ("tench", "Tinca tinca"))``."""
    from timm.data.imagenet_info import ImageNetInfo

    info: Any = ImageNetInfo("imagenet-1k")
    return tuple((wnid, tuple(info.label_name_to_description(wnid).split(", "))) for wnid in info.label_names())


def match_imagenet_classes(names: Sequence[str]) -> list[int]:
    """Return which of the thousand classes each name is.

    A name is a WordNet id, any of the class's names, or all of them (``"tench, Tinca tinca"``); upper and lower case,
    ``_``, ``-`` and spaces are alike.

    Raises:
        UserError: A name is none of the classes, belongs to several, or two names are the same class.
    """
    indices = [_match(name) for name in names]
    for index in {index for index in indices if indices.count(index) > 1}:
        same = [name for name, other in zip(names, indices, strict=True) if other == index]
        raise UserError(f"{' and '.join(same)} are the same ImageNet class ({_label(index)}): give each class once.")
    return indices


@functools.cache
def _by_name() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index, (wnid, names) in enumerate(imagenet_classes()):
        for name in {_plain(each) for each in (wnid, *names, ", ".join(names))}:
            found.setdefault(name, []).append(index)
    return found


def _plain(name: str) -> str:
    return " ".join(re.sub(r"[_\-\s]+", " ", name).lower().split())


def _match(name: str) -> int:
    known = _by_name()
    plain = _plain(name)
    found = known.get(plain, [])
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(_label(index) for index in found)
        raise UserError(f"'{name}' is the name of several ImageNet classes: {ids}. Name the folder by its WordNet id.")
    if WORDNET_ID.fullmatch(plain):
        raise UserError(f"'{name}' is a WordNet id, but none of the thousand ImageNet classes.")
    near = difflib.get_close_matches(plain, known, n=3, cutoff=0.6)
    hint = f" Near: {', '.join(near)}." if near else ""
    raise UserError(f"'{name}' is no name of an ImageNet class.{hint}")


def _label(index: int) -> str:
    wnid, names = imagenet_classes()[index]
    return f"{wnid} ({names[0]})" if len(names) == 1 else f"{wnid} ({', '.join(names[:2])})"
