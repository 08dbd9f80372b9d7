"""The question answering task: built for training, or from a model file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ...backbones import Backbone
from ..inputs import InputRecipe
from ..task import Task
from ..trunk import deepest_level, level_channels
from ..vocabulary import Vocabulary
from .fusion import Product, StackedAttention
from .head import AnswerHead, LossName
from .metrics import VqaEvaluator, rebuild_evaluator
from .options import HeadName, HeadOptions, TrainOptions
from .question_encoder import build_encoder


@dataclass(frozen=True)
class QuestionReader:
    """What the encoder of the questions is made of.

    Attributes:
        vocabulary: The words or pieces that it knows.
        config: Of a transformer, as plain values; None for an LSTM.
        network: The pretrained transformer, where training starts from one.
    """

    vocabulary: Vocabulary
    config: Mapping[str, Any] | None = None
    network: Any = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the model file; the network's weights are with the others."""
        return {"vocabulary": self.vocabulary.to_dict(), "config": None if self.config is None else dict(self.config)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "QuestionReader":
        """Return what a model file holds."""
        return cls(Vocabulary.from_dict(plain["vocabulary"]), plain["config"])


def build_task(
    backbone: Backbone,
    evaluator: VqaEvaluator,
    *,
    inputs: InputRecipe,
    head: HeadName,
    head_options: HeadOptions,
    reader: QuestionReader,
    loss: LossName = "cross_entropy",
) -> Task:
    """Return the task for a trunk and the answers, which the evaluator knows.

    Args:
        backbone: A trunk that gives the head's level.
        evaluator: The task's.
        inputs: How images come onto the canvas.
        head: ``product`` or ``stacked_attention``.
        head_options: Among them the level, which has to be set.
        reader: Of the questions.
        loss: The training loss.

    Raises:
        UserError: If the trunk has no such level, or the head can't read it.
    """
    module = _build_head(backbone, evaluator, head, head_options, reader, loss)
    description = {
        "task": "vqa",
        **evaluator.description(),
        "head": {"name": head, "options": asdict(head_options), "loss": loss},
        "questions": reader.to_dict(),
        "inputs": inputs.to_dict(),
    }
    return Task(backbone, module, evaluator, description=description)


def rebuild_task(backbone: Backbone, description: dict[str, Any]) -> Task:
    """Return the task that a model file describes, its head still without the trained weights."""
    head = description["head"]
    return build_task(
        backbone,
        rebuild_evaluator(description),
        inputs=InputRecipe.from_dict(description["inputs"]),
        head=head["name"],
        head_options=HeadOptions(**head["options"]),
        reader=QuestionReader.from_dict(description["questions"]),
        loss=head["loss"],
    )


def settle_level(options: TrainOptions) -> HeadOptions:
    """Return the head's options with a level: the one that was asked for, or what the head reads best.

    That is the embedding for ``product``, what the trunk's ImageNet classifier reads, and the deepest map for
    ``stacked_attention``; either is known before the trunk is built.

    Raises:
        UserError: If there is no such trunk.
    """
    if options.head_options.level is not None:
        return options.head_options
    level = "embedding" if options.head == "product" else deepest_level(options)
    return replace(options.head_options, level=level)


def _build_head(
    backbone: Backbone,
    evaluator: VqaEvaluator,
    name: HeadName,
    options: HeadOptions,
    reader: QuestionReader,
    loss: LossName,
) -> AnswerHead:
    level = options.level
    assert level is not None
    (channels,) = level_channels(backbone, (level,), head=name, reads_vectors=name == "product")
    config = None if reader.config is None else dict(reader.config)
    encoder = build_encoder(reader.vocabulary, options, config, network=reader.network)
    fusion: Product | StackedAttention
    if name == "product":
        fusion = Product(level, channels, options.width, encoder.width)
    else:
        fusion = StackedAttention(level, channels, options.width, encoder.width, hops=options.hops)
    return AnswerHead(
        fusion,
        encoder,
        evaluator.answers,
        width=options.width,
        dropout=options.dropout,
        loss=loss,
        spellings=evaluator.spellings,
    )
