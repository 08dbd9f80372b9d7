"""The command ``onetrunk data shapes``."""

from dataclasses import dataclass
from pathlib import Path

from .written_folder import writing_folder


@dataclass(kw_only=True)
class ShapesOptions:
    """Write generated scenes of coloured shapes with every kind of annotation."""

    output: str
    """The folder to write."""
    images: int = 600
    """How many, at least 10: 70 per cent train, 15 val, 15 test. More keep the first ones as they are."""
    size: int = 160
    """Height and width of the pictures in pixels, 64 to 1,024."""
    seed: int = 0
    """Other seeds have other scenes; 0 or more."""
    overwrite: bool = False
    """Delete the folder first, if it holds shapes."""


def write_shapes(options: ShapesOptions) -> None:
    """Write scenes with labels, boxes, regions, captions and questions, for trying all tasks without a network.

    Raises:
        UserError: A number is out of range, or the folder exists, and isn't one of shapes that may be overwritten.
    """
    from ... import datasets

    folder = Path(options.output)
    scenes = {"images": options.images, "size": options.size, "seed": options.seed}
    datasets.check_shapes(**scenes)
    with writing_folder(folder, what="shapes", overwrite=options.overwrite) as written:
        counts = datasets.write_shapes(written, **scenes)
    print(f"{folder}: " + ", ".join(f"{count:,} {split}" for split, count in counts.items()) + " images")
