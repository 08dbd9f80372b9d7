"""Files to samples: readers of data sets, pictures on a canvas, batches in a reproducible order.

Knows nothing of networks. ``open_dataset`` finds out what a path holds; a ``SampleDataset`` reads its records; a
``ResumableLoader`` batches them.
"""

from .digits import write_digits
from .images import IMAGE_EXTENSIONS, MAX_PIXELS, check_image, find_bad_images, read_image
from .loading import EpochBatches, ResumableLoader, SampleDataset, seeded
from .open import FORMATS, AnnotatedImages, open_dataset, require_labels
from .pictures import list_pictures
from .sample import BadSample, Batch, Context, DataError, Record, Sample, TargetEncoder, collate
from .splits import read_split, stratified_split, write_split
from .transforms import FitMode, Transform, eval_transform, train_transform

__all__ = [
    "FORMATS",
    "IMAGE_EXTENSIONS",
    "MAX_PIXELS",
    "AnnotatedImages",
    "BadSample",
    "Batch",
    "Context",
    "DataError",
    "EpochBatches",
    "FitMode",
    "Record",
    "ResumableLoader",
    "Sample",
    "SampleDataset",
    "TargetEncoder",
    "Transform",
    "check_image",
    "collate",
    "eval_transform",
    "find_bad_images",
    "list_pictures",
    "open_dataset",
    "read_image",
    "read_split",
    "require_labels",
    "seeded",
    "stratified_split",
    "train_transform",
    "write_digits",
    "write_split",
]
