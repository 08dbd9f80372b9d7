"""Evaluating a trained model on questions with answers."""

from pathlib import Path

from ..card import Card
from ..commands import OpenedSplit, evaluate_split
from ..config import EvaluationOptions
from ..evaluation import Evaluation
from ..model_file import load_trained
from ..opening import Trained
from ..outputs import IMAGES, PREDICTIONS, RESULTS, output_folder
from ..task import Task
from .answer_file import ANSWERS, write_answers
from .head import AnswerHead
from .metrics import VqaEvaluator
from .opening import note_cut, open_for_model, questions_of
from .options import EvaluateOptions
from .wordnet import read_wordnet


def run_evaluation(options: EvaluateOptions) -> Card:
    """Evaluate a model on a split; return its card.

    Raises:
        UserError: For a model or data that can't be used, or WordNet where it is needed and isn't there.
    """
    where = output_folder(options.output, RESULTS, IMAGES, *PREDICTIONS, ANSWERS, overwrite=options.overwrite)
    assert options.model is not None
    task, backbone = load_trained(options.model, task="vqa")
    assert isinstance(task.evaluator, VqaEvaluator)
    if options.wups:
        task.evaluator.wordnet = read_wordnet()
    opened = open_evaluation(task, Trained.read(options.model), options)
    return evaluate_split(task, opened, options, where=where, backbone=backbone)


def open_evaluation(task: Task, trained: Trained, options: EvaluationOptions) -> OpenedSplit:
    """Open the split to evaluate a model on; print a line on questions that are cut.

    Args:
        task: What is evaluated.
        trained: The data that it was trained on.
        options: The data set and the split.

    Raises:
        DataError: For data that can't be used.
    """
    assert isinstance(task.head, AnswerHead)
    images = open_for_model(trained, options)
    encoder = task.head.encoder
    texts = [question.text for asked in questions_of(images) for question in asked]
    note_cut(texts, encoder.vocabulary, encoder.max_tokens)

    def write(folder: Path, evaluation: Evaluation) -> None:
        write_answers(folder, evaluation.predictions, images.records)

    return OpenedSplit(images, write=write)
