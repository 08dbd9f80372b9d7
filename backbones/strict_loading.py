"""Filling a network with a file's tensors: every name must match, and one listing says what doesn't."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .adapt_stem import adapt_stem
from .errors import UserError

LISTED = 8
COUNTER = "num_batches_tracked"


class IncompleteWeightsError(UserError):
    """A file lacks tensors of the network, and everything that it has fits."""


@dataclass(frozen=True)
class LoadReport:
    """How a file was loaded.

    Attributes:
        loaded: Number of tensors that were filled.
        notes: What differs and doesn't matter here, in sentences for a person.
    """

    loaded: int
    notes: tuple[str, ...]


def load_strict(
    network: nn.Module,
    state: Mapping[str, Tensor],
    *,
    origin: str,
    unused: Mapping[str, Tensor] | None = None,
    spare: Sequence[str] = (),
    stem: Sequence[str] = (),
) -> LoadReport:
    """Fill ``network`` from ``state``; every parameter and buffer must be there in its shape.

    Args:
        network: What is filled, on any device.
        state: Tensors by the network's own names.
        origin: Where they come from, for messages.
        unused: Tensors of the complete network that ``network`` was cut by: the file may have them in any shape.
        spare: Prefixes of further names that the file may have.
        stem: Paths of the first convolutions: weights for other input channels are adapted.

    Raises:
        UserError: Names or shapes differ, or a value is not finite. Nothing was changed then.
    """
    own = network.state_dict()
    return fill_strict(own, adapt_stem(state, own, stem), origin=origin, unused=unused, spare=spare)


def fill_strict(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    *,
    origin: str,
    unused: Mapping[str, Tensor] | None = None,
    spare: Sequence[str] = (),
) -> LoadReport:
    """Fill the tensors ``own`` in place; as ``load_strict``, where names were changed to those of the file.

    Args:
        own: A network's parameters and buffers, by the names that the file has for them.
        state: Tensors by the same names.
        origin: Where they come from, for messages.
        unused: Tensors that the file may have in any shape.
        spare: Prefixes of further names that the file may have.

    Raises:
        UserError: Names or shapes differ, or a value is not finite. Nothing was changed then.
    """
    unused = unused or {}
    missing = [name for name in own if name not in state and not name.endswith(COUNTER)]
    shapes = [
        f"{name} {list(state[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    known = {*own, *unused}
    unexpected = [name for name in state if name not in known and not name.startswith(tuple(spare))]
    problems = {"missing": missing, "of another shape": shapes, "not part of the network": unexpected}
    if any(problems.values()):
        kind = UserError if shapes or unexpected else IncompleteWeightsError
        raise kind(_listing(origin, problems))
    _refuse_infinite(origin, own, state)
    _fill(own, state)
    return LoadReport(loaded=sum(name in state for name in own), notes=_notes(state, unused, spare))


def _listing(origin: str, problems: Mapping[str, Sequence[str]]) -> str:
    lines = [f"{origin} doesn't fit the network."]
    for kind, names in problems.items():
        if names:
            more = f", and {len(names) - LISTED} more" if len(names) > LISTED else ""
            lines.append(f"  {len(names)} {kind}: {', '.join(names[:LISTED])}{more}")
    return "\n".join(lines)


def _refuse_infinite(origin: str, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    bad = [name for name in own if name in state and not bool(state[name].isfinite().all())]
    if bad:
        raise UserError(f"{origin} holds values that are not finite, in {', '.join(bad[:LISTED])}.")


def _fill(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in own.items():
            if name in state:
                tensor.copy_(state[name])
            else:
                tensor.zero_()  # files from before PyTorch 0.4.1 have no batch counters


def _notes(state: Mapping[str, Tensor], unused: Mapping[str, Tensor], spare: Sequence[str]) -> tuple[str, ...]:
    other = [name for name, tensor in unused.items() if name in state and state[name].shape != tensor.shape]
    notes = []
    if other:
        notes.append(f"The file's {', '.join(other)} have another shape; they are not used here and were left out.")
    extra = sorted({prefix for prefix in spare for name in state if name.startswith(prefix)})
    if extra:
        notes.append(f"The file's parts {', '.join(extra)} are no part of a trunk and were left out.")
    return tuple(notes)
