"""Whether a ``model.json`` says what a model file has to say, and the one sentence where it doesn't."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any

from ..backbones import Preprocessing
from ..backbones.errors import UserError
from ..backbones.preprocessing import is_size
from .inputs import InputRecipe

Kinds = tuple[type, ...]

#: What is read of a model before its trunk and its head are built; keys of keys stand behind a dot.
_SAID: Mapping[str, Kinds] = {
    "backbone": (dict,),
    "backbone.name": (str,),
    "backbone.weights": (str,),
    "backbone.fingerprint_after": (str,),
    "backbone.recipe": (dict,),
    "backbone.recipe.name": (str,),
    "backbone.recipe.levels": (list,),
    "backbone.recipe.in_channels": (int,),
    "backbone.recipe.output_stride": (int,),
    "backbone.recipe.image_size": (list, NoneType),
    "backbone.preprocessing": (dict,),
    "inputs": (dict,),
    "inputs.canvas": (list,),
    "inputs.mode": (str,),
    "inputs.interpolation": (str,),
    "inputs.crop_fraction": (int, float),
    "inputs.fill": (list,),
    "inputs.channels": (int,),
}
#: What a model of one app says besides.
_SAID_OF_ONE: Mapping[str, Kinds] = {"head": (dict,), "head.options": (dict,), "data": (dict,)}
#: What messages call the types of JSON.
_CALLED = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
}


def damaged(path: Path, reason: object) -> UserError:
    """Return the error for a ``model.json`` that isn't what was saved."""
    return UserError(
        f"'{path}' is damaged: {' '.join(str(reason).split())}. Restore it as it was saved, or train the model again."
    )


def check_description(path: Path, description: Mapping[str, Any], *, several: str) -> None:
    """Refuse what isn't the description of a model.

    Args:
        path: The ``model.json``.
        description: What it holds.
        several: What such a file names as its task if there are heads of several apps, each with its own description.

    Raises:
        UserError: Naming the first key that is missing or of another type.
    """
    _check_types(path, description, {"task": (str,)})
    _check_trunk(path, description)
    if description["task"] != several:
        _check_types(path, description, _SAID_OF_ONE)
        return
    _check_types(path, description, {"tasks": (dict,)})
    if not description["tasks"]:
        raise damaged(path, "'tasks' is empty")
    for task, own in description["tasks"].items():
        where = f"tasks.{task}."
        if not isinstance(own, dict):
            raise damaged(path, f"'tasks.{task}' is {_called(own)} in place of an object")
        _check_types(path, own, {"task": (str,)}, below=where)
        if own["task"] != task:
            raise damaged(path, f"'{where}task' is '{own['task']}'")
        _check_trunk(path, own, below=where)
        _check_types(path, own, _SAID_OF_ONE, below=where)


def _check_trunk(path: Path, description: Mapping[str, Any], *, below: str = "") -> None:
    _check_types(path, description, _SAID, below=below)
    for name, read in (("backbone.preprocessing", Preprocessing.from_dict), ("inputs", _read_inputs)):
        try:
            read(_look_up(description, name))
        except (TypeError, ValueError) as error:
            raise damaged(path, f"'{below}{name}' can't be used ({error})") from error
    recipe = description["backbone"]["recipe"]
    if not all(isinstance(level, str) for level in recipe["levels"]):
        raise damaged(path, f"'{below}backbone.recipe.levels' is no list of names")
    size = recipe["image_size"]
    if size is not None and not is_size(size):
        raise damaged(path, f"'{below}backbone.recipe.image_size' is {size} in place of a height and a width")
    classes = description.get("classes", [])
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise damaged(path, f"'{below}classes' is no list of names")
    tied = description.get("tied", {})
    if not isinstance(tied, dict) or not all(isinstance(source, str) for source in tied.values()):
        raise damaged(path, f"'{below}tied' is no object of names")


def _check_types(path: Path, description: Mapping[str, Any], said: Mapping[str, Kinds], *, below: str = "") -> None:
    for name, kinds in said.items():
        above, _, key = name.rpartition(".")
        holder = _look_up(description, above)
        if key not in holder:
            raise damaged(path, f"'{below}{name}' is missing")
        if type(holder[key]) not in kinds:  # true is no number
            allowed = " or ".join(_CALLED[kind] for kind in kinds)
            raise damaged(path, f"'{below}{name}' is {_called(holder[key])} in place of {allowed}")


def _look_up(description: Mapping[str, Any], name: str) -> Any:
    found: Any = description
    for key in filter(None, name.split(".")):
        found = found.get(key)
    return found


def _read_inputs(plain: dict[str, Any]) -> None:
    """Refuse what is no input recipe."""
    if not is_size(plain["canvas"]):
        raise ValueError(f"canvas is {plain['canvas']} in place of a height and a width")
    if len(plain["fill"]) != plain["channels"] or not all(type(value) in (int, float) for value in plain["fill"]):
        raise ValueError(f"fill is {plain['fill']} in place of a number for each channel")
    InputRecipe.from_dict(plain).transform()


def _called(value: object) -> str:
    return _CALLED[type(value)]


@contextmanager
def building(path: Path) -> Iterator[None]:
    """Build in the block what a ``model.json`` describes: whatever that raises becomes the sentence that names it.

    Raises:
        UserError: What the description asks for can't be built.
    """
    try:
        yield
    except UserError as error:  # such as a network or a language model that isn't here
        raise UserError(f"'{path}' describes a model that can't be built here: {error}") from error
    except KeyError as error:
        raise damaged(path, f"{error} is missing or unknown") from error
    except Exception as error:  # modules of all kinds are built, and each complains in its own way
        raise damaged(path, f"what it describes can't be built ({type(error).__name__}: {error})") from error
