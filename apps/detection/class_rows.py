"""Which rows of a detector's last layers stay when its classes become others."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

#: Layers of torchvision's detectors that have rows of each class, and how many: one logit or mask, or four offsets.
_LAYERS = {
    r"roi_heads\.box_predictor\.cls_score\.": 1,
    r"roi_heads\.box_predictor\.bbox_pred\.": 4,
    r"roi_heads\.mask_predictor\.mask_fcn_logits\.": 1,
    r"head\.classification_head\.(cls_logits|module_list\.\d+)\.": 1,
}
#: So many names of classes stand in a sentence.
_NAMED = 8


@dataclass(frozen=True)
class Labels:
    """The classes of a head.

    Attributes:
        classes: Their names, in the order of their indices.
        first: The label of the first: 1 where 0 is the background.
    """

    classes: tuple[str, ...]
    first: int

    def __len__(self) -> int:
        """Return how many labels there are, the background among them."""
        return self.first + len(self.classes)


def adapt_rows(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], labels: Labels, known: Sequence[str]
) -> tuple[dict[str, Tensor], str]:
    """Return a file's tensors with rows for a head's classes, and part of a sentence that says which are the file's.

    Rows that the file hasn't are those of ``own``. What can't be brought into the head's shapes is returned as it is.

    Args:
        own: The head's tensors, by the names that torchvision's models have for them.
        state: The file's.
        labels: The head's classes.
        known: Names of a file's labels, the background among them, if it has so many.
    """
    layers = {name: rows for name in own if name in state for rows in [_rows_a_class(name)] if rows}
    groups = {name: len(own[name]) // (len(labels) * rows) for name, rows in layers.items()}
    numbers = {len(state[name]) / (groups[name] * rows) for name, rows in layers.items()}
    number = numbers.pop() if numbers else 0
    if numbers or number != int(number):
        return dict(state), ""
    pairs, sentence = _match(labels, int(number), known)
    adapted = dict(state)
    for name, rows in layers.items():
        shape = (groups[name], -1, rows, *own[name].shape[1:])
        merged, held = own[name].clone().view(shape), state[name].reshape(shape)
        if merged.shape[2:] == held.shape[2:]:
            for ours, theirs in pairs.items():
                merged[:, ours] = held[:, theirs]
            adapted[name] = merged.view_as(own[name])
    return adapted, sentence


def _rows_a_class(name: str) -> int:
    return next((rows for pattern, rows in _LAYERS.items() if re.match(pattern, name)), 0)


def _match(labels: Labels, number: int, known: Sequence[str]) -> tuple[dict[int, int], str]:
    """Return which of a file's labels is which of ours, and a sentence on it."""
    background = dict.fromkeys(range(labels.first), 0)
    if number == len(known):
        places = {name.casefold(): place for place, name in enumerate(known)}
        shared = {
            label: places[name.casefold()]
            for label, name in enumerate(labels.classes, start=labels.first)
            if name.casefold() in places
        }
        return background | shared, _say_shared(labels, shared)
    if number == len(labels):
        order = _list(labels.classes)
        return {label: label for label in range(number)}, (
            f"as many classes as here, and no names: its rows are taken for {order}, in this order"
        )
    count = number - labels.first
    return background, f"{count} classes without names: the rows of all {len(labels.classes)} start anew"


def _say_shared(labels: Labels, shared: Mapping[int, int]) -> str:
    new = [name for label, name in enumerate(labels.classes, start=labels.first) if label not in shared]
    kept = f"COCO's classes: the rows of {len(shared)} are kept by name"
    return f"{kept}; {len(new)} start anew ({_list(new)})" if new else kept


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
