"""COCO's captions (Chen et al. 2015).

::

    coco/annotations/captions_train2017.json      images, and annotations with a caption each; no categories
    coco/train2017/000000000009.jpg               pictures are found as those of ``coco.py``

Files of other tasks may lie beside them. The split stands in the name of the file.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .captioned import Caption, CaptionedImages
from .coco import Picture, annotation_files, base_of, drop_repeated, make_pictures, picture_folders, with_size
from .contents import Contents
from .sample import DataError
from .splits import SPLITS, find_split_in

_HINT = (
    "Pictures are looked for by their file_name in the folder, in images, and in folders named like the split, such as "
    "train2017."
)

_OTHERS = ("instances", "stuff", "person_keypoints", "panoptic", "image_info", "dataset")
"""How files of other tasks begin, which may be too large to be opened in order to find that out."""


def holds_coco_captions(root: Path) -> bool:
    """Whether a folder, or a file, holds COCO's captions."""
    return bool(_find_files(root))


def read_coco_captions(root: Path) -> Contents:
    """Read COCO's captions; no picture is opened. Images without captions are left out with a note.

    Args:
        root: The folder, or a file.

    Raises:
        DataError: A file can't be read or isn't COCO's, or no image has a caption; ``faults`` name annotations of
            images that aren't listed, and images that are listed twice.
    """
    files = _find_files(root) or {"": root}
    contents, images = Contents({}), CaptionedImages(root)
    folder = root if root.is_dir() else base_of(root)
    for split, path in files.items():
        for picture in _read_pictures(path, folder, split, contents):
            captions = [
                Caption(each["caption"], f"{path.name}, annotation {each.get('id')}") for each in picture.annotations
            ]
            images.add(split, picture.path, picture.name, captions, image_id=picture.image_id)
    return images.finish(contents, _HINT)


def _find_files(root: Path) -> dict[str, Path]:
    """Return the files with captions by split; the only key is the empty text where names tell no split."""
    if root.is_file():
        return {"": root} if _has_captions(root) else {}
    every = annotation_files(root)
    files = [path for path in every if path.stem.startswith("captions")]
    if not files:
        files = [path for path in every if not path.stem.startswith(_OTHERS) and _has_captions(path)]
    found: dict[str, Path] = {}
    for path in files:
        split = find_split_in(path.stem) or ""
        if split in found:
            raise DataError(
                f"{root}: '{found[split].name}' and '{path.name}' are both captions of {_describe(split)}. Keep one, "
                "or give the path of one."
            )
        found[split] = path
    if "" in found and len(found) > 1:
        raise DataError(
            f"{root}: the name of '{found[''].name}' tells no split, but those of other files with captions do. "
            "Rename it, such as captions_train.json, or give the path of one file."
        )
    return {split: found[split] for split in ("", *SPLITS) if split in found}


def _describe(split: str) -> str:
    return f"'{split}'" if split else "no split"


def _has_captions(path: Path) -> bool:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return "images" in plain and any("caption" in each for each in plain["annotations"][:1])
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _read_pictures(path: Path, root: Path, split: str, contents: Contents) -> list[Picture]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        grouped: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        for each in plain["annotations"]:
            grouped[each["image_id"]].append({**each, "caption": _check_text(each["caption"])})
        pictures = make_pictures(
            list(map(with_size, plain["images"])), grouped, picture_folders(root, path, split), root
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: this can't be read as COCO captions ({type(error).__name__}: {error}). They are an object with "
            "images (id, file_name) and annotations (image_id, caption)."
        ) from error
    if not pictures:
        raise DataError(f"{path}: the list of images is empty.")
    for image_id in list(grouped)[:3]:
        contents.faults.append(f"{path}: captions are of image {image_id}, which isn't in the list of images.")
    return drop_repeated(pictures, path, contents)


def _check_text(caption: Any) -> str:
    if not isinstance(caption, str):
        raise TypeError(f"a caption is text, not {caption!r:.40}")
    return caption
