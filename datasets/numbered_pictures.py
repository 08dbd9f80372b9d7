"""Pictures that a data set's files call by their numbers."""

import re
from collections import defaultdict
from pathlib import Path

from .image_folder import walk_pictures
from .splits import find_split_in

_NUMBER = re.compile(r"(?:^|[^0-9])([0-9]+)$")


class NumberedPictures:
    """The pictures below a folder by the numbers their names end in, as in ``COCO_val2014_000000000042.jpg``."""

    def __init__(self, root: Path) -> None:
        """Look for them once: to ask for each of a hundred thousand in several folders would take longer."""
        self.root = root
        self._unclear: dict[int, tuple[Path, Path]] = {}
        self._found: dict[int, list[Path]] = defaultdict(list)
        for path in walk_pictures(root):
            if match := _NUMBER.search(path.stem):
                self._found[int(match[1])].append(path)

    def find(self, number: int, *, stem: str, folder: str, split: str) -> Path | None:
        """Return the picture of a number, or None.

        Of several it is the one with the usual name; then one in the usual folder; then one in a folder of the split.

        Args:
            number: The number.
            stem: The usual name, without ending.
            folder: The name of the folder it is usually in; empty where there is none.
            split: The split, or the empty text.
        """
        found = self._found.get(number, [])
        if len(found) < 2:
            return found[0] if found else None

        def rank(path: Path) -> tuple[bool, bool, bool]:
            parents = path.relative_to(self.root).parts[:-1]
            in_split = any(find_split_in(name) == split for name in parents)
            return path.stem != stem, folder not in parents, not in_split

        ranked = sorted((rank(path), path) for path in found)
        if ranked[0][0] == ranked[1][0]:
            self._unclear[number] = (ranked[0][1], ranked[1][1])
        return ranked[0][1]

    def find_faults(self) -> list[str]:
        """Return a fault if numbers were asked for that could mean several pictures, where nothing tells which."""
        if not self._unclear:
            return []
        number, (one, other) = next(iter(self._unclear.items()))
        have = "1 picture has a number" if len(self._unclear) == 1 else f"{len(self._unclear):,} pictures have numbers"
        return [
            f"{self.root}: {have} in which more than one file's name ends, e.g. {number}: {one} and {other}. Keep one, "
            "or give it the usual name."
        ]
