"""Heads that answer questions about pictures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ...backbones.errors import UserError
from ...datasets import Context, Question
from ..classification.readout import Readout, probabilities
from ..task import Head
from .consensus import best_answer, soft_targets
from .fusion import Product, StackedAttention
from .question_encoder import QuestionEncoder

LossName = Literal["cross_entropy", "soft"]

READOUTS: dict[LossName, Readout] = {"cross_entropy": "softmax", "soft": "sigmoid"}
"""How logits that were learned with a loss become probabilities."""

Output = Mapping[str, Tensor]
"""What the head gives for a batch with Q questions in all, in the order of its images: ``logits`` float32 ``[Q, K]``;
``image`` int64 ``[Q]``, the place of each one's image in the batch; where the head looks around, and in evaluation
only, ``attention`` float32 ``[Q, h, w]``, the shares of the map's cells in its last look."""

#: The answers in a row of the predictions.
_TOP = 5


class AnswerHead(Head):
    """Answers every question about every image of a batch with one of K answers.

    Args:
        fusion: Makes a vector of a question and its picture; its ``level`` is what the head reads.
        encoder: Reads the questions.
        answers: In their normal form (``answers.py``), in the order of the logits.
        width: Of the fused vector.
        dropout: The probability of dropping a value before the last layer.
        loss: The training loss.
        spellings: How people write an answer, where that isn't its normal form.
    """

    def __init__(
        self,
        fusion: Product | StackedAttention,
        encoder: QuestionEncoder,
        answers: Sequence[str],
        *,
        width: int,
        dropout: float = 0.0,
        loss: LossName = "cross_entropy",
        spellings: Mapping[str, str] | None = None,
    ) -> None:
        """See the class."""
        super().__init__()
        self.levels = (fusion.level,)
        self.answers = tuple(answers)
        self.index = {answer: place for place, answer in enumerate(self.answers)}
        self.said = [(spellings or {}).get(answer, answer) for answer in self.answers]
        self.loss_name = loss
        self.shows_attention = False
        self.fusion = fusion
        self.encoder = encoder
        self.classifier = nn.Sequential(
            nn.Linear(width, width), nn.Tanh(), nn.Dropout(dropout), _last_layer(width, len(self.answers))
        )

    def forward(self, features: Mapping[str, Tensor], context: Context) -> dict[str, Tensor]:
        """Return what :data:`Output` says.

        Raises:
            UserError: If nothing is asked about an image.
        """
        asked = context.questions
        if asked is None or not all(asked):
            raise UserError("Nothing is asked about an image, and this head only answers questions. Ask at least one.")
        device = features[self.levels[0]].device
        counts = torch.tensor([len(texts) for texts in asked])
        image = torch.arange(len(asked)).repeat_interleave(counts).to(device)
        vectors = self.encoder([text for texts in asked for text in texts], device)
        fused = self.fusion(features, context, vectors, image)
        output = {"logits": self.classifier(fused.values).float(), "image": image}
        if fused.attention is not None and not self.training:
            output["attention"] = fused.attention
        return output

    def loss(self, output: Output, context: Context, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return ``answers``, the mean over the questions of which any answer can be given; 0 where there is none."""
        questions = [question for asked in targets["questions"] for question in asked]
        learn = self._distance_to_people if self.loss_name == "soft" else self._distance_to_most
        return {"answers": learn(output["logits"], questions)}

    def _distance_to_most(self, logits: Tensor, questions: Sequence[Question]) -> Tensor:
        best = [best_answer(question, self.index) for question in questions]
        if not any(each is not None for each in best):
            return (logits * 0).sum()
        ignored = -1
        wanted = torch.tensor([ignored if each is None else each for each in best], device=logits.device)
        return cross_entropy(logits, wanted, ignore_index=ignored)

    def _distance_to_people(self, logits: Tensor, questions: Sequence[Question]) -> Tensor:
        rows = [soft_targets(question, self.index) for question in questions]
        learned = [place for place, row in enumerate(rows) if row]
        if not learned:
            return (logits * 0).sum()
        wanted = torch.zeros(len(learned), len(self.answers))
        for place, known in enumerate(learned):
            wanted[place, list(rows[known])] = torch.tensor(list(rows[known].values()))
        chosen = logits[torch.tensor(learned, device=logits.device)]
        # summed over the answers: their mean would be a gradient K times smaller
        return binary_cross_entropy_with_logits(chosen, wanted.to(logits.device), reduction="sum") / len(learned)

    def predict(self, output: Output, context: Context) -> list[dict[str, Any]]:
        """Return for each image ``answers``: for each question the most probable one, and the five best.

        Learned with the soft loss, the probability is the accuracy that the head expects of an answer.

        With ``shows_attention`` each of them also has ``attention``, an array ``[h, w]`` of the map's cells, those of
        padding too; it is for drawing and no plain value.
        """
        assert context.questions is not None
        scores = probabilities(output["logits"], READOUTS[self.loss_name])
        found, top = scores.cpu().topk(min(_TOP, len(self.answers)), dim=1)
        entries = [
            [{"answer": self.said[place], "probability": round(share, 6)} for place, share in zip(*row, strict=True)]
            for row in zip(top.tolist(), found.tolist(), strict=True)
        ]
        rows: list[dict[str, Any]] = []
        taken = 0
        for texts in context.questions:
            own = entries[taken : taken + len(texts)]
            rows.append(
                {"answers": [{"question": text, **best[0], "top": best} for text, best in zip(texts, own, strict=True)]}
            )
            taken += len(texts)
        if self.shows_attention and "attention" in output:
            asked = [entry for row in rows for entry in row["answers"]]
            for entry, shares in zip(asked, output["attention"].cpu(), strict=True):
                entry["attention"] = shares.numpy()
        return rows


def _last_layer(width: int, answers: int) -> nn.Linear:
    """Return the layer that gives the logits, at first those of answers that are all rare.

    A softmax doesn't care, but the soft loss would spend its first epochs on unlearning thousands of even chances.
    """
    layer = nn.Linear(width, answers)
    nn.init.constant_(layer.bias, -math.log(answers))
    return layer
