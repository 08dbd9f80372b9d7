"""What a data set hands on: records, samples and batches, with the rules of every key in one place.

Targets, by key (a data set has some of them; more come with the tasks that need them):

====================  ==========================  =================================  ==========================
key                   in a ``Record``             in a ``Sample``                    in a ``Batch``
====================  ==========================  =================================  ==========================
``label``             the class's name, text      int64 scalar, the class's index    int64 ``[B]``
``labels``            names, a tuple of text      float32 ``[K]``, 1 where it holds  float32 ``[B, K]``
``subject``           who or what is shown, text  -                                  -
``mask``              a ``MaskSource``          uint8 ``[H, W]`` on the canvas     uint8 ``[B, H, W]``
``full_mask``         -                           uint8, as large as the picture     a list of B of them
``boxes``             tuples xmin, ymin, xmax,    float32 ``[M, 4]`` on the canvas   a list of B of them
                      ymax of its ``label``
``full_boxes``        -                           float32, in the picture's pixels   a list of B of them
``objects``           an ``Objects``              see below                          lists of B tensors
``captions``          a tuple of text             the same                           a list of B of them
``questions``         a tuple of ``Question``     the same                           a list of B of them
``image_id``          what COCO's files call it   -                                  -
====================  ==========================  =================================  ==========================

Mask values are indices of classes, and 255 (``IGNORED``) where a pixel counts for nothing. Where a pixel may be of
several classes a mask is ``[K, H, W]`` instead, of 0, 1 and 255. ``full_mask`` and ``full_boxes`` are there in
evaluation only, for figures in the pixels of the file. Boxes are ``xyxy`` in pixels of the upright picture, the upper
bounds exclusive; those of a record all show its label, the largest first.

The objects of a picture, of any classes, become these keys of a sample, M objects that are learned and N sound ones in
all; each is a list in a batch: ``boxes`` float32 ``[M, 4]`` and ``classes`` int64 ``[M]``; where regions are read
``masks`` uint8 ``[M, H, W]``; ``dropped``, an int64 scalar, how many a random change moved off the canvas. In
evaluation, in pixels of the picture: ``full_boxes`` float32 ``[N, 4]``, ``full_classes`` int64, ``full_ignored`` bool,
``full_areas`` float64 in square pixels, ``full_sets`` int64 (WIDER FACE's), ``full_masks``. A record with ``objects``
has ``labels`` too: the classes that it shows.

A record of several tasks (``joint.py``) has a task's own keys with the task at their end, such as ``mask@segmentation``
or ``full_boxes@detection``. What isn't known of it has no key, so a batch joins such a key over those of its samples
that are ``known``; it follows the rule of the key without its end.

Text stays text: only whoever trains knows its vocabulary. The questions of a batch also stand in its context, because a
head may read them, and their answers not.

A patient, person, animal or thing is a ``subject`` if several images may show the same one; images of one subject are
never on both sides of a cut. No network sees it, so it isn't encoded.

Names stay text in records, because only whoever uses the data knows the order of its classes: a trained model's own,
or the thousand of ImageNet.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..backbones.errors import UserError
from .file_state import FileState
from .questions import Question


class DataError(UserError):
    """Something in a data set that its owner can mend; the message names the file, and the row where there is one."""


IGNORED = 255
"""The value of mask pixels that count neither for the loss nor for any figure."""


TEXT_KEYS = ("captions", "questions")
"""Targets that are text."""
#: Targets that are as large as the picture, or as many as its objects: a list even where they happen to agree.
_RAGGED = ("boxes", "classes", "masks", *TEXT_KEYS)
#: Targets that move with the picture.
_MOVING = ("boxes", "mask", "objects")


def plain_key(key: str) -> str:
    """Return the key of a target without the task at its end, where there is one."""
    return key.partition("@")[0]


def task_of_key(key: str) -> str:
    """Return the task at the end of the key of a target; empty where there is none."""
    return key.partition("@")[2]


@dataclass(frozen=True)
class Record:
    """One row of a data set's manifest: an image and what is known of it."""

    path: Path
    targets: Mapping[str, Any]
    """What is known of the image, see the module's table."""
    name: str
    """Names the image in manifests, splits and predictions: its path below the data set's root, with ``/``."""

    @property
    def annotation(self) -> str:
        """A SHA-256 of the targets that move with the picture, those in files by their contents; "" without any."""
        moving = {key: target for key, target in self.targets.items() if plain_key(key) in _MOVING}
        if not moving:
            return ""
        text = json.dumps(moving, sort_keys=True, default=lambda target: target.identity())
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Sample:
    """One image on its canvas, ready to be batched."""

    image: Tensor | None
    """uint8 ``[C, H, W]``; or windows of the picture, each as large as the canvas, ``[T, C, H, W]``. None where only
    its features are known."""
    index: int
    """The place of its record in the data set."""
    name: str
    original_size: tuple[int, int]
    """Height and width of the picture after its EXIF rotation, in pixels."""
    valid_size: tuple[int, int]
    """Height and width of the part of the canvas, from its top left corner, that is picture."""
    targets: dict[str, Any]
    """See the module's table: tensors, and text."""
    windows: Tensor | None = None
    """int64 ``[T, 2]``: where each window's top left corner lies in the picture, in pixels; None without windows."""
    state: FileState | None = None
    """Of the file that was read, where that was asked for."""


@dataclass(frozen=True)
class BadSample:
    """An image that can't be used. It is counted and named, never replaced by another."""

    index: int
    name: str
    path: Path
    reason: str
    """A full sentence that names the file."""
    state: FileState | None = None
    """Of the file, where that was asked for."""
    tasks: tuple[str, ...] = ()
    """Of a record of several tasks those of which something is known."""


@dataclass(frozen=True)
class Context:
    """What a head may know of a batch besides its features."""

    canvas: tuple[int, int]
    """Height and width of the images the trunk saw."""
    valid_sizes: Tensor
    """int64 ``[B, 2]``: height and width of the part of the canvas, from its top left corner, that is picture."""
    original_sizes: Tensor
    """int64 ``[B, 2]``: height and width before resizing, for results in the pixels of the file."""
    windows: Tensor | None = None
    """int64 ``[T, 3]``, where the images are windows of larger pictures: for each the place of its picture among the
    ``B``, and its top and left there. ``valid_sizes`` are then those of the pictures."""
    questions: tuple[tuple[str, ...], ...] | None = None
    """Of each of the ``B`` images what is asked about it, where anything is."""

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Context":
        """Return the context with its tensors on ``device``."""
        return replace(
            self,
            valid_sizes=self.valid_sizes.to(device, non_blocking=non_blocking),
            original_sizes=self.original_sizes.to(device, non_blocking=non_blocking),
            windows=None if self.windows is None else self.windows.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> "Context":
        """Return the context with its tensors in page-locked memory."""
        return replace(
            self,
            valid_sizes=self.valid_sizes.pin_memory(),
            original_sizes=self.original_sizes.pin_memory(),
            windows=None if self.windows is None else self.windows.pin_memory(),
        )


@dataclass
class Batch:
    """Samples side by side: either images, or the features of a frozen trunk that were stored for them."""

    images: Tensor | None
    """uint8 ``[B, C, H, W]``, or ``[T, C, H, W]`` of windows; None in a batch of features, and where every sample is
    bad."""
    features: dict[str, Tensor] | None
    """Stored features by level; None in a batch of images."""
    context: Context
    targets: dict[str, Tensor | list[Any]]
    """See the module's table; a list where samples differ in shape, and of text."""
    indices: Tensor
    """int64 ``[B]``: the place of each record in the data set."""
    names: list[str]
    skipped: list[BadSample] = field(default_factory=list)
    """The bad samples that would have been here; they are not among the ``B``."""
    states: dict[int, FileState] = field(default_factory=dict)
    """Of the files, by the places of their records, bad ones too; where that was asked for."""
    known: dict[str, Tensor] = field(default_factory=dict)
    """int64: of records of several tasks, by task, the places among the ``B`` of those of which something is known, in
    order. The targets of a task are of these."""

    @property
    def size(self) -> int:
        """The number of usable samples, ``B``; 0 where every one of them is bad."""
        return len(self.names)

    @property
    def dropped_boxes(self) -> Tensor | None:
        """How many boxes of all tasks a random change moved off the canvas, int64; None where there are no boxes."""
        found = [value.sum() for key, value in self.targets.items() if _is_dropped(key) and isinstance(value, Tensor)]
        return torch.stack(found).sum() if found else None

    def take_windows(self, start: int, stop: int) -> "Batch":
        """Return the images, and the context's places, of some of the windows; everything else stays."""
        assert self.images is not None
        assert self.context.windows is not None
        context = replace(self.context, windows=self.context.windows[start:stop])
        return replace(self, images=self.images[start:stop], context=context)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """Return the batch with its tensors on ``device``, but for targets of whole files, which figures take."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        return self._with_tensors(move, self.context.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory, from which copies to a GPU need not wait."""
        return self._with_tensors(Tensor.pin_memory, self.context.pin_memory())

    def _with_tensors(self, move: Any, context: Context) -> "Batch":
        return replace(
            self,
            images=None if self.images is None else move(self.images),
            features=None if self.features is None else {key: move(value) for key, value in self.features.items()},
            context=context,
            targets={
                key: value if key.startswith("full_") else _move(value, move) for key, value in self.targets.items()
            },
            indices=move(self.indices),
            known={task: move(places) for task, places in self.known.items()},
        )


def _is_dropped(key: str) -> bool:
    return plain_key(key) == "dropped"


def _move(value: Tensor | list[Any], move: Any) -> Any:
    if isinstance(value, Tensor):
        return move(value)
    return [move(one) if isinstance(one, Tensor) else one for one in value]


def collate(samples: Sequence[Sample | BadSample]) -> Batch:
    """Put samples side by side; the bad ones go to ``skipped`` and leave the others' order as it is."""
    good = [sample for sample in samples if isinstance(sample, Sample)]
    windows = _join_windows(good)
    join = torch.stack if windows is None else torch.cat
    images = join([sample.image for sample in good if sample.image is not None]) if _hold_images(good) else None
    known = _find_known(good)
    return Batch(
        images=images,
        features=None,
        context=Context(
            canvas=(0, 0) if images is None else (images.shape[-2], images.shape[-1]),
            valid_sizes=_sizes([sample.valid_size for sample in good]),
            original_sizes=_sizes([sample.original_size for sample in good]),
            windows=windows,
            questions=_questions(good),
        ),
        targets=_join_targets(good, known),
        indices=torch.tensor([sample.index for sample in good], dtype=torch.int64),
        names=[sample.name for sample in good],
        skipped=[sample for sample in samples if isinstance(sample, BadSample)],
        states={sample.index: sample.state for sample in samples if sample.state is not None},
        known={task: torch.tensor(places, dtype=torch.int64) for task, places in known.items()},
    )


def _hold_images(samples: Sequence[Sample]) -> bool:
    """Whether there are samples, and they have images."""
    return bool(samples) and samples[0].image is not None


def _questions(samples: Sequence[Sample]) -> tuple[tuple[str, ...], ...] | None:
    """Return the text of the questions about each image, where there are any."""
    if not samples or "questions" not in samples[0].targets:
        return None
    found: list[tuple[Question, ...]] = [sample.targets["questions"] for sample in samples]
    return tuple(tuple(question.text for question in asked) for asked in found)


def _sizes(sizes: list[tuple[int, int]]) -> Tensor:
    return torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2)


def _join_windows(samples: Sequence[Sample]) -> Tensor | None:
    """Return where the windows of all samples lie, ``[T, 3]``."""
    if not samples or samples[0].windows is None:
        return None
    found = []
    for place, sample in enumerate(samples):
        assert sample.windows is not None
        found.append(torch.cat([torch.full((len(sample.windows), 1), place), sample.windows], dim=1))
    return torch.cat(found)


def _find_known(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Return of each task the places of the samples that have a target of it."""
    known: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        for task in dict.fromkeys(task_of_key(key) for key in sample.targets):
            if task:
                known.setdefault(task, []).append(place)
    return known


def _join_targets(samples: Sequence[Sample], known: Mapping[str, Sequence[int]]) -> dict[str, Tensor | list[Any]]:
    """Return all targets side by side, each over the samples that its task is known of, or else over all."""
    everywhere = range(len(samples))
    return {
        key: _join(key, [samples[place].targets[key] for place in known.get(task_of_key(key), everywhere)])
        for key in dict.fromkeys(key for sample in samples for key in sample.targets)
    }


def _join(key: str, values: list[Any]) -> Tensor | list[Any]:
    ragged = plain_key(key) in _RAGGED or key.startswith("full_")
    alike = not ragged and all(value.shape == values[0].shape for value in values)
    return torch.stack(values) if alike else values
