"""Evaluating a trained model on questions with answers."""

from pathlib import Path

from ..card import Card
from ..commands import evaluate_split
from ..evaluation import Evaluation
from ..model_file import load_trained
from ..outputs import IMAGES, PREDICTIONS, RESULTS, output_folder
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
    assert isinstance(task.head, AnswerHead)
    assert isinstance(task.evaluator, VqaEvaluator)
    if options.wups:
        task.evaluator.wordnet = read_wordnet()
    images = open_for_model(options.model, options)
    encoder = task.head.encoder
    texts = [question.text for asked in questions_of(images) for question in asked]
    note_cut(texts, encoder.vocabulary, encoder.max_tokens)

    def write(folder: Path, evaluation: Evaluation) -> None:
        write_answers(folder, evaluation.predictions, images.records)

    return evaluate_split(task, images, options, where=where, backbone=backbone, write=write)
