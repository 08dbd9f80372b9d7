"""Files to samples: readers of data sets, pictures on a canvas, batches in a reproducible order.

Knows nothing of networks. ``open_dataset`` finds out what a path holds; a ``SampleDataset`` reads its records; a
``ResumableLoader`` batches them, for one process or several, and a ``MixedLoader`` those of several data sets side by
side; ``Mixing`` blends the pictures of a batch.
"""

from .all_annotations import AllAnnotations, AnnotatedPicture, open_annotated
from .annotated_images import AnnotatedImages, require_label_sets, require_labels
from .balance import balanced_weights, class_weights, median_frequency_weights, positive_pixel_weights, positive_weights
from .check import check_dataset
from .contents import class_names
from .digits import write_digits
from .duplicates import find_duplicates
from .epoch_batches import EpochBatches
from .excerpts import Excerpt, identify_contents, read_excerpts, short_hashes
from .file_state import FileState
from .findings import SEVERITIES, Finding, Report, Severity
from .images import (
    IMAGE_EXTENSIONS,
    MAX_PIXELS,
    ImageFacts,
    check_image,
    convert_image,
    find_bad_images,
    inspect_image,
    read_image,
)
from .joint import Encoder, JointEncoder, join_records, of_task, split_batch, targets_by_sample
from .loading import ResumableLoader, SampleDataset
from .look_batches import LookBatches
from .many_files import look_at_files
from .masks import BACKGROUND, DrawnMask, MaskFile, MaskSource
from .mixed_loader import MixedBatch, MixedLoader, batch_counts
from .mixing import Mixing
from .object_transforms import ObjectTransform
from .objects import Objects
from .open import KINDS, Kind, guess_kind, open_dataset
from .pictures import list_pictures
from .questions import Question
from .randomness import seeded
from .sample import IGNORED, BadSample, Batch, Context, DataError, Record, Sample, collate
from .shape_layout import SHAPE_COLORS, SHAPE_KINDS
from .shapes import check_shapes, write_shapes
from .splits import fold_splits, read_split, stratified_split, write_split
from .target_encoder import TargetEncoder
from .texts import clean_text
from .transforms import (
    AugmentPolicy,
    EvalTransform,
    FitMode,
    Placed,
    Spatial,
    Transform,
    eval_transform,
    pixel_color,
    train_transform,
)

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "IMAGE_EXTENSIONS",
    "KINDS",
    "MAX_PIXELS",
    "SEVERITIES",
    "SHAPE_COLORS",
    "SHAPE_KINDS",
    "AllAnnotations",
    "AnnotatedImages",
    "AnnotatedPicture",
    "AugmentPolicy",
    "BadSample",
    "Batch",
    "Context",
    "DataError",
    "DrawnMask",
    "Encoder",
    "EpochBatches",
    "EvalTransform",
    "Excerpt",
    "FileState",
    "Finding",
    "FitMode",
    "ImageFacts",
    "JointEncoder",
    "Kind",
    "LookBatches",
    "MaskFile",
    "MaskSource",
    "MixedBatch",
    "MixedLoader",
    "Mixing",
    "ObjectTransform",
    "Objects",
    "Placed",
    "Question",
    "Record",
    "Report",
    "ResumableLoader",
    "Sample",
    "SampleDataset",
    "Severity",
    "Spatial",
    "TargetEncoder",
    "Transform",
    "balanced_weights",
    "batch_counts",
    "check_dataset",
    "check_image",
    "check_shapes",
    "class_names",
    "class_weights",
    "clean_text",
    "collate",
    "convert_image",
    "eval_transform",
    "find_bad_images",
    "find_duplicates",
    "fold_splits",
    "guess_kind",
    "identify_contents",
    "inspect_image",
    "join_records",
    "list_pictures",
    "look_at_files",
    "median_frequency_weights",
    "of_task",
    "open_annotated",
    "open_dataset",
    "pixel_color",
    "positive_pixel_weights",
    "positive_weights",
    "read_excerpts",
    "read_image",
    "read_split",
    "require_label_sets",
    "require_labels",
    "seeded",
    "short_hashes",
    "split_batch",
    "stratified_split",
    "targets_by_sample",
    "train_transform",
    "write_digits",
    "write_shapes",
    "write_split",
]
