"""Temperature scaling: one number that makes probabilities mean what they say (Guo 2017, section 4.2).

All logits are divided by it, so the best class of an image stays what it is, and so does the order of its classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid

from ...datasets import Record, ResumableLoader, TargetEncoder
from ..config import TrainingOptions
from ..task import Task
from ..trainer import predict_outputs
from .calibration_error import calibration_error
from .head import ClassificationHead
from .readout import Readout, probabilities

#: A best temperature beyond these isn't one: the loss goes on falling towards 0 or infinity.
_BOUNDS = (0.02, 50.0)


def calibrate(task: Task, loader: ResumableLoader, options: TrainingOptions) -> dict[str, Any]:
    """Give a trained head the temperature with the least log loss on a split; return what the card says of it.

    Where images don't determine one, because each is classified rightly or because the network knows nothing of them,
    the temperature stays 1 and the card says so.
    """
    head = task.head
    assert isinstance(head, ClassificationHead)
    rows = predict_outputs(task, loader, options)
    logits, targets = _pair(rows, loader.dataset.records, head)
    temperature = fit_temperature(logits, targets, head.readout)
    facts: dict[str, Any] = {
        "temperature": temperature or 1.0,
        "images": len(logits),
        "before": _figures(logits, targets, head.readout),
    }
    if temperature is None:
        facts["note"] = "no temperature is best on these images: the log loss falls towards 0 or infinity; it stays 1"
    else:
        facts["after"] = _figures(logits / temperature, targets, head.readout)
        facts["note"] = "fitted and measured on the same images, those of the validation split"
        head.temperature = task.description["temperature"] = temperature
    print(_summary(facts))
    return {"calibration": facts}


def _summary(facts: dict[str, Any]) -> str:
    if "after" not in facts:
        return f"calibration: {facts['note']}"
    changes = ", ".join(
        f"{name.replace('_', ' ')} {facts['before'][name]:.4f} -> {facts['after'][name]:.4f}" for name in facts["after"]
    )
    return f"calibration: temperature {facts['temperature']:.4f}, {changes} ({facts['note']})"


def _pair(rows: Sequence[dict[str, Any]], records: Sequence[Record], head: ClassificationHead) -> tuple[Tensor, Tensor]:
    """Return float64 logits ``[N, C]`` and the targets of the images that could be read."""
    encode, key = TargetEncoder(head.classes), "labels" if head.readout == "sigmoid" else "label"
    used = [(row["output"], encode(record)[key]) for row, record in zip(rows, records, strict=True) if "output" in row]
    logits, targets = (torch.stack(values) for values in zip(*used, strict=True))
    return logits.double(), targets.double() if key == "labels" else targets


def fit_temperature(logits: Tensor, targets: Tensor, readout: Readout) -> float | None:
    """Return the temperature with the least log loss, or nothing where there is none between the bounds.

    Args:
        logits: float64 ``[N, C]``.
        targets: int64 ``[N]`` classes, or for the readout ``sigmoid`` float64 ``[N, C]``, 1 where a class holds.
        readout: How probabilities come from logits.
    """

    def loss(logarithm: float) -> float:
        return float(log_loss(logits / np.exp(logarithm), targets, readout))

    bounds = np.log(_BOUNDS)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    # a loss that falls towards a bound may be 0 to all digits on the way
    return float(np.exp(found.x)) if found.fun < min(map(loss, bounds)) - 1e-12 else None


def log_loss(logits: Tensor, targets: Tensor, readout: Readout) -> Tensor:
    """Return the mean negative log likelihood of the targets, over images, and for ``sigmoid`` over classes too."""
    if readout == "sigmoid":
        return binary_cross_entropy_with_logits(logits, targets)
    return cross_entropy(logsigmoid(logits) if readout == "one_vs_rest" else logits, targets)


def _figures(logits: Tensor, targets: Tensor, readout: Readout) -> dict[str, float]:
    """Return the log loss and the expected calibration error."""
    confidences, came_true = probabilities(logits, readout), targets > 0
    if readout != "sigmoid":
        confidences, classes = confidences.max(dim=1)
        came_true = classes == targets
    weights = np.ones((1, len(logits)), dtype=np.int64)
    error = calibration_error(confidences.numpy(), came_true.numpy(), weights)[0]
    return {"log_loss": float(log_loss(logits, targets, readout)), "ece": float(error)}
