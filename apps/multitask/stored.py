"""A model with heads of several apps as files: the trunk once, and of each head all that its app's own model says.

``model.safetensors`` holds the trunk as ``backbone.*`` and each head as ``heads.<task>.*``; ``model.json`` has under
``tasks`` the description that each app wrote, word for word, so that a head can be taken out as it was put in. A split
that was cut for a head's training lies in ``splits/<task>.csv``. A model of a single app is read as one with one head.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from ...backbones.errors import UserError
from ...backbones.fingerprint import fingerprint
from ..inputs import InputRecipe
from ..model_file import FORMAT, read_model, read_tensors
from ..run_folder import make_folder, replacing, versions
from ..task_names import MULTITASK, TASKS
from .agreement import check_preprocessing, check_recipes, check_structure, check_values

TENSORS, DESCRIPTION, SPLIT, SPLITS = "model.safetensors", "model.json", "split.csv", "splits"
TRUNK = "backbone.network."
_HEAD = "head."


@dataclass(frozen=True)
class HeadFacts:
    """What is known of a head besides its tensors.

    Attributes:
        description: What its app's own ``model.json`` says.
        split: The file of the split that was cut for its training, where one was.
    """

    description: dict[str, Any]
    split: bytes | None = None

    @property
    def tied(self) -> dict[str, str]:
        """Names of the head's tensors that stand there once more, each with its first."""
        tied: Mapping[str, str] = self.description.get("tied", {})
        names = {name: source for name, source in tied.items() if name.startswith(_HEAD)}
        return {name.removeprefix(_HEAD): source.removeprefix(_HEAD) for name, source in names.items()}


@dataclass(frozen=True)
class StoredHead:
    """A head as files have it.

    Attributes:
        origin: Where it is from, for messages.
        facts: What is known of it.
        tensors: By its own names, tied ones too.
    """

    origin: str
    facts: HeadFacts
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Fingerprints:
    """SHA-256 of the parts of a model, by which they are known to be what they were.

    Attributes:
        trunk: Of the trunk.
        heads: Of each head, by task.
    """

    trunk: str
    heads: dict[str, str]


@dataclass(frozen=True)
class StoredModel:
    """A trunk and any number of heads, as files have them.

    Attributes:
        origins: Where it is from, for messages.
        folder: The folder of its files, or of the first that it was put together from.
        backbone: What model files say of their ``backbone``.
        trunk: The trunk's tensors by the network's own names, tied ones too.
        heads: By task.
    """

    origins: tuple[str, ...]
    folder: Path
    backbone: dict[str, Any]
    trunk: Mapping[str, Tensor]
    heads: Mapping[str, StoredHead]

    @property
    def name(self) -> str:
        """What messages call it."""
        return " and ".join(f"'{origin}'" for origin in self.origins)

    def fingerprints(self, trunk_names: Iterable[str] | None = None) -> Fingerprints:
        """Return the SHA-256 of each part.

        Args:
            trunk_names: The trunk's is over these of its tensors; unset: over all.
        """
        names = self.trunk if trunk_names is None else trunk_names
        return Fingerprints(
            trunk=fingerprint({name: self.trunk[name] for name in names}),
            heads={task: fingerprint(head.tensors) for task, head in self.heads.items()},
        )

    def recipes(self) -> dict[str, InputRecipe]:
        """Return how each head was shown pictures, by what messages call it."""
        return {
            f"{task} ('{head.origin}')": InputRecipe.from_dict(head.facts.description["inputs"])
            for task, head in self.heads.items()
        }

    def joined(self, other: "StoredModel") -> "StoredModel":
        """Return one model with the heads of both; where the other's need more of the trunk, that comes with them.

        Raises:
            UserError: If both have a head of the same app, or their heads can't stand on one trunk.
        """
        if twice := [task for task in self.heads if task in other.heads]:
            raise UserError(
                f"{self.name} and {other.name} both have a head of {twice[0]}, and a model has one head of an app. "
                "Leave one of them out."
            )
        names, backbones = (self.name, other.name), (self.backbone, other.backbone)
        check_structure(names, backbones)
        check_recipes(self.recipes() | other.recipes())
        check_preprocessing(names, backbones)
        check_values(names, (self.trunk, other.trunk))
        mine, its = self.backbone["recipe"], other.backbone["recipe"]
        recipe = {
            **mine,
            "levels": list(dict.fromkeys([*mine["levels"], *its["levels"]])),
            # of a network for one size only; the canvases are the same, so one of them may have left it unsaid
            "image_size": mine["image_size"] or its["image_size"],
        }
        return replace(
            self,
            origins=(*self.origins, *other.origins),
            backbone={**self.backbone, "recipe": recipe},
            trunk={**self.trunk, **other.trunk},
            heads={**self.heads, **other.heads},
        )


def read_stored(path: str | Path) -> StoredModel:
    """Return the model of a run folder or model folder, of one app or several.

    Raises:
        UserError: If there is no model, its files are damaged, or its trunk isn't the one that it was saved with.
    """
    folder, description = read_model(path)
    tensors = read_tensors(folder)
    try:
        tensors |= {name: tensors[source] for name, source in description.get("tied", {}).items()}
        backbone = dict(description["backbone"])
        heads = _read_heads(str(path), folder, description, tensors)
        saved = backbone["fingerprint_after"]
    except KeyError as error:
        raise UserError(
            f"'{folder}' is damaged: {DESCRIPTION} and {TENSORS} don't go together; {error} is missing."
        ) from None
    model = StoredModel((str(path),), folder, backbone, _below(TRUNK, tensors), heads)
    found = fingerprint(model.trunk)
    if found != saved:
        raise UserError(
            f"'{folder}' is damaged: the SHA-256 of its trunk is {found}, and {DESCRIPTION} says {saved}. Restore the "
            "folder as it was saved."
        )
    return model


def _read_heads(
    origin: str, folder: Path, description: dict[str, Any], tensors: Mapping[str, Tensor]
) -> dict[str, StoredHead]:
    if description["task"] != MULTITASK:
        facts = HeadFacts(description, _read_split(folder / SPLIT))
        return {description["task"]: StoredHead(origin, facts, _below(_HEAD, tensors))}
    return {
        task: StoredHead(origin, HeadFacts(own, _read_split(split_of(folder, task))), _below(f"heads.{task}.", tensors))
        for task, own in description["tasks"].items()
    }


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def split_of(folder: Path, task: str) -> Path:
    """Return where the split that was cut for a task's training lies, in a model's folder or a run's."""
    return folder / SPLITS / f"{task}.csv"


def _read_split(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def write_stored(folder: Path, model: StoredModel) -> None:
    """Write a model with heads of several apps, in place of what the folder holds of another.

    Raises:
        UserError: If the folder can't be written to.
    """
    prints = model.fingerprints()
    tied = {
        f"heads.{task}.{name}": f"heads.{task}.{source}"
        for task, head in model.heads.items()
        for name, source in head.facts.tied.items()
    } | _trunk_ties(model)
    tensors = {f"{TRUNK}{name}": tensor for name, tensor in model.trunk.items()}
    for task, head in model.heads.items():
        tensors |= {f"heads.{task}.{name}": tensor for name, tensor in head.tensors.items()}
    description = {
        "format": FORMAT,
        "task": MULTITASK,
        "tasks": {task: head.facts.description for task, head in model.heads.items()},
        "inputs": next(iter(model.recipes().values())).to_dict(),
        "backbone": {
            **{key: model.backbone[key] for key in ("name", "weights", "recipe", "preprocessing")},
            "fingerprint_before": prints.trunk,
            "fingerprint_after": prints.trunk,
        },
        "fingerprints": {"trunk": prints.trunk, "heads": prints.heads},
        "versions": versions(),
        **({"tied": tied} if tied else {}),
    }
    splits = {split_of(folder, task): head.facts.split for task, head in model.heads.items()}
    _write(folder, tensors, description, splits)


def write_head(folder: Path, head: StoredHead, trunk: Mapping[str, Tensor]) -> None:
    """Write a head and its trunk as the model of its app that it came from.

    Args:
        folder: Where to, in place of what it holds of another model.
        head: The head.
        trunk: What it needs of the trunk, by the network's own names.

    Raises:
        UserError: If the folder can't be written to.
    """
    tensors = {f"{TRUNK}{name}": tensor for name, tensor in trunk.items()}
    tensors |= {f"{_HEAD}{name}": tensor for name, tensor in head.tensors.items()}
    _write(folder, tensors, head.facts.description, {folder / SPLIT: head.facts.split})


def _trunk_ties(model: StoredModel) -> dict[str, str]:
    descriptions = [head.facts.description for head in model.heads.values()]
    found = {name: source for each in descriptions for name, source in each.get("tied", {}).items()}
    return {name: source for name, source in found.items() if name.startswith(TRUNK)}


def _write(
    folder: Path, tensors: Mapping[str, Tensor], description: dict[str, Any], splits: Mapping[Path, bytes | None]
) -> None:
    """Write a model's files beside those that are there, and put them in place once all of them are whole."""
    make_folder(folder)
    tied = description.get("tied", {})
    # one storage each: what was read from a file may be views of it
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items() if name not in tied}
    # the description is put in place last
    contents = {folder / DESCRIPTION: _encode(description), folder / TENSORS: save(plain)}
    contents |= {path: split for path, split in splits.items() if split is not None}
    with ExitStack() as stack:
        for path, content in contents.items():
            make_folder(path.parent)
            stream = stack.enter_context(replacing(path, "wb", go_on="run the command again"))
            stream.write(content)
            stream.flush()
    for path in (folder / SPLIT, *(split_of(folder, task) for task in TASKS)):  # of another model that was here
        if path not in contents:
            path.unlink(missing_ok=True)


def _encode(description: dict[str, Any]) -> bytes:
    try:
        return (json.dumps(description, indent=1, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # file names of other encodings
        return (json.dumps(description, indent=1) + "\n").encode()
