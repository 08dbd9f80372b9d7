"""Generated pictures with every kind of annotation, for benchmarks that are given no data. Not a benchmark itself.

Discs, squares and triangles in three colours on a noisy ground, JPEGs about as large as photographs of their size. The
class of a picture is the shape of its largest thing. Under the folder stand::

    pictures/train/disc/00000.jpg ...     class folders, for classification
    masks/train/disc/00000.png ...        0 is background, 1 to 3 the shapes
    segmentation.csv detection.csv captioning.csv vqa.csv      tables of the same pictures

The same numbers give the same files.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("disc", "square", "triangle")
COLOURS = {"red": (205, 60, 50), "green": (60, 180, 75), "blue": (55, 80, 205)}
#: What each table's columns are, behind the path.
COLUMNS = {
    "segmentation": ("mask",),
    "detection": ("label", "xmin", "ymin", "xmax", "ymax"),
    "captioning": ("caption",),
    "vqa": ("question", "answer"),
}
_LARGEST, _MOST = (0.45, 0.65), 3
_NUMBERS = ("none", "one", "two", "three")


@dataclass(frozen=True)
class Thing:
    """A thing in a picture; its box is ``xmin, ymin, xmax, ymax`` in pixels."""

    shape: str
    colour: str
    box: tuple[int, int, int, int]

    def __str__(self) -> str:
        return f"a {self.colour} {self.shape}"

    def draw(self, canvas: ImageDraw.ImageDraw, fill: object) -> None:
        left, top, right, bottom = self.box[0], self.box[1], self.box[2] - 1, self.box[3] - 1
        if self.shape == "disc":
            canvas.ellipse((left, top, right, bottom), fill=fill)
        elif self.shape == "square":
            canvas.rectangle((left, top, right, bottom), fill=fill)
        else:
            canvas.polygon([((left + right) // 2, top), (right, bottom), (left, bottom)], fill=fill)


def data_path(root: Path, app: str) -> Path:
    """Return what ``--data`` of an app takes of a folder that :func:`write_scenes` filled."""
    return root / "pictures" if app == "classification" else root / f"{app}.csv"


def write_scenes(root: Path, counts: Mapping[str, int], *, size: tuple[int, int] = (500, 375)) -> None:
    """Write so many pictures of each split, of a width and height, and what is said of them."""
    generator = np.random.default_rng(0)
    rows: dict[str, list[tuple[object, ...]]] = {app: [] for app in COLUMNS}
    for split, count in counts.items():
        for index in range(count):
            things = _place_things(generator, SHAPES[index % len(SHAPES)], size)
            name = Path(split) / things[0].shape / f"{index:05}"
            picture, mask = root / "pictures" / f"{name}.jpg", root / "masks" / f"{name}.png"
            for path in (picture, mask):
                path.parent.mkdir(parents=True, exist_ok=True)
            _draw(generator, things, size, picture, mask)
            for app, row in _tell(things, mask.relative_to(root)):
                rows[app].append((picture.relative_to(root), *row, split))
    for app, columns in COLUMNS.items():
        with data_path(root, app).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("path", *columns, "split"), *rows[app]])


def _place_things(generator: np.random.Generator, shape: str, size: tuple[int, int]) -> list[Thing]:
    """Return one to three things, the largest first; that one has the given shape."""
    things: list[Thing] = []
    for number in range(generator.integers(1, _MOST + 1)):
        share = generator.uniform(*_LARGEST) if number == 0 else generator.uniform(0.15, 0.25)
        side = round(share * min(size))
        left, top = (int(generator.integers(0, whole - side + 1)) for whole in size)
        kind = shape if number == 0 else SHAPES[generator.integers(len(SHAPES))]
        colour = list(COLOURS)[generator.integers(len(COLOURS))]
        things.append(Thing(kind, colour, (left, top, left + side, top + side)))
    return things


def _draw(
    generator: np.random.Generator, things: list[Thing], size: tuple[int, int], picture: Path, mask: Path
) -> None:
    coarse = Image.fromarray(generator.integers(40, 216, (9, 12, 3), dtype=np.uint8))
    scene, values = coarse.resize(size, Image.Resampling.BICUBIC), Image.new("L", size)
    for thing in things:
        thing.draw(ImageDraw.Draw(scene), COLOURS[thing.colour])
        thing.draw(ImageDraw.Draw(values), SHAPES.index(thing.shape) + 1)
    pixels = np.asarray(scene, dtype=np.int16) + generator.normal(0, 12, (size[1], size[0], 3))
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(picture, quality=90)
    values.save(mask)


def _tell(things: list[Thing], mask: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Give the rows of all tables on a picture, without path and split."""
    yield "segmentation", (mask,)
    for thing in things:
        yield "detection", (thing.shape, *thing.box)
    yield "captioning", (f"there is {' and '.join(map(str, things))}",)
    yield "captioning", (f"{_NUMBERS[len(things)]} of them and the largest is {things[0]}",)
    yield "vqa", ("What is the largest thing?", things[0].shape)
    yield "vqa", ("What colour does the largest thing have?", things[0].colour)
    yield "vqa", ("How many things are there?", _NUMBERS[len(things)])
    has_disc = any(thing.shape == "disc" for thing in things)
    yield "vqa", ("Is there a disc?", "yes" if has_disc else "no")
