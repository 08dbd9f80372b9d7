"""Records of several tasks at once: a picture is decoded and placed once for all of them.

The targets of a joint record, sample and batch have the keys of ``sample.py`` with the task at their end, such as
``label@classification`` and ``mask@segmentation``. A task of which nothing is known has no key, which is another thing
than a picture that is known to show nothing. What moves pictures, batches them and stores them takes keys as they come;
``split_batch`` then hands each task a batch as it would have alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.tv_tensors import TVTensor

from .questions import Question
from .sample import Batch, Context, Record, plain_key, task_of_key
from .target_encoder import TargetEncoder


def join_records(by_task: Mapping[str, Sequence[Record]], order: Sequence[Record] | None = None) -> tuple[Record, ...]:
    """Return the pictures of all tasks, once each, with what each task knows of them.

    Args:
        by_task: The records of each task; those of one path are of one picture.
        order: The records of the whole split, whose order the result has; what isn't among them comes last. Without it
            the pictures come as they first appear, task after task.
    """
    pictures: dict[Path, Record] = {}
    targets: dict[Path, dict[str, Any]] = {}
    for task, records in by_task.items():
        for record in records:
            pictures.setdefault(record.path, record)
            targets.setdefault(record.path, {}).update(_with_end(record.targets, task))
    listed = [record.path for record in order or () if record.path in pictures]
    return tuple(replace(pictures[path], targets=targets[path]) for path in dict.fromkeys([*listed, *pictures]))


def of_task(record: Record, task: str) -> Record:
    """Return a joint record as a task's own; without targets where nothing is known for it."""
    return replace(record, targets=_of_task(record.targets, task))


class JointEncoder:
    """Encodes the records of several tasks, each task's targets by its own ``TargetEncoder``.

    Attributes:
        encoders: By task. What a record knows for other tasks isn't looked at.
    """

    def __init__(self, encoders: Mapping[str, TargetEncoder]) -> None:
        """Keep the encoders; their order is that of the keys."""
        self.encoders = dict(encoders)

    def __call__(self, record: Record) -> dict[str, Any]:
        """Return the targets that don't move with the picture.

        Raises:
            DataError: A class that its task doesn't know, naming the image.
        """
        return self._gather((task, encoder(own)) for task, encoder, own in self._parts(record))

    def spatial(self, record: Record, size: tuple[int, int]) -> dict[str, TVTensor]:
        """Return what of all tasks' targets moves with the picture.

        Args:
            record: The record.
            size: Height and width of the upright picture, in pixels.

        Raises:
            DataError: As of ``TargetEncoder.spatial``, for any task.
        """
        return self._gather((task, encoder.spatial(own, size)) for task, encoder, own in self._parts(record))

    def join(self, record: Record, placed: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return all targets of a record, with those that a transform has placed."""
        return self._gather(
            (task, encoder.join(own, _of_task(placed, task))) for task, encoder, own in self._parts(record)
        )

    def recipe(self) -> dict[str, Any]:
        """Return plain values, by task: what moved targets are a function of, besides the records."""
        return {task: encoder.recipe() for task, encoder in self.encoders.items()}

    def tasks_of(self, record: Record) -> tuple[str, ...]:
        """Return the tasks of which something is known of the record, in the encoders' order."""
        return tuple(task for task, _, _ in self._parts(record))

    def check(self, records: Sequence[Record]) -> None:
        """Raise the ``DataError`` of the first record whose class isn't known, before any image is read."""
        for task, encoder in self.encoders.items():
            encoder.check([of_task(record, task) for record in records])

    def _parts(self, record: Record) -> list[tuple[str, TargetEncoder, Record]]:
        found = {task_of_key(key) for key in record.targets}
        return [(task, encoder, of_task(record, task)) for task, encoder in self.encoders.items() if task in found]

    @staticmethod
    def _gather(parts: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
        return {key: value for task, targets in parts for key, value in _with_end(targets, task).items()}


Encoder = TargetEncoder | JointEncoder
"""What makes targets of records, of one task or of several."""


def split_batch(batch: Batch, task: str) -> Batch:
    """Return a task's own batch: the samples of which it is known, with its targets, and bad ones of its own.

    It has no images and no features, for those of all tasks are computed together: of its features take the rows
    ``batch.known[task]``. Where those are all rows, its tensors are the batch's own, not copies.

    Args:
        batch: Of joint samples.
        task: One of them; of one that is known of no sample the batch is empty.
    """
    targets = _of_task(batch.targets, task)
    places = batch.known.get(task, batch.indices.new_zeros(0))
    context, indices, names = batch.context, batch.indices, batch.names
    if len(places) < batch.size:
        context, indices = _choose(context, places), indices[places]
        names = [names[place] for place in places.tolist()]
    return Batch(
        images=None,
        features=None,
        context=replace(context, questions=_texts(targets.get("questions"))),
        targets=targets,
        indices=indices,
        names=names,
        skipped=[sample for sample in batch.skipped if task in sample.tasks],
    )


def targets_by_sample(batch: Batch) -> list[dict[str, Any]]:
    """Return the targets of each sample of a batch by itself, as they were before they were put side by side."""
    found: list[dict[str, Any]] = [{} for _ in range(batch.size)]
    places = {task: known.tolist() for task, known in batch.known.items()}
    for key, values in batch.targets.items():
        for row, place in enumerate(places.get(task_of_key(key), range(batch.size))):
            found[place][key] = values[row]
    return found


def _choose(context: Context, places: Tensor) -> Context:
    """Return the context of some of the pictures."""
    assert context.windows is None  # several tasks are shown pictures as a whole
    return replace(context, valid_sizes=context.valid_sizes[places], original_sizes=context.original_sizes[places])


def _texts(questions: Sequence[Sequence[Question]] | Tensor | None) -> tuple[tuple[str, ...], ...] | None:
    if questions is None:
        return None
    assert not isinstance(questions, Tensor)
    return tuple(tuple(question.text for question in asked) for asked in questions)


def _with_end(targets: Mapping[str, Any], task: str) -> dict[str, Any]:
    return {f"{key}@{task}": value for key, value in targets.items()}


def _of_task(targets: Mapping[str, Any], task: str) -> dict[str, Any]:
    return {plain_key(key): value for key, value in targets.items() if task_of_key(key) == task}
