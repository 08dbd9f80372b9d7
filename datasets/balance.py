"""Weights against imbalance: of records for sampling, of classes and of positives for losses."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from .annotated_images import AnnotatedImages
from .contents import class_names
from .sample import DataError, Record


def balanced_weights(records: Sequence[Record]) -> list[float]:
    """Return a weight for each record with which all classes are drawn equally often (``EpochBatches``).

    A record weighs one over the number of records of its class. Of a record with several ``labels`` the rarest decides:
    one common label must not keep a rare one from being drawn. Records without any label are a class of their own.
    """
    classes = [class_names(record) or (None,) for record in records]
    counts = Counter(name for names in classes for name in names)
    return [1 / min(counts[name] for name in names) for names in classes]


def class_weights(images: AnnotatedImages) -> Tensor:
    """Return weights in inverse proportion to the classes' images, with a mean of 1 over the images.

    Returns:
        float32 ``[K]``, in the order of ``images.classes``. A class without images has the weight of one with one.
    """
    counts = torch.tensor(list(images.class_counts().values()), dtype=torch.float32)
    return counts.sum() / (len(counts) * counts.clamp(min=1))


def positive_weights(images: AnnotatedImages) -> Tensor:
    """Return for each class the number of images without it over that with it, ``BCEWithLogitsLoss``'s ``pos_weight``.

    Returns:
        float32 ``[K]``, above 0, in the order of ``images.classes``. Either number is taken as 1 where it is 0, so
        that a class that every image has, or none, still has a loss.
    """
    positives = torch.tensor(list(images.class_counts().values()), dtype=torch.float32)
    negatives = len(images) - positives
    return negatives.clamp(min=1) / positives.clamp(min=1)


def median_frequency_weights(images: AnnotatedImages) -> Tensor:
    """Return for each class the median of the classes' frequencies over its own (Eigen & Fergus 2015, section 6.3.2).

    The frequency of a class is the share of its pixels in the split's images that show it.

    Returns:
        float32 ``[K]``, in the order of ``images.classes``; 1 for a class that no image shows.

    Raises:
        DataError: No image says how many pixels it has of each class.
    """
    pixels, around = Counter[str](), Counter[str]()
    for record in images.records:
        mask = record.targets["mask"]
        for name, number in mask.pixels.items():
            pixels[name] += number
            around[name] += mask.area if number else 0
    found = torch.tensor([pixels[name] / max(1, around[name]) for name in images.classes])
    if not found.any():
        raise DataError(f"{images.root}: no mask shows any class; there is nothing to weigh.")
    return torch.where(found > 0, found[found > 0].quantile(0.5) / found.clamp(min=1e-12), 1.0)


def positive_pixel_weights(images: AnnotatedImages) -> Tensor:
    """Return for each class the number of pixels without it over that with it, as ``positive_weights`` for images.

    Returns:
        float32 ``[K]``, above 0, in the order of ``images.classes``; either number is taken as 1 where it is 0.
    """
    pixels, area = Counter[str](), 0
    for record in images.records:
        mask = record.targets["mask"]
        pixels.update(mask.pixels)
        area += mask.area
    positives = torch.tensor([float(pixels[name]) for name in images.classes])
    return (area - positives).clamp(min=1) / positives.clamp(min=1)
