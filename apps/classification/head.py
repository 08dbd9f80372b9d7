"""Heads that give one logit a class."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...backbones import Backbone
from ...backbones.errors import unknown
from ...datasets import Context
from .averaging import AveragingHead, mean_sigmoid, mean_softmax
from .losses import ClassLoss
from .options import HeadOptions
from .readout import Readout, predict_rows

HeadName = Literal["linear", "mlp"]


class ClassificationHead(AveragingHead):
    """Classification from one level of a trunk, into one class or any number of them.

    Args:
        in_channels: Of the level.
        classes: The class names, in the order of the logits.
        name: ``linear``, or ``mlp`` with one hidden ReLU layer.
        options: Level, dropout, width.
        readout: How probabilities come from the logits.
        criterion: The training loss; nothing for a head that is only used.
    """

    def __init__(
        self,
        in_channels: int,
        classes: Sequence[str],
        *,
        name: HeadName = "linear",
        options: HeadOptions,
        readout: Readout = "softmax",
        criterion: ClassLoss | None = None,
    ) -> None:
        """See the class."""
        super().__init__()
        self.classes = tuple(classes)
        self.levels = (options.level,)
        self.readout: Readout = readout
        self.criterion = criterion or ClassLoss(readout)
        self.temperature = 1.0  # of a calibrated model, see calibration.py
        hidden = [nn.Linear(in_channels, options.hidden), nn.ReLU()] if name == "mlp" else []
        self.layers = nn.Sequential(*hidden, nn.Dropout(options.dropout))
        self.classifier = nn.Linear(options.hidden if name == "mlp" else in_channels, len(self.classes))

    def forward(self, features: Mapping[str, Tensor], context: Context) -> Tensor:
        """Return logits ``[B, C]``, in evaluation divided by the temperature."""
        level = features[self.levels[0]]
        pooled = level.mean(dim=(-2, -1)) if level.dim() == 4 else level
        logits: Tensor = self.classifier(self.layers(pooled))
        if self.training:
            return logits
        # not in bf16, whose few digits would make ties of a division
        return logits.float() / self.temperature

    def loss(self, output: Tensor, context: Context, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the loss of logits ``[B, C]`` with ``targets["label"]``, or ``targets["labels"]`` for any number.

        A label is int64 ``[B]``, or float32 ``[B, C]`` shares of each class where pictures were mixed; labels are
        float32 ``[B, C]``.
        """
        target = targets["labels" if self.readout == "sigmoid" else "label"]
        return {"classification": self.criterion(output.float(), target)}

    def average(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return logits ``[B, C]`` of the mean probabilities of several."""
        return mean_softmax(outputs) if self.readout == "softmax" else mean_sigmoid(outputs)

    def predict(self, output: Tensor, context: Context) -> list[dict[str, Any]]:
        """Return for each image the most probable classes, best first: five, or all that hold."""
        return predict_rows(output, self.classes, self.readout)


class PretrainedClassifier(AveragingHead):
    """The classifier that came with the weights, as a head: it reads the trunk's own logits and trains nothing.

    Args:
        classes: The names of the logits, in their order.
    """

    levels = ("logits",)

    def __init__(self, classes: Sequence[str]) -> None:
        """See the class."""
        super().__init__()
        self.classes = tuple(classes)

    def forward(self, features: Mapping[str, Tensor], context: Context) -> Tensor:
        """Return logits ``[B, C]``."""
        return features["logits"]

    def loss(self, output: Tensor, context: Context, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the cross-entropy of logits ``[B, C]`` with ``targets["label"]``, int64 ``[B]``."""
        return {"classification": F.cross_entropy(output.float(), targets["label"])}

    def average(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return logits ``[B, C]`` of the mean softmax of several."""
        return mean_softmax(outputs)

    def predict(self, output: Tensor, context: Context) -> list[dict[str, Any]]:
        """Return for each image the most probable classes, at most five, best first."""
        return predict_rows(output, self.classes, "softmax")


def level_channels(backbone: Backbone, level: str) -> int:
    """Return the channels of a level that a classification head can read.

    Raises:
        UserError: If the trunk has no such level.
    """
    if level == "embedding":
        return backbone.embedding_dim
    if level not in backbone.specs:
        raise unknown(f"level of {backbone.name}", level, ["embedding", *backbone.specs])
    return backbone.specs[level].channels
