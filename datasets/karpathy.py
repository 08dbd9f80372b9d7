"""The JSON files of Karpathy and Fei-Fei (2015), in which captions of COCO, Flickr8k and Flickr30k are split.

::

    dataset_coco.json      {"images": [{"filename": ..., "filepath": "val2014", "split": "restval", "cocoid": ...,
                                        "sentences": [{"raw": ...}, ...]}, ...]}

The rest of COCO's validation images, ``restval``, is trained on, as in their paper and those that followed.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .captioned import Caption, CaptionedImages
from .coco import base_of, find_picture, relative_name
from .contents import Contents
from .flickr8k import FOLDERS
from .sample import DataError
from .splits import SPLITS, find_split

_REST = "restval"

_HEAD = 2**16
"""Bytes at the beginning of a file, in which its first image stands."""

_HINT = "Pictures are looked for beside the file, in images, and in the folders that filepath names, such as train2014."


def holds_karpathy(root: Path) -> bool:
    """Whether a folder, or a file, holds such captions."""
    return bool(_find_files(root))


def read_karpathy(root: Path) -> Contents:
    """Read such captions; no picture is opened.

    Args:
        root: The folder, or the file.

    Raises:
        DataError: The file can't be read or isn't such a one, there are several, or no image has a caption; ``faults``
            name images whose split isn't known, or that are there twice.
    """
    files = _find_files(root)
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise DataError(f"{root}: {len(files)} files hold captions and splits: {names}. Give the path of one.")
    path = next(iter(files), root)
    contents, images, rest = Contents({}), CaptionedImages(path), 0
    seen: set[Path] = set()
    for number, image in enumerate(_read_images(path)):
        with contents.gathering():
            name, split = _text(image, "filename", path, number), _text(image, "split", path, number)
            found = find_picture(name, _folders(path, image))
            if found in seen:
                raise DataError(f"{path}, image {number}: '{name}' is there twice.")
            seen.add(found)
            rest += split == _REST
            captions = list(_read_captions(image, path, number))
            chosen = _find_split(split, f"{path}, image {number} ({name})")
            images.add(chosen, found, relative_name(found, base_of(path)), captions, image_id=image.get("cocoid"))
    if rest:
        contents.notes.append(f"{path}: {rest:,} images of '{_REST}' count as 'train', as they usually do.")
    return images.finish(contents, _HINT)


def _find_files(root: Path) -> list[Path]:
    files = [root] if root.is_file() else [*sorted(root.glob("*.json")), *sorted(root.glob("annotations/*.json"))]
    return [path for path in files if path.suffix.lower() == ".json" and _is_one(path)]


def _is_one(path: Path) -> bool:
    """Whether a file looks like one by its beginning: COCO's has 150 MB."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return b'"sentences"' in head and b'"filename"' in head


def _read_images(path: Path) -> list[Mapping[str, Any]]:
    try:
        images = json.loads(path.read_text(encoding="utf-8"))["images"]
        if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
            raise TypeError("images is no list of objects")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: this can't be read as captions with splits ({type(error).__name__}: {error}). They are an object "
            "with images (filename, split, sentences)."
        ) from error
    return images


def _text(image: Mapping[str, Any], key: str, path: Path, number: int) -> str:
    value = image.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{path}, image {number}: '{key}' is text, not {value!r:.40}.")
    return value.strip()


def _find_split(name: str, where: str) -> str:
    split = "train" if name == _REST else find_split(name)
    if split is None:
        raise DataError(f"{where}: the split '{name}' isn't one of {', '.join(SPLITS)}, {_REST}.")
    return split


def _read_captions(image: Mapping[str, Any], path: Path, number: int) -> Iterable[Caption]:
    sentences = image.get("sentences")
    if not isinstance(sentences, list):
        raise DataError(f"{path}, image {number}: 'sentences' is a list, not {sentences!r:.40}.")
    for place, sentence in enumerate(sentences):
        raw = sentence.get("raw") if isinstance(sentence, dict) else None
        if not isinstance(raw, str):
            raise DataError(f"{path}, image {number}, sentence {place}: it has no text 'raw'.")
        yield Caption(raw, f"image {number}, sentence {place}")


def _folders(path: Path, image: Mapping[str, Any]) -> list[Path]:
    """Return where a picture may lie, the likeliest first."""
    below = image.get("filepath")
    bases = list(dict.fromkeys((base_of(path), path.parent)))
    named = [folder for base in bases for folder in (base / below, base / "images" / below)] if below else []
    return [*named, *(base / folder for base in bases for folder in FOLDERS), *bases]
