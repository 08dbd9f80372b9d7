"""The folders of Flickr8k (Hodosh et al. 2013) and Flickr30k (Young et al. 2014), as they are passed on.

::

    captions.txt                       image,caption       a header, then one caption a line; commas and quotes in them
    Flickr8k.token.txt                 1.jpg#0<tab>A cat   also results_20130124.token of Flickr30k
    results.csv                        image_name| comment_number| comment
    images/1.jpg                       or Flicker8k_Dataset, Flickr8k_Dataset, flickr30k_images, or beside the captions
    splits/train.txt, val.txt ...      optional: the names of a split's pictures, one a line
    Flickr_8k.trainImages.txt ...      instead of them; dev counts as val

Captions and lists may also lie in ``Flickr8k_text``. Without lists a seeded cut divides the pictures; with lists those
in none are left out with a note. Entries whose name is none of a picture are left out with a note too: the original
Flickr8k has five captions of ``2258277193_586949ec62.jpg.1``, which it doesn't hold.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from .captioned import Caption, CaptionedImages
from .coco import find_picture, relative_name
from .contents import Contents
from .images import IMAGE_EXTENSIONS
from .sample import DataError
from .splits import SPLITS
from .texts import list_some

FOLDERS = ("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k_images", "flickr30k-images")
"""Where pictures lie."""

_FILES = (
    *("captions.txt", "Flickr8k.token.txt", "Flickr30k.token.txt", "results_20130124.token", "results.csv"),
    "flickr30k_images/results.csv",
)

_BELOW = ("", "Flickr8k_text", "flickr8k_text", "Flickr30k_text")
"""Where captions and lists lie."""

_LISTS = ("splits/{}.txt", "Flickr_8k.{}Images.txt", "Flickr_30k.{}Images.txt")

_NAMES = {"train": ("train",), "val": ("val", "dev", "valid", "validation"), "test": ("test",)}

_TOKENS = re.compile(r"(?P<name>[^\t]+?)#\d+\s*\t(?P<text>.*)")
_BARS = re.compile(r"(?P<name>[^|]+?)\s*\|\s*\d+\s*\|?(?P<text>.*)")  # in results.csv of Flickr30k one bar is missing
_COMMAS = re.compile(r"(?P<name>[^,]+?)\s*,(?P<text>.*)")
_NUMBERED = re.compile(r"(?P<name>[^,]+?)\s*,\s*\d+\s*,(?P<text>.*)")

_FORMS = {_TOKENS: "NAME#NUMBER<tab>CAPTION", _BARS: "NAME| NUMBER| CAPTION"}

_HINT = f"Pictures are looked for in the folder itself and in {', '.join(FOLDERS)}."


def holds_flickr(root: Path) -> bool:
    """Whether a folder holds captions in one of these files, or a path is that of such a file."""
    if root.is_file():
        return root.name in _FILES
    return bool(_find_captions(root))


def read_flickr(root: Path) -> Contents:
    """Read such captions; no picture is opened.

    Args:
        root: The folder, or the file of captions in it.

    Raises:
        DataError: A file can't be read, or no picture has a caption. ``faults`` name lines that are no caption, and
            pictures that a list names, but that have no caption or stand in another list too.
    """
    folder = _base_of(root) if root.is_file() else root
    files = [root] if root.is_file() else _find_captions(root)
    path = files[0]
    contents, images = Contents({}), CaptionedImages(path)
    if len(files) > 1:
        unread = ", ".join(each.name for each in files[1:])
        contents.notes.append(f"{folder}: read is {path.name}; not read: {unread}.")
    captions = _gather(path, contents)
    chosen = _read_lists(folder, captions, contents)
    if unlisted := [name for name in captions if chosen and name not in chosen]:
        contents.notes.append(
            f"{folder}: {_count(unlisted)} in no list of a split and left out: {list_some(unlisted)}."
        )
    folders = _folders(folder, path)
    for name, found in captions.items():
        if not chosen or name in chosen:
            place = find_picture(name, folders)
            images.add(chosen.get(name, ""), place, relative_name(place, folder), found)
    return images.finish(contents, _HINT)


def _find_captions(root: Path) -> list[Path]:
    paths = (root / below / name for name in _FILES for below in _BELOW)
    return [path for path in paths if path.is_file()]


def _base_of(path: Path) -> Path:
    """Return the folder of a data set by its file of captions."""
    return path.parent.parent if path.parent.name in _BELOW else path.parent


def _folders(root: Path, captions: Path) -> list[Path]:
    """Return where pictures may lie; an archive unpacked into a folder of its name has a second one below."""
    bases = dict.fromkeys((root, captions.parent))
    inner = [base / name / more for base in bases for name in FOLDERS for more in ("", name)]
    return [folder for folder in (*inner, *bases) if folder.is_dir()]


def _gather(path: Path, contents: Contents) -> dict[str, list[Caption]]:
    """Return the captions of each name; what is none becomes a fault, and what is of no picture a note."""
    found: dict[str, list[Caption]] = defaultdict(list)
    strange: dict[str, None] = {}
    for number, name, text in _parse(path, contents):
        if name.lower().endswith(IMAGE_EXTENSIONS):
            found[name].append(Caption(text, f"line {number}"))
        else:
            strange[name] = None
    if strange:
        contents.notes.append(
            f"{path}: captions of {list_some(list(strange))} were left out; the name of a picture ends in "
            f"{', '.join(IMAGE_EXTENSIONS)}."
        )
    return dict(found)


def _parse(path: Path, contents: Contents) -> Iterator[tuple[int, str, str]]:
    """Return the number, the name and the caption of each line but the header."""
    lines = [(number, line) for number, line in enumerate(_read_lines(path), start=1) if line.strip()]
    form = _find_form(lines[0][1] if lines else "")
    for number, line in lines[1:] if lines and _is_header(lines[0][1]) else lines:
        match = form.fullmatch(line.rstrip("\r"))
        if match is None:
            usual = _FORMS.get(form, "NAME,CAPTION")
            contents.faults.append(f"{path}, line {number}: this is no caption ({usual}): {line[:60]!r}")
        else:
            text = match["text"]
            yield number, match["name"].strip(), _unquote(text) if form in (_COMMAS, _NUMBERED) else text


def _find_form(first: str) -> re.Pattern[str]:
    if _TOKENS.fullmatch(first):
        return _TOKENS
    if "|" in first.split(",", maxsplit=1)[0]:
        return _BARS
    numbered = re.fullmatch(r"[^,]+,\s*comment_number\s*,.*", first.lower()) or _NUMBERED.fullmatch(first)
    return _NUMBERED if numbered else _COMMAS


def _is_header(line: str) -> bool:
    return re.split("[,|#]", line)[0].strip().lower() in ("image", "image_name")


def _unquote(text: str) -> str:
    """Return a caption without the quotes of CSV; those that aren't such belong to it."""
    inner = text.strip()[1:-1]
    is_quoted = text.strip() == f'"{inner}"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if is_quoted else text


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"{path}: the file can't be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the file isn't UTF-8 text ({error}). Save it in UTF-8.") from error


def _read_lists(root: Path, captions: Iterable[str], contents: Contents) -> dict[str, str]:
    """Return the split of each name that a list holds; empty where there are no lists."""
    known = set(captions)
    chosen: dict[str, str] = {}
    for split, path in _find_lists(root):
        lines = ((number, line.strip()) for number, line in enumerate(_read_lines(path), start=1))
        bare = [(number, name) for number, name in lines if name and _complete(name, known) not in known]
        if bare:
            contents.faults.append(
                f"{path}: {_count(bare)} listed, but without a caption: "
                f"{list_some([f'{name} (line {number})' for number, name in bare])}."
            )
        for name in (_complete(line.strip(), known) for line in _read_lines(path)):
            if name in known and chosen.setdefault(name, split) != split:
                contents.faults.append(f"{path}: '{name}' is in the list of '{chosen[name]}' too. Keep it in one.")
    return chosen


def _complete(name: str, known: Iterable[str]) -> str:
    """Return a name with its ending, which lists of Flickr30k leave out."""
    return f"{name}.jpg" if name not in known and f"{name}.jpg" in known else name


def _find_lists(root: Path) -> Iterator[tuple[str, Path]]:
    for split in SPLITS:
        paths = (root / below / form.format(name) for form in _LISTS for below in _BELOW for name in _NAMES[split])
        path = next((path for path in paths if path.is_file()), None)
        if path is not None:
            yield split, path


def _count(names: list[str] | list[tuple[int, str]]) -> str:
    return "1 picture is" if len(names) == 1 else f"{len(names):,} pictures are"
