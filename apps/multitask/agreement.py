"""Whether heads that were trained apart can stand on one trunk, and the reasons why not."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...backbones import Preprocessing
from ...backbones.errors import UserError
from ...backbones.fingerprint import fingerprint
from ..inputs import InputRecipe

#: What of an input recipe a person can choose, and how.
_CHOSEN = {"canvas": "--image-size", "mode": "--resize", "channels": "--channels"}
#: What of a trunk's recipe decides what it computes, and what messages call it. Levels may differ.
_STRUCTURE = {"name": "network", "in_channels": "number of image channels", "output_stride": "output stride"}
#: Digits of a hash in a message.
_SHOWN = 12


def check_recipes(inputs: Mapping[str, InputRecipe]) -> InputRecipe:
    """Return the one way in which all heads were shown pictures.

    The trunk's features at the border change with the canvas, so that a head knows only those of its own.

    Args:
        inputs: How each head was shown pictures, by what messages call it.

    Raises:
        UserError: If it wasn't the same; naming two of them, what differs, and the options that choose it. Or if they
            were shown windows of pictures.
    """
    for name, each in inputs.items():
        if each.mode == "window":
            raise UserError(
                f"{name} was trained with --resize window, in which a picture becomes any number of windows, and heads "
                "that share a trunk see it whole, once. Use it with its own app's commands, or train it with --resize "
                "pad."
            )
    (first, recipe), *others = inputs.items()
    for name, other in others:
        if other == recipe:
            continue
        mine, its = recipe.to_dict(), other.to_dict()
        differing = [key for key in mine if mine[key] != its[key]]
        listed = "; ".join(f"{key.replace('_', ' ')} {_shown(mine[key])} and {_shown(its[key])}" for key in differing)
        flags = " and ".join(_CHOSEN[key] for key in differing if key in _CHOSEN)
        mend = f"the same {flags}" if flags else "weights of the same preprocessing"
        raise UserError(
            f"{first} and {name} were trained on pictures that came onto the canvas in different ways: {listed}. One "
            f"pass of the trunk can't serve both: train them with {mend}."
        )
    return recipe


def _shown(value: Any) -> str:
    is_size = isinstance(value, tuple) and all(isinstance(side, int) for side in value)
    return "x".join(map(str, value)) if is_size else str(value)


def check_structure(names: tuple[str, str], backbones: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
    """Refuse two trunks that compute something else.

    Args:
        names: What messages call the models.
        backbones: What their model files say of their ``backbone``.

    Raises:
        UserError: If the networks, their input channels or their strides differ.
    """
    for key, called in _STRUCTURE.items():
        mine, its = (backbone["recipe"][key] for backbone in backbones)
        if mine != its:
            raise UserError(
                f"{names[0]} and {names[1]} have different trunks: the {called} of the first is {mine}, of the second "
                f"{its}. Only heads that were trained on the same trunk can be put together."
            )


def check_preprocessing(names: tuple[str, str], backbones: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
    """Refuse two trunks that were shown pictures in different ways.

    Args:
        names: What messages call the models.
        backbones: What their model files say of their ``backbone``.

    Raises:
        UserError: Saying what differs.
    """
    mine, its = (Preprocessing.from_dict(backbone["preprocessing"]).to_dict() for backbone in backbones)
    differing = [key for key in mine if mine[key] != its[key]]
    if differing:
        listed = "; ".join(f"{key.replace('_', ' ')} {mine[key]} and {its[key]}" for key in differing)
        raise UserError(
            f"{names[0]} and {names[1]} prepare pictures in different ways: {listed}. Only heads whose trunk was shown "
            "pictures in the same way can be put together: train both with the same --weights and --image-size."
        )


def check_values(names: tuple[str, str], states: tuple[Mapping[str, Tensor], Mapping[str, Tensor]]) -> str:
    """Return the SHA-256 of what two trunks of one network have in common: the proof that they are one.

    A trunk keeps only what its own head's levels need, so that one may lack deep layers that the other has. What both
    have must be the same to the bit.

    Args:
        names: What messages call the models.
        states: The tensors of their trunks, by the network's own names.

    Raises:
        UserError: If values differ.
    """
    shared = sorted(states[0].keys() & states[1].keys())
    assert shared  # every level of a network is computed from its first layers
    mine, its = (fingerprint({name: state[name] for name in shared}) for state in states)
    if mine != its:
        pairs = ((name, *(fingerprint({name: state[name]}) for state in states)) for name in shared)
        differing = [name for name, one, other in pairs if one != other]
        raise UserError(
            f"The trunk of {names[1]} isn't that of {names[0]}: {len(differing)} of the {len(shared)} tensors that "
            f"both have differ, such as {differing[0]} (SHA-256 {mine[:_SHOWN]}... and {its[:_SHOWN]}...). Heads can "
            "share a trunk only if none of them moved it: train each with the same --weights and --freeze all, or the "
            "second one on the first one's trunk: --weights RUN --freeze all."
        )
    return mine
