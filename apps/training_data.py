"""From the splits of a training to its loaders, whatever the app."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..datasets import AnnotatedImages, ResumableLoader, Transform
from .config import PlacingOptions, TrainingOptions, ZoomOptions
from .data_check import Identity
from .fit_data import FitData
from .inputs import InputRecipe, make_loader


def make_fit_data(
    splits: Mapping[str, AnnotatedImages],
    identities: Mapping[str, Identity],
    inputs: InputRecipe,
    options: TrainingOptions,
    *,
    augment: PlacingOptions | ZoomOptions,
    sample_weights: Sequence[float] | None = None,
) -> FitData:
    """Return the loaders of a training, with what the run keeps of its data.

    Args:
        splits: ``train`` and ``val``.
        identities: What ``check_data`` found of them.
        inputs: How images come onto the canvas.
        options: The command's.
        augment: Random changes to the training images.
        sample_weights: How often each training image is drawn, in proportion to the others.
    """
    train = splits["train"]

    def loader(split: str, transform: Transform, **settings: Any) -> ResumableLoader:
        return make_loader(
            splits[split].records,
            transform,
            options,
            channels=inputs.channels,
            targets=train.classes,
            **settings,
        )

    return FitData(
        train=loader(
            "train", inputs.augmentation(augment), seed=options.seed, shuffle=True, sample_weights=sample_weights
        ),
        val=loader("val", inputs.transform()),
        train_fingerprint=identities["train"].fingerprint,
        val_fingerprint=identities["val"].fingerprint,
        val_contents=identities["val"].contents,
        unreadable=identities["train"].unreadable,
        facts={"path": options.data, "split_origin": train.split_origin},
        cut_split=train.splits if train.is_cut else None,
    )
