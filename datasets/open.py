"""Opening a data set: finding out what a path is, or saying why it can't be used."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

from ..backbones.errors import did_you_mean
from .annotated_images import AnnotatedImages, note_splits
from .caption_table import read_caption_table
from .coco import find_coco_files, guess_coco_kind, read_coco_boxes, read_coco_masks, read_coco_objects
from .coco_captions import holds_coco_captions, read_coco_captions
from .contents import Contents, raise_faults
from .daquar import holds_daquar, read_daquar
from .easy_vqa import holds_easy_vqa, read_easy_vqa
from .flickr8k import holds_flickr, read_flickr
from .image_folder import describe_folder, read_image_folder
from .karpathy import holds_karpathy, read_karpathy
from .mask_folder import holds_mask_folders, read_mask_folder
from .question_table import read_question_table
from .sample import DataError, Record
from .splits import ALL, apply_split, read_split, stratified_split
from .superset import (
    guess_superset_kind,
    read_superset_boxes,
    read_superset_captions,
    read_superset_labels,
    read_superset_masks,
    read_superset_objects,
    read_superset_questions,
)
from .superset_files import holds_superset
from .table import kind_of_table, read_box_table, read_mask_table, read_object_table, read_table
from .table_files import TABLE_EXTENSIONS
from .voc import (
    find_voc_below,
    holds_voc,
    holds_voc_masks,
    read_voc,
    read_voc_boxes,
    read_voc_masks,
    read_voc_objects,
)
from .vqa import holds_vqa, read_vqa
from .wider_face import holds_wider, read_wider
from .yolo import holds_yolo, read_yolo

Kind = Literal["labels", "masks", "boxes", "objects", "captions", "questions"]
"""What a task needs to know of each image: its class or classes, the class of each pixel, where its object is, where
all its objects of any classes are, what people say of it, or what they ask about it and answer."""

KINDS: tuple[Kind, ...] = get_args(Kind)

TEXTS: tuple[Kind, ...] = ("captions", "questions")
"""Kinds whose images have no classes."""

_ORIGINS = {
    "image_folder": "folders",
    "table": "column",
    "superset": "files",
    "voc": "lists",
    "mask_folder": "folders",
    "coco": "files",
    "yolo": "folders",
    "wider": "files",
    "flickr": "lists",
    "karpathy": "file",
    "vqa": "files",
    "daquar": "files",
    "easy_vqa": "folders",
}
"""What the splits that a data set has are made of."""

_READERS: dict[Kind, dict[str, Callable[[Path], Contents]]] = {
    "labels": {
        "image_folder": read_image_folder,
        "table": read_table,
        "voc": read_voc,
        "superset": read_superset_labels,
    },
    "masks": {
        "mask_folder": read_mask_folder,
        "table": read_mask_table,
        "voc": read_voc_masks,
        "coco": read_coco_masks,
        "superset": read_superset_masks,
    },
    "boxes": {
        "table": read_box_table,
        "voc": read_voc_boxes,
        "coco": read_coco_boxes,
        "superset": read_superset_boxes,
    },
    "objects": {
        "table": read_object_table,
        "voc": read_voc_objects,
        "coco": read_coco_objects,
        "yolo": read_yolo,
        "wider": read_wider,
        "superset": read_superset_objects,
    },
    "captions": {
        "table": read_caption_table,
        "flickr": read_flickr,
        "karpathy": read_karpathy,
        "coco": read_coco_captions,
        "superset": read_superset_captions,
    },
    "questions": {
        "table": read_question_table,
        "easy_vqa": read_easy_vqa,
        "daquar": read_daquar,
        "vqa": read_vqa,
        "superset": read_superset_questions,
    },
}


_YAML = (".yaml", ".yml")

_VOC = "the VOC layout (JPEGImages, Annotations)"

_SUPERSET = "the COCO superset (annotations/superset_train.json)"

_BOX_TABLE = "COCO JSON files, and a table with the columns path, label, xmin, ymin, xmax, ymax"

_UNDERSTOOD: dict[Kind, str] = {
    "boxes": f"{_VOC}, {_SUPERSET}, {_BOX_TABLE}",
    "objects": (
        f"{_VOC}, WIDER FACE (wider_face_split, WIDER_train), YOLO's text files (data.yaml, or images and labels), "
        f"{_SUPERSET}, {_BOX_TABLE}"
    ),
    "captions": (
        "Flickr8k's captions.txt or Flickr8k.token.txt, Flickr30k's results.csv, COCO's captions_*.json, Karpathy's "
        f"dataset_*.json, {_SUPERSET}, and a table with the columns path and caption"
    ),
    "questions": (
        f"VQA's *_questions.json, DAQUAR's files, easy-VQA's folders, {_SUPERSET}, and a table with the columns path, "
        "question and answer"
    ),
}
"""Of kinds that have no layout of folders to fall back on, what is understood."""


def open_dataset(
    path: Path | str,
    split: str,
    *,
    kind: Kind = "labels",
    split_seed: int = 0,
    val_fraction: float = 0.2,
    split_file: Path | None = None,
) -> AnnotatedImages:
    """Open one split of a data set. No picture is decoded; masks are, to find the classes and what is wrong with them.

    A data set without splits is cut into ``train`` and ``val``; one with ``train`` but without ``val`` has ``val`` cut
    from ``train`` in the same way, and ``test`` stays untouched (``stratified_split``). ``all`` is every record whether
    it was cut or not, for evaluating a whole data set. A cut never divides the images of a ``subject``; where the data
    set's own splits do, its ``notes`` say so. For cross-validation see ``AnnotatedImages.with_fold``.

    Args:
        path: A folder with class folders (see ``image_folder.py``), a folder in the VOC layout (see ``voc.py``), or a
            table: CSV, Parquet or JSON lines (see ``table.py``). For masks see ``mask_folder.py`` and ``coco.py``, for
            objects also ``yolo.py`` and ``wider_face.py``; for captions ``caption_table.py``, ``flickr8k.py``,
            ``coco_captions.py`` and ``karpathy.py``; for questions ``question_table.py``, ``vqa.py``, ``daquar.py`` and
            ``easy_vqa.py``; for all of these ``superset.py``.
        split: ``train``, ``val``, ``test`` or a synonym, or ``all``.
        kind: What has to be known of each image; the same folder may hold several.
        split_seed: The seed of the cut.
        val_fraction: The share of the cut.
        split_file: A file of ``write_split`` that overrides all this; records it doesn't list are left out and noted.

    Raises:
        DataError: Saying what is wrong with the path, the layout, the split or a class, and what is understood.
    """
    opened, faults = open_with_faults(
        path, kind=kind, split_seed=split_seed, val_fraction=val_fraction, split_file=split_file
    )
    raise_faults(opened.root, faults)
    return opened.select(split)


def open_with_faults(
    path: Path | str,
    *,
    kind: Kind = "labels",
    split_seed: int = 0,
    val_fraction: float = 0.2,
    split_file: Path | None = None,
) -> tuple[AnnotatedImages, list[str]]:
    """Open all of a data set but what is wrong with it, for which ``open_dataset`` refuses it.

    Returns:
        The data set with ``all`` selected and unchecked, and the faults of single rows, files or folders.

    Raises:
        DataError: As ``open_dataset``, where nothing sound is left or it can't be told what the path is.
    """
    root = Path(path)
    layout = _find_format(root, kind)
    contents = _READERS[kind][layout](root)
    has_classes = kind in TEXTS or contents.classes
    if split_file is not None or not any(contents.splits.values()) or not has_classes:
        raise_faults(root, contents.faults)
    found, notes = contents.splits, list(contents.notes)
    if split_file is not None:
        everything = _join(found)
        by_name = everything if layout == "table" else sorted(everything, key=lambda record: record.name)
        found, unlisted = apply_split(by_name, read_split(split_file), split_file)
        splits, origin = found, "file"
        if unlisted:
            notes.append(f"{root}: {unlisted} images aren't listed in {split_file} and were left out.")
    else:
        splits, origin = cut_val(dict(found), layout, val_fraction, split_seed)
    notes += [*(_note_layouts(root, layout, kind) if kind in TEXTS else _note_classes(root, contents, kind))]
    notes += note_splits(root, splits)
    opened = AnnotatedImages(
        root, ALL, splits, found, contents.classes, layout, origin, numbers=contents.numbers, notes=tuple(notes)
    )
    return opened, contents.faults


def guess_kind(path: Path | str) -> Kind:
    """Return what a data set seems to be made for, where nobody says it.

    A VOC folder is taken for one of labels, and so is a superset that has any; of COCO files their regions decide, of a
    table its columns. Boxes are taken for those of any number of objects, which localization's are a case of. COCO's
    captions count where no file with objects lies beside them.
    """
    root = Path(path)
    if holds_superset(root):
        return guess_superset_kind(root) or "labels"
    suffix = root.suffix.lower()
    if root.is_dir():
        return _guess_folder(root)
    if suffix in TABLE_EXTENSIONS and not holds_flickr(root):
        return kind_of_table(root) if root.exists() else "labels"
    if suffix in _YAML:
        return "objects"
    return (guess_coco_kind(root) if suffix == ".json" else None) or _guess_texts(root) or "labels"


def _guess_folder(root: Path) -> Kind:
    if holds_voc(root):
        return "labels"
    if holds_mask_folders(root):
        return "masks"
    if holds_wider(root) or holds_yolo(root):
        return "objects"
    return guess_coco_kind(root) or _guess_texts(root) or _guess_tables(root) or "labels"


def _guess_tables(root: Path) -> Kind | None:
    """Return the kind of texts of which a table lies beside the one folder of its pictures, which is no class."""
    entries = list(root.iterdir())
    tables = [path for path in entries if path.suffix.lower() in TABLE_EXTENSIONS]
    if sum(path.is_dir() for path in entries) > 1:
        return None
    return next((kind for kind in TEXTS if any(_is_table_of(path, kind) for path in tables)), None)


def _guess_texts(root: Path) -> Kind | None:
    """Return the kind of a folder or file of texts; None where it is none."""
    return next((kind for kind in TEXTS if any(_find_held(root, kind))), None)


def _find_format(root: Path, kind: Kind) -> str:
    if not root.exists():
        near = did_you_mean(root.name, [entry.name for entry in root.parent.iterdir()]) if root.parent.is_dir() else ""
        raise DataError(f"{root}: there is no such file or folder.{near}")
    if holds_superset(root):
        return "superset"
    if root.is_dir():
        return _find_folder_format(root, kind)
    if kind in TEXTS and (held := next(_find_held(root, kind), None)):
        return held
    if root.suffix.lower() in TABLE_EXTENSIONS:
        return "table"
    if kind != "labels" and root.suffix.lower() == ".json":
        return "vqa" if kind == "questions" else "coco"
    if kind == "objects" and root.suffix.lower() in _YAML:
        return "yolo"
    files = {
        "labels": "",
        "objects": ", a COCO JSON file or YOLO's data.yaml",
        "captions": ", a COCO or Karpathy JSON file or Flickr8k's captions.txt",
        "questions": " or a VQA JSON file",
    }.get(kind, " or a COCO JSON file")
    raise DataError(
        f"{root}: a data set is a folder or a table ({', '.join(TABLE_EXTENSIONS)}){files}, not a file like this. The "
        f"folder around it holds {describe_folder(root.parent)}."
    )


def _find_folder_format(root: Path, kind: Kind) -> str:
    if kind not in TEXTS and not holds_voc(root) and (below := find_voc_below(root)):
        names = " or ".join(f"'{folder}'" for folder in below)
        raise DataError(f"{root}: the VOC layout (JPEGImages, Annotations) begins below it. Did you mean {names}?")
    # without any, these readers say what is missing
    fallback = {"labels": "image_folder", "masks": "mask_folder"}
    if layout := next(_find_held(root, kind), fallback.get(kind)):
        return layout
    near = _find_texts_near(root, kind) if kind in TEXTS else []
    hint = f" Did you mean {' or '.join(f'{str(path)!r}' for path in near)}?" if near else ""
    raise DataError(
        f"{root}: no {kind} found; it holds {describe_folder(root)}. Understood are: {_UNDERSTOOD[kind]}, given by its "
        f"own path.{hint}"
    )


def _find_held(root: Path, kind: Kind) -> Iterator[str]:
    """Return the layouts of a kind that a folder, or a file of texts, has; the first counts."""
    held: dict[str, Callable[[Path], object]] = {
        "superset": holds_superset,
        "voc": holds_voc_masks if kind == "masks" else holds_voc,
        "mask_folder": holds_mask_folders,
        "wider": holds_wider,
        "yolo": holds_yolo,
        "karpathy": holds_karpathy,  # put beside other captions for its splits
        "flickr": holds_flickr,
        "coco": holds_coco_captions if kind == "captions" else find_coco_files,
        "easy_vqa": holds_easy_vqa,
        "daquar": holds_daquar,
        "vqa": holds_vqa,
    }
    return (name for name, holds in held.items() if name in _READERS[kind] and holds(root))


def _find_texts_near(root: Path, kind: Kind) -> list[Path]:
    """Return the tables of texts in a folder, else the folders beside, above or below it that hold texts."""
    entries = sorted(root.iterdir())
    tables = [path for path in entries if path.suffix.lower() in TABLE_EXTENSIONS]
    if found := [path for path in tables if _is_table_of(path, kind)]:
        return found
    folders = [*(path for path in entries if path.is_dir()), *([root.parent] if root.parent != root else [])]
    return [path for path in folders if _holds_texts(path, kind)]


def _holds_texts(path: Path, kind: Kind) -> bool:
    try:
        return any(_find_held(path, kind))
    except (DataError, OSError):  # what is wrong with another folder is no matter here
        return False


def _is_table_of(path: Path, kind: Kind) -> bool:
    try:
        return kind_of_table(path) == kind
    except DataError:
        return False


def _note_layouts(root: Path, layout: str, kind: Kind) -> list[str]:
    """Return a note if a folder holds texts in more than one layout."""
    others = [held for held in _find_held(root, kind) if held != layout]
    if not others:
        return []
    return [
        f"{root}: it holds {kind} in more than one layout; read is '{layout}', not read "
        f"{' and '.join(map(repr, others))}. The path of a file chooses another."
    ]


def _note_classes(root: Path, contents: Contents, kind: Kind) -> list[str]:
    """Return a note if there is one class only, which is nothing odd where it has to be found.

    Raises:
        DataError: There is none at all, every image being a negative.
    """
    if not contents.classes:
        raise DataError(
            f"{root}: no image has a label, in 'train' if there is one; there are no classes to tell apart."
        )
    is_odd = len(contents.classes) == 1 and kind != "objects"
    return [f"{root}: there is one class only, '{contents.classes[0]}'."] if is_odd else []


def _join(splits: Mapping[str, tuple[Record, ...]]) -> tuple[Record, ...]:
    return tuple(record for records in splits.values() for record in records)


def cut_val(
    splits: dict[str, tuple[Record, ...]], layout: str, fraction: float, seed: int
) -> tuple[dict[str, tuple[Record, ...]], str]:
    """Return the splits with a ``val``, cut from ``train`` or from everything where there is none, and their origin.

    Args:
        splits: Those that there are; the only key is the empty text where there are none.
        layout: The format of the data set.
        fraction: The share of the cut.
        seed: Its seed.
    """
    source = "" if "" in splits else "train"
    if "val" in splits or source not in splits:
        return splits, _ORIGINS[layout]
    cut = stratified_split(splits.pop(source), fraction=fraction, seed=seed)
    return {**cut, **splits}, f"seeded {fraction} of {source or 'everything'}, seed {seed}"
