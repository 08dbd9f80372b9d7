"""Figures of answers to questions about pictures."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...datasets import BadSample, Batch, Question
from ..classification.readout import Readout, probabilities
from ..evaluated_images import EvaluatedImages, Rows, text_row
from ..evaluation import Evaluation, Evaluator, choose_metric
from ..intervals import Weights
from .answers import common_spellings, tally
from .consensus import consensus_accuracies
from .figures import Drawn, Survey, draw_ratios, survey
from .question_prior import QuestionPrior, learn_prior
from .wordnet import WordNet
from .wups import Wups

#: What a model is held against; the columns of ``accuracy`` behind its own.
BASELINES = ("question_only", "majority")
#: The metrics of nearness in meaning, by the threshold of each.
WUPS = {"wups": 0.9, "wups_0": 0.0}
_ACCURACY = "vqa_accuracy"
#: What the predictions hold of each question, where it is known.
_SHOWN = (
    "question",
    "answer",
    "probability",
    "accuracy",
    *WUPS,
    "answers",
    "question_only",
    "question_type",
    "answer_type",
    "question_id",
)


class VqaEvaluator(Evaluator):
    """Keeps each image's sums over its questions, and what was asked and answered.

    Questions without answers are kept and count for nothing. Rows: ``questions`` int64 ``[N]``, how many count;
    ``accuracy`` float64 ``[N, 3]``, the sums of the consensus accuracies of the model, of who reads the question alone
    and of who always says the same; ``truth_hash`` uint64 ``[N]``, of questions and answers. Where ``wordnet`` is set
    ``wups`` float64 ``[N, 2]``, the sums at both thresholds. Outside of training also ``asked``, text: JSON, a list of
    the questions (``describe``).

    Args:
        answers: The known ones in their normal form, in the order of the logits.
        prior: Of the training questions.
        spellings: How people write a known answer, where that isn't its normal form.
        readout: How logits become probabilities.
        primary: The metric that chooses the checkpoint, one of ``selectable``.
    """

    task = "vqa"
    truth = ("truth_hash",)
    # figures are made of rows; folds and other trainings know other answers, and are compared all the same
    may_differ = ("primary", "answers", "prior", "spellings", "readout")
    kind = "answers to questions about an image"
    wordnet: WordNet | None = None
    """Set by an evaluation that measures WUPS too."""

    def __init__(
        self,
        answers: Sequence[str],
        prior: QuestionPrior,
        *,
        spellings: Mapping[str, str] | None = None,
        readout: Readout = "softmax",
        primary: str | None = None,
    ) -> None:
        """See the class."""
        self.answers = tuple(answers)
        self.prior = prior
        self.spellings = dict(spellings or {})
        self.readout = readout
        self.primary = choose_metric(primary, self.selectable)
        self._known = frozenset(self.answers)
        self._said = [self.spellings.get(answer, answer) for answer in self.answers]
        self._wups: Wups | None = None

    @property
    def selectable(self) -> tuple[str, ...]:
        """The metrics that can choose a checkpoint."""
        return (_ACCURACY,)

    def description(self) -> dict[str, Any]:
        """Return what ``rebuild_evaluator`` takes; an app of answers has no classes."""
        return {
            "classes": [],
            "answers": list(self.answers),
            "prior": self.prior.to_dict(),
            "spellings": dict(self.spellings),
            "readout": self.readout,
            "primary": self.primary,
        }

    def collect(self, output: Mapping[str, Tensor], batch: Batch) -> Rows:
        """Return the rows of a batch.

        Args:
            output: ``logits`` ``[Q, K]`` of all questions of the batch, image by image.
            batch: Its target ``questions`` has those of each image.
        """
        asked: Sequence[Sequence[Question]] = batch.targets["questions"]  # type: ignore[assignment]
        found, best = probabilities(output["logits"], self.readout).max(dim=1)
        guesses = iter(zip(best.tolist(), found.tolist(), strict=True))
        judged = [[self._judge(question, *next(guesses)) for question in questions] for questions in asked]
        assert next(guesses, None) is None
        counted = [[row for row in rows if row["accuracy"] is not None] for rows in judged]
        columns = ("accuracy", *(f"{name}_accuracy" for name in BASELINES))
        rows: dict[str, NDArray[Any]] = {
            "questions": np.array([len(each) for each in counted], dtype=np.int64),
            "accuracy": _sums(counted, columns),
            "truth_hash": np.array([_hash(questions) for questions in asked], dtype=np.uint64),
        }
        if self.wordnet is not None:
            rows["wups"] = _sums(counted, tuple(WUPS))
        if not self.is_brief:
            rows["asked"] = text_row([json.dumps(each, ensure_ascii=False) for each in judged])
        return rows

    def _judge(self, question: Question, place: int, probability: float) -> dict[str, Any]:
        """Return a question with what was answered, and how right that and the guesses of the baselines are."""
        said, people = self._said[place], question.answers
        guesses = dict(zip(BASELINES, (self.prior.answer(question.text), self.prior.majority), strict=True))
        right = consensus_accuracies([said, *guesses.values()], people) if people else [None] * (1 + len(guesses))
        judged = {
            "question": question.text,
            "answer": said,
            "probability": round(probability, 6),
            "accuracy": right[0],
            "answers": people,
            "question_only": guesses["question_only"],
            "question_only_accuracy": right[1],
            "majority_accuracy": right[2],
            "out_of_reach": bool(people) and self._known.isdisjoint(tally(people)),
            "question_type": question.question_type,
            "answer_type": question.answer_type,
            "question_id": question.number,
        }
        if self.wordnet is not None:
            judged |= self._measure_wups(said, people, self.wordnet)
        return judged

    def _measure_wups(self, said: str, people: Sequence[str], wordnet: WordNet) -> dict[str, float | None]:
        if self._wups is None or self._wups.wordnet is not wordnet:
            self._wups = Wups(wordnet)
        scorer = self._wups
        return {name: scorer.mean_score(said, people, least) if people else None for name, least in WUPS.items()}

    def measure(self, rows: Rows, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return the figures, means over the questions of the drawn images that have answers.

        ``vqa_accuracy``: how right the model's answers are by what people answered (``consensus_accuracies``). Where
        WordNet was there: ``wups`` and ``wups_0``, how near in meaning, at the thresholds 0.9 and 0 (``Wups``).
        """
        with np.errstate(invalid="ignore"):
            return {name: (weights @ above) / (weights @ below) for name, (above, below) in _metric_sums(rows).items()}

    def evaluate(self, images: EvaluatedImages, skipped: Sequence[BadSample] = ()) -> Evaluation:
        """Return all figures of a split's images; one resampling of them serves every interval."""
        found = survey(images.rows["asked"])
        drawn = _draw(images.rows, found)
        return Evaluation(
            metrics={name: drawn.estimate(name) for name in _metric_sums(images.rows) if name in drawn.values},
            per_class=_type_rows(found, drawn),
            details=self._details(found, drawn),
            predictions=self._predictions(images, skipped),
            used=len(images),
            skipped=tuple(skipped),
            images=images,
            primary=self.primary,
        )

    def per_class(self, rows: Rows) -> list[dict[str, Any]]:
        """Return a row for each type of answer and of question, where they are told, with intervals over images."""
        found = survey(rows["asked"])
        return _type_rows(found, _draw(rows, found))

    def details(self, rows: Rows) -> dict[str, Any]:
        """Return what is right without looking at the picture, and which answers there are.

        ``baselines``: ``question_only`` says what was most often answered to the same question in training, or to one
        that begins alike; ``majority`` what was answered most often of all. ``gain`` is by how much the model is
        better. ``answers``: how many are known, the share of questions none of whose answers is, and how many different
        ones the model gave.
        """
        found = survey(rows["asked"])
        return self._details(found, _draw(rows, found))

    def _details(self, found: Survey, drawn: Drawn) -> dict[str, Any]:
        baselines = {
            name: {_ACCURACY: asdict(drawn.estimate(name)), "gain": {_ACCURACY: asdict(drawn.gain(_ACCURACY, name))}}
            for name in BASELINES
            if name in drawn.values
        }
        answers = {
            "known": len(self.answers),
            "out_of_reach": found.out_of_reach / found.answered if found.answered else None,
            "distinct_predicted": found.distinct,
        }
        notes = []
        if found.unanswered:
            total = found.answered + found.unanswered
            notes.append(f"{found.unanswered:,} of {total:,} questions have no answer and don't count")
        if BASELINES[0] in baselines and baselines[BASELINES[0]]["gain"][_ACCURACY]["low"] <= 0:
            notes.append(
                "The answers aren't measurably better than those of who reads the question and sees no picture."
            )
        return {"baselines": baselines, "answers": answers, **({"notes": notes} if notes else {})}

    def describe(self, rows: Rows, index: int) -> dict[str, Any]:
        """Return what was asked about an image: each question, the answer and how right it is, and what people said."""
        asked: list[dict[str, Any]] = json.loads(rows["asked"][index])
        return {"answers": [{name: row[name] for name in _SHOWN if row.get(name) not in ("", None)} for row in asked]}


def _sums(counted: Sequence[Sequence[Mapping[str, Any]]], columns: Sequence[str]) -> NDArray[np.float64]:
    """Return for each image the sums over its questions, ``[B, columns]``."""
    return np.array([[sum(row[name] for row in rows) for name in columns] for rows in counted], dtype=np.float64)


def _hash(questions: Sequence[Question]) -> int:
    text = json.dumps([[question.text, question.answers] for question in questions])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _metric_sums(rows: Rows) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return by metric what is added up over images, and what that is divided by."""
    columns = {_ACCURACY: rows["accuracy"][:, 0]}
    if "wups" in rows:
        columns |= dict(zip(WUPS, rows["wups"].T, strict=True))
    return {name: (column, rows["questions"]) for name, column in columns.items()}


def _draw(rows: Rows, found: Survey) -> Drawn:
    """Return all figures and those of resampled images: the metrics, the baselines, and each type by its name."""
    of_guesses = dict(zip(BASELINES, rows["accuracy"][:, 1:].T, strict=True))
    return draw_ratios(
        _metric_sums(rows)
        | {name: (column, rows["questions"]) for name, column in of_guesses.items()}
        | {each.name: (each.accuracy, each.questions) for each in found.types}
    )


def _type_rows(found: Survey, drawn: Drawn) -> list[dict[str, Any]]:
    return [
        {"class": each.name, "questions": int(each.questions.sum()), _ACCURACY: asdict(drawn.estimate(each.name))}
        for each in found.types
    ]


def make_evaluator(
    images: Sequence[Sequence[Question]],
    answers: Sequence[str],
    *,
    select: str | None = None,
    readout: Readout = "softmax",
) -> VqaEvaluator:
    """Return the evaluator.

    Args:
        images: The training questions of each image.
        answers: The known ones in their normal form, in the order of the logits.
        select: The metric that chooses the checkpoint; nothing for the first there is.
        readout: How logits become probabilities.

    Raises:
        DataError: If no training question has an answer.
        UserError: If it has no metric of that name.
    """
    written = common_spellings(images)
    spellings = {answer: written[answer] for answer in answers if written.get(answer, answer) != answer}
    return VqaEvaluator(answers, learn_prior(images), spellings=spellings, readout=readout, primary=select)


def rebuild_evaluator(description: dict[str, Any]) -> VqaEvaluator:
    """Return the evaluator that a run kept with its images and its model."""
    return VqaEvaluator(
        description["answers"],
        QuestionPrior.from_dict(description["prior"]),
        spellings=description["spellings"],
        readout=description["readout"],
        primary=description["primary"],
    )
