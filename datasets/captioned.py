"""Images and their captions as a reader comes upon them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .contents import Contents
from .sample import DataError, Record
from .table_rows import none_exists, sort_out
from .texts import clean_text, note_bare, note_empty


class Caption(NamedTuple):
    """A caption as it was read, and where it stands, such as ``line 3``."""

    text: str
    place: str


@dataclass
class CaptionedImages:
    """The images of a folder or a file; empty captions are left out, and images without any (``texts.py``)."""

    source: Path
    """The folder or file, for messages."""
    _records: list[tuple[str, Record]] = field(default_factory=list)
    _empty: list[str] = field(default_factory=list)
    _bare: list[str] = field(default_factory=list)

    def add(
        self, split: str, path: Path, name: str, captions: Iterable[Caption], *, image_id: int | str | None = None
    ) -> None:
        """Add an image.

        Args:
            split: Its split; empty where there are none.
            path: Where it is.
            name: How manifests name it.
            captions: What is said of it, as it was read.
            image_id: What the data set's files call it, where they do.
        """
        kept = []
        for caption in captions:
            if text := clean_text(caption.text):
                kept.append(text)
            else:
                self._empty.append(f"{caption.place} ({name})")
        targets: dict[str, Any] = {"captions": tuple(kept)}
        if image_id is not None:
            targets["image_id"] = image_id
        if kept:
            self._records.append((split, Record(path, targets, name)))
        else:
            self._bare.append(name)

    def finish(self, contents: Contents, hint: str) -> Contents:
        """Return the contents with the images, sorted by name, and notes on what was left out.

        Args:
            contents: The notes and faults so far.
            hint: Where pictures are looked for, in case that none is there.

        Raises:
            DataError: No image with a caption is left.
        """
        contents.notes += [
            *note_empty(self.source, "caption", self._empty),
            *note_bare(self.source, "caption", self._bare),
        ]
        if not self._records and not contents.faults:
            raise DataError(f"{self.source}: no image has a caption. {' '.join(contents.notes)}".rstrip())
        contents.faults += none_exists([record for _, record in self._records], self.source, hint)
        contents.splits = sort_out(sorted(self._records, key=lambda each: each[1].name))
        return contents
