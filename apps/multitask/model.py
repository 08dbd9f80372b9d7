"""The model of several apps, ready to be used: loaded, saved, and each head taken out of it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...backbones import Backbone
from ...backbones.errors import UserError, unknown
from ...datasets import Batch, MixedBatch, split_batch
from ..inputs import InputRecipe
from ..model_file import rebuild_model, rebuild_task, rebuild_trunk
from ..on_trunk import OnTrunk, TrainedPart
from ..processes import share_buffers
from ..task import Task
from ..task_names import MULTITASK
from .multi_head import MultiHead
from .stored import TENSORS, TRUNK, HeadFacts, StoredHead, StoredModel, read_stored, write_stored


class MultiTaskModel(OnTrunk):
    """A trunk with the heads of several apps, each still the task of its app.

    Attributes:
        heads: The heads by the names of their tasks.
        tasks: Of each head its app's task, with the trunk that all of them share: its evaluator, its description, and
            what it keeps of a prediction.
        facts: Of each head what its app's own model file said; a head that is still in training has none.
        folder: Where the model was loaded from.
        active: The tasks whose heads run.
    """

    def __init__(
        self, backbone: Backbone, tasks: Mapping[str, Task], facts: Mapping[str, HeadFacts], *, folder: Path
    ) -> None:
        """Put the heads of tasks on the trunk that all of these stand on.

        Raises:
            UserError: If they were shown pictures in different ways, or read what the trunk doesn't give.
        """
        inputs = {name: InputRecipe.from_dict(task.description["inputs"]) for name, task in tasks.items()}
        multi_head = MultiHead(backbone, {name: task.head for name, task in tasks.items()}, inputs)
        super().__init__(backbone, description={"task": MULTITASK, "inputs": multi_head.inputs.to_dict()})
        self.heads = multi_head.heads
        self.tasks = dict(tasks)  # no child modules: their parts are the trunk and the heads
        self.facts = dict(facts)
        self.folder = folder
        self.active: tuple[str, ...] = tuple(tasks)

    @property
    def inputs(self) -> InputRecipe:
        """How a picture comes onto the canvas."""
        return InputRecipe.from_dict(self.description["inputs"])

    @property
    def multi_head(self) -> MultiHead:
        """Trunk and heads as a plain module."""
        heads = {name: task.head for name, task in self.tasks.items()}
        found = MultiHead(self.backbone, heads, dict.fromkeys(heads, self.inputs))
        found.fast = self.fast
        return found

    @property
    def judged_by(self) -> Sequence[str]:
        """The metric that judges each task, as it is logged."""
        return [f"val_{name}_{task.evaluator.primary}" for name, task in self.tasks.items()]

    def choosing(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Return the mean of the tasks' metrics as they are: what moves the trunk moves all heads.

        One that isn't bounded by 1, as CIDEr, may say more than others.
        """
        return {"": sum(figures[name] for name in self.judged_by) / len(self.tasks)}

    def head_parts(self) -> list[TrainedPart]:
        """Return the heads, each as a part of its own."""
        return [
            TrainedPart(f"heads.{name}", task.learning_rate, task.optim.weight_decay, _trained(self.heads[name]))
            for name, task in self.tasks.items()
        ]

    def forward(self, batch: Batch) -> dict[str, Any]:
        """Return the output of each active head for a batch of images; the trunk runs once."""
        features = self.features(batch)
        return {name: self.heads[name](self._read_by(name, features), batch.context) for name in self.active}

    def predict_step(self, batch: Batch, batch_index: int) -> list[dict[str, Any]]:
        """Return for each image a row with the row that each active task predicts, by task; the trunk runs once."""
        features = self.features(batch) if batch.size else None
        rows: dict[str, Sequence[dict[str, Any]]] = {}
        for name in self.active:
            own = {} if features is None else self._read_by(name, features)
            rows[name] = self.tasks[name].predict_step(replace(batch, images=None, features=own), batch_index)
        return [dict(zip(rows, each, strict=True)) for each in zip(*rows.values(), strict=True)]

    def on_validation_epoch_start(self) -> None:
        """Start each evaluation with nothing kept, and with the same statistics in every process."""
        for name in self.active:
            self.tasks[name].begin_evaluation(is_brief=self.trainer.state.fn == "fit")
        share_buffers(self)

    def validation_step(self, batch: MixedBatch, batch_index: int) -> None:
        """Let each task keep its evaluator's rows of the pictures that it knows; the trunk runs once a picture."""
        for part in batch.batches.values():
            for name, own in self.own_batches(part):
                self.tasks[name].validation_step(own, batch_index)

    def on_validation_epoch_end(self) -> None:
        """End the evaluation of each task; see ``log_figures``."""
        self.log_figures()

    def log_figures(self) -> dict[str, float]:
        """Log and return the figures of each task under its name, and outside of training keep their evaluations.

        Raises:
            UserError: If outputs or losses of one aren't finite, or its metric is undefined.
        """
        epoch = self.current_epoch + 1 if self.trainer.state.fn == "fit" else None
        logged: dict[str, float] = {}
        for name in self.active:
            try:
                figures = self.tasks[name].end_evaluation(epoch=epoch)
            except UserError as error:
                raise type(error)(f"{name}: {error}") from error
            logged |= {f"val_{name}_{figure}": value for figure, value in figures.items()}
        self.log_dict(logged)
        return logged

    def own_batches(self, batch: Batch, *, but: Collection[str] = ()) -> Iterator[tuple[str, Batch]]:
        """Yield the batch of each active task that knows any of a batch's pictures, with what its head reads of them.

        The trunk runs once, or not at all where no head reads anything of it.

        Args:
            batch: Of a data set.
            but: Tasks that are left out.
        """
        known = {*batch.known, *(task for bad in batch.skipped for task in bad.tasks)}
        active = [name for name in self.active if name in known and name not in but]
        features = self.features(batch) if any(name in batch.known for name in active) else {}
        for name in active:
            own = split_batch(batch, name)
            if own.size:
                read = self._read_by(name, features)
                if own.size < batch.size:
                    read = {level: values[batch.known[name]] for level, values in read.items()}
                own = replace(own, features=read, context=replace(own.context, canvas=batch.context.canvas))
            yield name, own

    def _read_by(self, name: str, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {level: features[level] for level in self.tasks[name].head.levels}

    def take_out(self, name: str) -> Task:
        """Return a task with a trunk of its own, as loading its app's own model would give it.

        Raises:
            UserError: If the model has no such head.
        """
        if name not in self.tasks:
            raise unknown(f"task of '{self.folder}'", name, list(self.tasks))
        head = self._stored_head(name)
        trunk = trunk_of(head.facts, self.backbone.network.state_dict(), folder=self.folder)
        tensors = {f"{TRUNK}{key}": tensor for key, tensor in trunk.items()}
        tensors |= {f"head.{key}": tensor for key, tensor in head.tensors.items()}
        return rebuild_model(head.facts.description, tensors, folder=self.folder)

    def stored(self) -> StoredModel:
        """Return the model as files have it."""
        first = next(iter(self.facts.values())).description["backbone"]
        preprocessing = self.backbone.preprocessing.to_dict()
        backbone = {**first, "recipe": dict(self.backbone.recipe), "preprocessing": preprocessing}
        heads = {name: self._stored_head(name) for name in self.tasks}
        trunk = self.backbone.network.state_dict()
        return StoredModel((str(self.folder),), self.folder, backbone, trunk, heads)

    def _stored_head(self, name: str) -> StoredHead:
        return StoredHead(str(self.folder), self.facts[name], self.tasks[name].head.state_dict())


def _trained(head: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in head.parameters() if parameter.requires_grad]


def trunk_of(facts: HeadFacts, trunk: Mapping[str, Tensor], *, folder: Path) -> dict[str, Tensor]:
    """Return those of a trunk's tensors that a head's own trunk has.

    Args:
        facts: Of the head.
        trunk: The tensors of the shared trunk, by the network's own names.
        folder: Where they are from.
    """
    own = rebuild_trunk(facts.description["backbone"], folder=folder)
    return {name: trunk[name] for name in own.network.state_dict()}


def build_model(stored: StoredModel) -> MultiTaskModel:
    """Return the model that files hold, in eval mode.

    Raises:
        UserError: If the tensors aren't those of the trunk and the heads.
    """
    backbone = rebuild_trunk(stored.backbone, folder=stored.folder)
    tasks = {name: rebuild_task(backbone, head.facts.description) for name, head in stored.heads.items()}
    try:
        backbone.network.load_state_dict(dict(stored.trunk))
        for name, head in stored.heads.items():
            tasks[name].head.load_state_dict(dict(head.tensors))
    except RuntimeError as error:
        raise UserError(f"'{stored.folder / TENSORS}' can't be loaded: {error}") from error
    facts = {name: head.facts for name, head in stored.heads.items()}
    return MultiTaskModel(backbone, tasks, facts, folder=stored.folder).eval()


def load_multitask(path: str | Path) -> MultiTaskModel:
    """Rebuild a model with heads of several apps from its folder, in eval mode; nothing else is needed.

    A model of a single app is loaded as one with one head.

    Raises:
        UserError: If there is no model there, or its files are damaged.
    """
    return build_model(read_stored(path))


def save_multitask(folder: Path, model: MultiTaskModel) -> None:
    """Write a model so that :func:`load_multitask` gives it back from the folder alone.

    Raises:
        UserError: If the folder can't be written to.
    """
    write_stored(folder, model.stored())
