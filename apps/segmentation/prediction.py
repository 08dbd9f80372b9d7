"""Segmenting images with a trained model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...datasets import BACKGROUND, Record, list_pictures, read_image
from ..commands import predict_pictures
from ..model_file import load_model
from ..outputs import PREDICTIONS, output_folder, picture_stems, save_png
from ..palette import colors_of, overlay, palette_picture, write_legend
from ..processes import is_first
from ..run_folder import make_folder
from .options import PredictOptions
from .task import use_views

MASKS, OVERLAYS, LEGEND = "masks", "overlays", "classes.csv"


def run_prediction(options: PredictOptions) -> list[dict[str, Any]]:
    """Segment images; return a row for each with the share of every class, in the order of the sorted paths.

    With ``output`` a palette picture and an overlay are written for each, see ``picture_stems``.

    Raises:
        UserError: For a model or images that can't be used.
    """
    where = output_folder(options.output, *PREDICTIONS, LEGEND, MASKS, OVERLAYS, overwrite=options.overwrite)
    task = load_model(options.model, task="segmentation")
    use_views(task, options)
    records = list_pictures(options.images)
    if where is None:
        task.keep_prediction = without_mask
        return predict_pictures(task, records, options, where=None)
    pictures = MaskPictures(where, records, task.description, options)
    task.keep_prediction = pictures.write
    rows = predict_pictures(task, records, options, where=where)
    if is_first():
        pictures.write_legend()
    return rows


def without_mask(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return a prediction without its mask, which is too large to be printed."""
    return {key: value for key, value in row.items() if key != "mask"}


class MaskPictures:
    """Writes the pictures of predictions as they come, so that never more than a batch of them is held."""

    def __init__(
        self, folder: Path, records: tuple[Record, ...], description: Mapping[str, Any], options: PredictOptions
    ) -> None:
        """Take what the pictures are drawn by.

        Args:
            folder: Where masks, overlays and the legend go.
            records: The images.
            description: Of the task: its classes and readout.
            options: The opacity of overlays.
        """
        self._folder = folder
        self._classes = description["classes"]
        self._is_multi_label = description["readout"] == "sigmoid"
        self._colors = colors_of(self._classes, None if self._is_multi_label else BACKGROUND)
        self._opacity = options.opacity
        self._paths = {record.name: record.path for record in records}
        self._stems = picture_stems([record.name for record in records])

    def write_legend(self) -> None:
        """Write which value of the masks is which class."""
        write_legend(make_folder(self._folder) / LEGEND, self._classes, self._colors)

    def write(self, name: str, row: dict[str, Any]) -> dict[str, Any]:
        """Write mask and overlay of an image; return the row with their paths below the folder."""
        mask, stem = row["mask"], self._stems[name]
        if self._is_multi_label:
            found = f"{MASKS}/{stem}"
            for label, color, layer in zip(self._classes, self._colors, mask, strict=True):
                file = f"{found}/{label.replace('/', '_')}.png"
                save_png(palette_picture(layer, [(0, 0, 0), color]), self._folder / file)
        else:
            found = f"{MASKS}/{stem}.png"
            save_png(palette_picture(mask, self._colors), self._folder / found)
        shown = overlay(read_image(self._paths[name]), mask, self._colors, opacity=self._opacity)
        save_png(shown, self._folder / OVERLAYS / f"{stem}.png")
        return {**without_mask(name, row), "mask": found, "overlay": f"{OVERLAYS}/{stem}.png"}
