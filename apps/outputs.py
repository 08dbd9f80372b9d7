"""Where commands put what they computed, and predictions as files."""

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ..backbones.errors import UserError
from .evaluation import Evaluation, Evaluator
from .run_folder import check_writable, make_folder, replace_json, replacing

if TYPE_CHECKING:
    from PIL import Image

RESULTS = "results.json"
IMAGES = "images.npz"
PREDICTIONS = ("predictions.json", "predictions.csv")
#: What rows of predictions may have any number of, and the first columns of a table of them.
_COLUMNS = {
    "objects": ("image", "error", "class", "score", "box_xmin", "box_ymin", "box_xmax", "box_ymax"),
    "answers": ("image", "error", "question", "answer", "probability"),
}


def output_folder(output: str | None, *names: str, overwrite: bool) -> Path | None:
    """Return the folder for a command's files, checked but made by what writes them, or nothing if none was asked for.

    Args:
        output: What ``--output`` said.
        names: The files that the command will write.
        overwrite: Whether it may replace them.

    Raises:
        UserError: If the folder can't be written to, or holds one of the files and ``overwrite`` wasn't asked for.
    """
    if output is None:
        return None
    folder = Path(output)
    check_writable(folder)
    there = [str(folder / name) for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise UserError(f"{', '.join(there)}: already there. Write over it: --overwrite. Or elsewhere: --output DIR.")
    return folder


def write_evaluation(
    folder: Path, evaluator: Evaluator, evaluation: Evaluation, contents: Mapping[str, int] | None
) -> None:
    """Write the predictions, and what the figures were computed from, for comparisons of runs.

    Args:
        folder: Where to.
        evaluator: Made the figures, and makes them again for a comparison.
        evaluation: What came out.
        contents: A short hash of each image's file, by the image's name; nothing where they aren't known.
    """
    write_predictions(folder, evaluation.predictions)
    assert evaluation.images is not None
    images = evaluation.images if contents is None else evaluation.images.with_contents(contents)
    images.save(folder / IMAGES, evaluator)


def write_predictions(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write predictions as ``predictions.json`` and, flattened, as ``predictions.csv``: a row an image.

    Of rows with ``objects`` or ``answers``, any number in each, the table has a row an object or answer, and one for an
    image without any.
    """
    replace_json(make_folder(folder) / "predictions.json", rows)
    flat = [_flatten(one) for row in rows for one in _by_object(row)]
    # a table of detections has the same columns where nothing was found
    first = next((columns for key, columns in _COLUMNS.items() if any(key in row for row in rows)), ())
    columns = list(dict.fromkeys([*first, *(column for row in flat for column in row)]))
    with replacing(folder / "predictions.csv") as stream:
        writer = csv.DictWriter(stream, fieldnames=columns)
        writer.writeheader()
        writer.writerows(flat)


def picture_stems(names: Sequence[str]) -> dict[str, str]:
    """Return for each image the path of the pictures that are made of it, without an ending.

    It is the image's own below the folder that all of them share; where two would agree, with the image's ending.

    Args:
        names: Of the images: their paths.
    """
    shared = os.path.commonpath([os.path.dirname(os.path.abspath(name)) for name in names]) if names else ""
    paths = {name: PurePath(os.path.relpath(os.path.abspath(name), shared)) for name in names}
    counts = Counter(path.with_suffix("") for path in paths.values())
    return {
        name: (path.with_suffix("") if counts[path.with_suffix("")] == 1 else path).as_posix()
        for name, path in paths.items()
    }


def save_png(picture: "Image.Image", path: Path) -> None:
    """Write a picture as PNG, whole or not at all; folders on the way are made."""
    make_folder(path.parent)
    content = io.BytesIO()
    picture.save(content, format="PNG")
    with replacing(path, "wb") as stream:
        stream.write(content.getvalue())


def plain_box(box: Sequence[float]) -> dict[str, float]:
    """Return a box as ``{"xmin": ..., "ymin": ..., "xmax": ..., "ymax": ...}``, in hundredths of a pixel."""
    return {name: round(side, 2) for name, side in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)}


def _by_object(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each of a row's objects or answers, with what is said of all of them; one without any."""
    shared = {key: value for key, value in row.items() if key not in _COLUMNS}
    return [{**shared, **one} for key in _COLUMNS for one in row.get(key, [])] or [shared]


def _flatten(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose objects became columns: ``box.xmin`` -> ``box_xmin``, ``top[0].class`` -> ``top1_class``.

    A list of names or numbers becomes one cell with ``;`` between them, as a table of a data set has it.
    """
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, list) and not any(isinstance(entry, Mapping) for entry in value):
            flat[key] = ";".join(map(str, value))
        elif isinstance(value, list):
            for place, entry in enumerate(value, start=1):
                flat.update(_flatten({f"{key}{place}_{name}": inner for name, inner in entry.items()}))
        elif isinstance(value, dict):
            flat.update(_flatten({f"{key}_{name}": inner for name, inner in value.items()}))
        else:
            flat[key] = value
    return flat
