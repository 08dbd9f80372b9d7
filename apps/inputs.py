"""From a data set to batches: the canvas, the transforms and the loader that a task reads from."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ..backbones import Preprocessing
from ..datasets import (
    BadSample,
    DataError,
    Encoder,
    EvalTransform,
    FitMode,
    ObjectTransform,
    Record,
    ResumableLoader,
    Sample,
    SampleDataset,
    TargetEncoder,
    Transform,
    eval_transform,
    find_bad_images,
    pixel_color,
    train_transform,
)
from .config import AugmentOptions, ComputeOptions, PlacingOptions, ZoomOptions
from .hardware import choose_device, choose_workers

#: Pictures to measure with.
_SAMPLED = 8


@dataclass(frozen=True)
class InputRecipe:
    """How an image comes onto the canvas; it stands in the model file, so that use equals evaluation.

    Attributes:
        canvas: Height and width of what the trunk sees, in pixels.
        mode: Fill the canvas and crop the centre, fit the picture and pad, stretch it, or show it in windows.
        interpolation: Of the resizing.
        crop_fraction: In mode ``crop``: the share of the resized picture's shorter side that is kept.
        fill: In modes ``pad`` and ``window``: the colour of the rest, a value between 0 and 1 a channel.
        channels: Image channels.
    """

    canvas: tuple[int, int]
    mode: FitMode
    interpolation: str
    crop_fraction: float
    fill: tuple[float, ...]
    channels: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "InputRecipe":
        """Return the recipe that a model file holds."""
        return cls(**{**plain, "canvas": tuple(plain["canvas"]), "fill": tuple(plain["fill"])})

    def transform(self) -> Transform:
        """Return the transform without randomness, for evaluation and use."""
        return eval_transform(self.canvas, self.interpolation, self.crop_fraction, mode=self.mode, fill=self.fill)

    def augmentation(self, options: PlacingOptions | ZoomOptions) -> Transform:
        """Return the transform with randomness, for training and for augmented views."""
        if isinstance(options, ZoomOptions):
            return ObjectTransform(
                EvalTransform(self.canvas, self.interpolation, 1.0, self.mode, pixel_color(self.fill)),
                (options.min_zoom, options.max_zoom),
                options.shown,
                options.flip,
                options.vertical_flip,
                options.color_jitter,
            )
        return train_transform(
            self.canvas,
            self.interpolation,
            min_scale=options.min_scale,
            flip=options.flip,
            vertical_flip=options.vertical_flip,
            color_jitter=options.color_jitter,
            policy=options.policy if isinstance(options, AugmentOptions) else "none",
            erasing=options.erasing if isinstance(options, AugmentOptions) else 0.0,
        ).fitting(self.mode)


def make_recipe(
    preprocessing: Preprocessing, canvas: tuple[int, int] | None = None, mode: FitMode = "crop"
) -> InputRecipe:
    """Return the recipe for a set of weights, on another canvas where one is asked for."""
    return InputRecipe(
        canvas=canvas or preprocessing.image_size,
        mode=mode,
        interpolation=preprocessing.interpolation,
        crop_fraction=preprocessing.crop_fraction,
        fill=tuple(preprocessing.mean),
        channels=len(preprocessing.mean),
    )


def check_images(records: Sequence[Record], options: ComputeOptions) -> None:
    """Look at all images before the work starts, where bad ones are errors.

    Raises:
        DataError: Naming every image that can't be read.
    """
    if options.bad_data == "error":
        bad = find_bad_images(records, workers=max(1, choose_workers(options.workers)))
        if bad:
            raise bad_images_error(bad)


def sample_pictures(records: Sequence[Record], transform: Transform, *, channels: int) -> Tensor | None:
    """Return the first pictures that can be read, on their canvases, for measuring: uint8 ``[N, C, H, W]``, N up to 8.

    Args:
        records: Of a split; their targets don't matter.
        transform: Takes a picture onto the canvas.
        channels: Image channels.
    """
    bare = [replace(record, targets={}) for record in records]
    canvases = [
        sample.image if sample.image.dim() == 3 else sample.image[0]
        for sample in sample_records(SampleDataset(bare, transform, channels=channels))
        if sample.image is not None
    ]
    return torch.stack(canvases) if canvases else None


def sample_records(dataset: SampleDataset) -> list[Sample]:
    """Return the samples of the first records that can be read, up to 8."""
    samples = (dataset[0, index] for index in range(len(dataset)))
    return list(islice((sample for sample in samples if isinstance(sample, Sample)), _SAMPLED))


def make_loader(
    records: Sequence[Record],
    transform: Transform,
    options: ComputeOptions,
    *,
    channels: int,
    targets: Sequence[str] | Encoder = (),
    seed: int = 0,
    shuffle: bool = False,
    sample_weights: Sequence[float] | None = None,
) -> ResumableLoader:
    """Return the loader of a split.

    Args:
        records: The split's rows.
        transform: Takes a picture onto the canvas.
        options: Batch size, workers, device, and what to do with bad images.
        channels: Image channels.
        targets: For records with targets: what makes them of these, of one task or of several; or only the class names
            in the order of their indices.
        seed: Of the order and the augmentation.
        shuffle: Whether each epoch has an order of its own.
        sample_weights: With ``shuffle``: how often each record is drawn, in proportion to the others.

    Raises:
        DataError: If a record's class isn't known.
    """
    workers = choose_workers(options.workers)
    encoder = targets if isinstance(targets, Encoder) else TargetEncoder.fitting(records, targets)
    samples = SampleDataset(records, transform, encoder=encoder, channels=channels, seed=seed)
    return ResumableLoader(
        samples,
        batch_size=options.batch_size,
        shuffle=shuffle,
        seed=seed,
        # no more processes than batches
        workers=min(workers, math.ceil(len(samples) / options.batch_size)),
        pin_memory=choose_device(options.device).type == "cuda",
        sample_weights=sample_weights,
    )


def bad_images_error(bad: list[BadSample]) -> DataError:
    """Return the error that names each image that can't be read."""
    listing = "\n".join(f"  {sample.reason}" for sample in bad)
    count = "1 image" if len(bad) == 1 else f"{len(bad)} images"
    return DataError(f"{count} can't be read:\n{listing}\nMend or remove them, or leave them out: --bad-data skip")
