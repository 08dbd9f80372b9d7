"""The model of several apps, ready to be used: loaded, saved, and each head taken out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from ...backbones import Backbone
from ...backbones.errors import UserError, unknown
from ...datasets import Batch
from ..fast_trunk import FastTrunk
from ..inputs import InputRecipe
from ..model_file import rebuild_model, rebuild_task, rebuild_trunk
from ..task import Task
from .multi_head import MultiHead
from .stored import TENSORS, TRUNK, HeadFacts, StoredHead, StoredModel, read_stored, write_stored


class MultiTaskModel(pl.LightningModule):
    """A trunk with the heads of several apps, each still the task of its app.

    Attributes:
        multi_head: Trunk and heads.
        tasks: Of each head its app's task, with the trunk that all of them share: its evaluator, its description, and
            what it keeps of a prediction.
        facts: Of each head what its app's own model file said.
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
        super().__init__()
        inputs = {name: InputRecipe.from_dict(task.description["inputs"]) for name, task in tasks.items()}
        self.multi_head = MultiHead(backbone, {name: task.head for name, task in tasks.items()}, inputs)
        self.tasks = dict(tasks)  # no child modules: their parts are those of multi_head
        self.facts = dict(facts)
        self.folder = folder
        self.active: tuple[str, ...] = tuple(tasks)

    @property
    def backbone(self) -> Backbone:
        """The trunk."""
        return self.multi_head.backbone

    @property
    def inputs(self) -> InputRecipe:
        """How a picture comes onto the canvas."""
        return self.multi_head.inputs

    @property
    def fast(self) -> FastTrunk | None:
        """The trunk's inference form, once there is one."""
        return self.multi_head.fast

    @fast.setter
    def fast(self, trunk: FastTrunk | None) -> None:
        self.multi_head.fast = trunk

    def use_channels_last(self) -> None:
        """Keep the trunk's convolutions, and the images it sees, in the channels-last memory format."""
        self.multi_head.use_channels_last()

    def forward(self, batch: Batch) -> dict[str, Any]:
        """Return the output of each active head for a batch of images; the trunk runs once."""
        return self.multi_head(self._normal(batch), dict.fromkeys(self.active, batch.context))  # type: ignore[no-any-return]

    def predict_step(self, batch: Batch, batch_index: int) -> list[dict[str, Any]]:
        """Return for each image a row with the row that each active task predicts, by task; the trunk runs once."""
        features = self.multi_head.features(self._normal(batch)) if batch.size else {}
        rows: dict[str, Sequence[dict[str, Any]]] = {}
        for name in self.active:
            own = self.multi_head.read_by(name, features) if batch.size else {}
            rows[name] = self.tasks[name].predict_step(replace(batch, images=None, features=own), batch_index)
        return [dict(zip(rows, each, strict=True)) for each in zip(*rows.values(), strict=True)]

    def _normal(self, batch: Batch) -> Tensor:
        assert batch.images is not None
        return self.backbone.preprocessing.normalize(batch.images)

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
