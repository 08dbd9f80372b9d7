"""Writing YOLO's text files (``yolo.py``): ``images/SPLIT``, ``labels/SPLIT``, ``data.yaml``."""

from pathlib import Path

import yaml

from .boxes import Box
from .findings import count
from .object_export import Copy, Export, Picture, check_stems, note_left_out, place_picture
from .yolo_layout import find_labels

#: Decimals of shares: of a picture of 100,000 pixels they are a thousandth of one.
_DECIMALS = 9

#: Bounds over the edge by less pixels are what rounding does, and not worth a word.
_OVER = 1e-3


def write_yolo(folder: Path, export: Export, copy: Copy) -> list[str]:
    """Write a data set as YOLO's text files.

    Boxes are cut off at the edges of their picture. Without splits everything is ``train``.

    Args:
        folder: Where to; it has to be there.
        export: What to write.
        copy: What becomes of the pictures.

    Returns:
        What the format couldn't hold, in sentences.

    Raises:
        DataError: Two pictures would have one file of labels.
    """
    numbers = {name: number for number, name in enumerate(export.classes)}
    for pictures in export.splits.values():
        check_stems([(one.name, one) for one in pictures], "YOLO")
    over = 0
    for split, pictures in export.splits.items():
        base = folder / "images" / (split or "train")
        for one in pictures:
            labels = find_labels(base / one.name, folder)
            labels.parent.mkdir(parents=True, exist_ok=True)
            lines, cut = _make_lines(one, numbers)
            labels.write_text("".join(lines), encoding="utf-8")
            over += cut
            place_picture(one, base / one.name, copy)
    splits = {split or "train": f"images/{split or 'train'}" for split in export.splits}
    description = {**splits, "nc": len(numbers), "names": dict(enumerate(export.classes))}
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    notes = list(note_left_out(export, "YOLO", "ignored", "regions", "sets"))
    if over:
        notes.append(f"YOLO: {count(over, 'box', 'boxes')} over the edge of a picture cut off there.")
    return [*notes, *_note_splits(export)]


def _note_splits(export: Export) -> list[str]:
    if "" in export.splits:
        return [
            "YOLO: the data set has no splits and data.yaml needs one, so all pictures are in 'train'; none in 'val'."
        ]
    missing = [f"'{split}'" for split in ("train", "val") if split not in export.splits]
    return [f"YOLO: there is no {' and no '.join(missing)} in data.yaml; most programs ask for it."] if missing else []


def _make_lines(picture: Picture, numbers: dict[str, int]) -> tuple[list[str], int]:
    """Return the lines of a picture's objects, and how many boxes were cut off at its edges."""
    objects, (height, width) = picture.objects, picture.size
    lines, over = [], 0
    for place in objects.sound:
        if objects.ignored and objects.ignored[place]:
            continue
        box = objects.boxes[place]
        left, top, right, bottom = cut = _cut(box, height, width)
        over += any(abs(one - two) > _OVER for one, two in zip(box, cut, strict=True))
        shares = (
            (left + right) / 2 / width,
            (top + bottom) / 2 / height,
            (right - left) / width,
            (bottom - top) / height,
        )
        lines.append(" ".join([str(numbers[objects.names[place]]), *map(_share, shares)]) + "\n")
    return lines, over


def _cut(box: Box, height: int, width: int) -> Box:
    return (max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height)))


def _share(value: float) -> str:
    return f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".")
