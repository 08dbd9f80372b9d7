"""Heads that give one logit a class."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...backbones import Backbone
from ...backbones.errors import unknown
from ...datasets import Context
from .averaging import AveragingHead, mean_softmax
from .options import HeadOptions

HeadName = Literal["linear", "mlp"]
TOP_K = 5


class ClassificationHead(AveragingHead):
    """Single-label classification from one level of a trunk.

    Args:
        in_channels: Of the level.
        classes: The class names, in the order of the logits.
        name: ``linear``, or ``mlp`` with one hidden ReLU layer.
        options: Level, dropout, width.
        label_smoothing: Of the cross-entropy (Szegedy 2016, section 7).
        class_weights: ``[C]`` weights of the cross-entropy, or nothing.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        in_channels: int,
        classes: Sequence[str],
        *,
        name: HeadName = "linear",
        options: HeadOptions,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
    ) -> None:
        """See the class."""
        super().__init__()
        self.classes = tuple(classes)
        self.levels = (options.level,)
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)
        hidden = [nn.Linear(in_channels, options.hidden), nn.ReLU()] if name == "mlp" else []
        self.layers = nn.Sequential(*hidden, nn.Dropout(options.dropout))
        self.classifier = nn.Linear(options.hidden if name == "mlp" else in_channels, len(self.classes))

    def forward(self, features: Mapping[str, Tensor], context: Context) -> Tensor:
        """Return logits ``[B, C]``."""
        level = features[self.levels[0]]
        pooled = level.mean(dim=(-2, -1)) if level.dim() == 4 else level
        logits: Tensor = self.classifier(self.layers(pooled))
        return logits

    def loss(self, output: Tensor, context: Context, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the cross-entropy of logits ``[B, C]`` with ``targets["label"]``.

        Labels are int64 ``[B]``, or float32 ``[B, C]`` shares of each class where pictures were mixed.
        """
        loss = F.cross_entropy(
            output.float(), targets["label"], weight=self.class_weights, label_smoothing=self.label_smoothing
        )
        return {"classification": loss}

    def average(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return logits ``[B, C]`` of the mean softmax of several."""
        return mean_softmax(outputs)

    def predict(self, output: Tensor, context: Context) -> list[dict[str, Any]]:
        """Return for each image the most probable classes, at most five, best first."""
        return top_rows(output, self.classes)


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
        return top_rows(output, self.classes)


def top_rows(logits: Tensor, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return ``{"predicted": name, "top": [{"class": name, "probability": p}, ...]}`` for logits ``[B, C]``."""
    probabilities, indices = top_probabilities(logits, TOP_K)
    tops = [top_row(*row, classes) for row in zip(indices.tolist(), probabilities.tolist(), strict=True)]
    return [{"predicted": top[0]["class"], "top": top} for top in tops]


def top_row(indices: Sequence[int], probabilities: Sequence[float], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return ``[{"class": name, "probability": p}, ...]`` for one image, best first."""
    return [
        {"class": classes[index], "probability": round(probability, 6)}
        for index, probability in zip(indices, probabilities, strict=True)
    ]


def top_probabilities(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the ``min(k, C)`` highest softmax probabilities of logits ``[B, C]`` and their classes, best first."""
    probabilities, indices = torch.softmax(logits.float(), dim=1).topk(min(k, logits.shape[1]), dim=1)
    return probabilities, indices


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
