"""The nouns of WordNet, how near they are to each other, and where their files lie (Fellbaum 1998)."""

import os
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...backbones.errors import UserError

#: The files that are read, as WordNet's manual pages ``wndb(5)`` and ``morphy(7)`` describe them.
_INDEX, _DATA, _EXCEPTIONS = "index.noun", "data.noun", "noun.exc"
#: Endings of plurals, and what the singular has in their place; ``morphy(7)``.
_ENDINGS = (
    ("s", ""),
    ("ses", "s"),
    ("ves", "f"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
)
#: What points at a more general noun: that of a kind, and that of a single thing.
_UPWARD = ("@", "@i")
#: Where it lies in NLTK's folders; NLTK's downloader leaves it packed.
_PLACES = ("corpora/wordnet", "corpora/wordnet.zip", "corpora/wordnet31", "corpora/wordnet31.zip")
#: Where a system keeps what all its people use.
_SYSTEM = ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib")
_HOW = (
    "Fetch it with 'python -m nltk.downloader wordnet' (nltk is a package of its own), or unpack WordNet's database "
    "files from wordnet.princeton.edu, and name the folder above 'corpora/wordnet' in NLTK_DATA."
)


@dataclass
class WordNet:
    """Nouns by their senses, a number each: the place of a sense in the file ``data.noun``.

    Attributes:
        index: The senses of each noun, the most usual first.
        parents: The more general senses of each sense.
        names: What tells senses apart, such as ``dog.n.01``.
        exceptions: The singulars of irregular plurals.
    """

    index: Mapping[str, tuple[int, ...]]
    parents: Mapping[int, tuple[int, ...]]
    names: Mapping[int, str]
    exceptions: Mapping[str, tuple[str, ...]]
    _distances: dict[int, dict[int, int]] = field(default_factory=dict, repr=False)
    _depths: dict[tuple[int, bool], int] = field(default_factory=dict, repr=False)

    def senses(self, noun: str) -> list[int]:
        """Return the senses of a noun, or of what it may be the plural of; words may have spaces between them."""
        noun = noun.lower().replace(" ", "_")
        singulars = self.exceptions.get(noun) or [
            noun.removesuffix(ending) + instead for ending, instead in _ENDINGS if noun.endswith(ending)
        ]
        forms = dict.fromkeys([noun, *singulars])
        return [sense for form in forms for sense in self.index.get(form, ())]

    def similarity(self, first: int, second: int) -> float:
        """Return Wu and Palmer's (1994) similarity of two senses: 2 d / (d1 + d2), as NLTK computes it.

        d is the depth of what both are kinds of, the longest way from the top to it, counted from 1; d1 and d2 are d
        and the shortest way from there to each sense. Of several such ancestors that one counts whose shortest way from
        the top is longest: the first sense where it is one of them, else the first by name.
        """
        above_first, above_second = self._ancestors(first), self._ancestors(second)
        common = above_first.keys() & above_second.keys()
        if not common:
            return 0.0
        deepest = max(self._depth(sense, longest=False) for sense in common)
        lowest = [sense for sense in common if self._depth(sense, longest=False) == deepest]
        ancestor = first if first in lowest else min(lowest, key=self.names.__getitem__)
        depth = self._depth(ancestor, longest=True) + 1
        return 2 * depth / (2 * depth + self._way(above_first, ancestor) + self._way(above_second, ancestor))

    def _way(self, above: dict[int, int], ancestor: int) -> int:
        """Return the number of steps between a sense and one above it, by whichever common ancestor is nearest."""
        return min(steps + above[sense] for sense, steps in self._ancestors(ancestor).items() if sense in above)

    def _ancestors(self, sense: int) -> dict[int, int]:
        """Return a sense and all above it, with how many steps each is away."""
        if sense not in self._distances:
            found, level, steps = {sense: 0}, [sense], 0
            while level:
                steps += 1
                level = [each for below in level for each in self.parents[below] if each not in found]
                found |= dict.fromkeys(level, steps)
            self._distances[sense] = found
        return self._distances[sense]

    def _depth(self, sense: int, *, longest: bool) -> int:
        """Return the number of steps from the top to a sense, by the longest or the shortest way."""
        key = (sense, longest)
        if key not in self._depths:
            of_parents = [self._depth(parent, longest=longest) + 1 for parent in self.parents[sense]]
            self._depths[key] = (max if longest else min)(of_parents, default=0)
        return self._depths[key]


def wordnet_places() -> list[Path]:
    """Return where NLTK looks for WordNet, and so do we: the folders of ``NLTK_DATA``, of the person, of the system."""
    named = [Path(each) for each in os.environ.get("NLTK_DATA", "").split(os.pathsep) if each]
    own = [Path(sys.prefix, *rest, "nltk_data") for rest in ((), ("share",), ("lib",))]
    system = [Path(root, "nltk_data") for root in _SYSTEM]
    folders = [*named, Path.home() / "nltk_data", *own, *system]
    return [folder / place for folder in folders for place in _PLACES]


def wordnet_fault() -> str | None:
    """Return why there is no WordNet, and what to do about it; None if there is one."""
    if any(map(_is_there, wordnet_places())):
        return None
    named = os.environ.get("NLTK_DATA")
    where = f"NLTK_DATA, which is '{named}'" if named else "NLTK_DATA, which isn't set"
    return (
        f"WUPS needs WordNet's files of nouns, {_INDEX} and {_DATA}. They lie neither in a folder of {where}, nor "
        f"where NLTK keeps its data by itself, such as '{Path.home() / 'nltk_data'}'. {_HOW}"
    )


def _is_there(place: Path) -> bool:
    if place.suffix == ".zip":
        return place.is_file()
    return (place / _INDEX).is_file() and (place / _DATA).is_file()


def read_wordnet() -> WordNet:
    """Return WordNet's nouns, from the first place that has them.

    Raises:
        UserError: If there is no WordNet, or its files are damaged.
    """
    if (fault := wordnet_fault()) is not None:
        raise UserError(fault)
    place = next(place for place in wordnet_places() if _is_there(place))
    try:
        return _parse(_read(place))
    except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
        raise UserError(f"{place}: WordNet's files of nouns can't be read ({error}). {_HOW}") from error


def _read(place: Path) -> dict[str, list[str]]:
    """Return the lines of the files, without the licence in front of them; there needn't be exceptions."""
    if place.suffix != ".zip":
        paths = [place / name for name in (_INDEX, _DATA, _EXCEPTIONS)]
        return {path.name: _lines(path.read_text(encoding="utf-8")) for path in paths if path.is_file()}
    with zipfile.ZipFile(place) as archive:
        members = {Path(name).name: name for name in archive.namelist()}
        names = [_INDEX, _DATA, *([_EXCEPTIONS] if _EXCEPTIONS in members else [])]
        return {name: _lines(archive.read(members[name]).decode("utf-8")) for name in names}


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith(" ")]


def _parse(files: Mapping[str, list[str]]) -> WordNet:
    index = dict(map(_parse_noun, files[_INDEX]))
    parents, names = {}, {}
    for line in files[_DATA]:
        fields = line.split("|")[0].split()
        sense, words = int(fields[0]), int(fields[3], 16)
        pointers = fields[5 + 2 * words : 5 + 2 * words + 4 * int(fields[4 + 2 * words])]
        kinds = zip(pointers[::4], pointers[1::4], strict=True)
        parents[sense] = tuple(int(target) for kind, target in kinds if kind in _UPWARD)
        first = fields[4].lower()
        names[sense] = f"{first}.n.{index[first].index(sense) + 1:02}"
    exceptions = {fields[0]: tuple(fields[1:]) for fields in map(str.split, files.get(_EXCEPTIONS, []))}
    return WordNet(index, parents, names, exceptions)


def _parse_noun(line: str) -> tuple[str, tuple[int, ...]]:
    """Return a noun and its senses: the last fields of its line, as many as the third says."""
    fields = line.split()
    return fields[0], tuple(map(int, fields[len(fields) - int(fields[2]) :]))
