"""Training a head that answers questions, from the options to the card."""

from collections.abc import Sequence

import torch

from ...datasets import Question
from ...datasets.findings import count
from ..card import Card
from ..config import canvas_of
from ..data_check import check_data
from ..fit import fit, show_finished
from ..inputs import make_recipe
from ..language_models import plain_config
from ..run_folder import open_run
from ..trainer import describe_training
from ..training_data import make_fit_data
from ..trunk import build_trunk
from ..vocabulary import learn_vocabulary
from .answers import frequent_answers
from .head import READOUTS
from .metrics import make_evaluator
from .opening import note_cut, note_unlearned, open_for_training, questions_of
from .options import HeadOptions, TrainOptions
from .question_encoder import read_language_model, small_config
from .task import QuestionReader, build_task, settle_level


def run_training(options: TrainOptions) -> Card:
    """Fine-tune a trunk on images with questions; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    run = open_run("vqa", options)
    if options.resume and run.is_finished:
        return show_finished(run)
    torch.manual_seed(options.seed)
    head_options = settle_level(options)
    assert head_options.level is not None
    backbone = build_trunk(options, (head_options.level,))
    splits = open_for_training(options, run.split)
    inputs = make_recipe(backbone.preprocessing, canvas_of(options.image_size), options.resize)
    identities = check_data(splits, options)
    images = questions_of(splits["train"])
    answers = frequent_answers(images, head_options.answers)
    reader = _read_questions(images, head_options)
    task = build_task(
        backbone,
        make_evaluator(images, answers, select=options.select, readout=READOUTS[options.loss.name]),
        inputs=inputs,
        head=options.head,
        head_options=head_options,
        reader=reader,
        loss=options.loss.name,
    )
    learned = f"{count(sum(map(len, images)), 'training question')}, {count(len(answers), 'answer')}"
    head = f"{options.head} ({head_options.level}, {options.head_options.question_encoder})"
    print(describe_training(task, splits, options, head=head, learned=learned))
    note_unlearned(images, answers)
    texts = [question.text for each in splits.values() for asked in questions_of(each) for question in asked]
    note_cut(texts, reader.vocabulary, head_options.max_tokens)
    data = make_fit_data(splits, identities, inputs, options, augment=options.augment)
    return fit(task, data, options, run)


def _read_questions(images: Sequence[Sequence[Question]], options: HeadOptions) -> QuestionReader:
    """Return what the encoder of the questions is made of: words of the training questions, or a language model.

    Raises:
        UserError: If there is no such language model, or no word occurs often enough.
    """
    if options.language_model is not None:
        vocabulary, network = read_language_model(options)
        return QuestionReader(vocabulary, plain_config(network.config), network)
    texts = [question.text for asked in images for question in asked]
    vocabulary = learn_vocabulary(texts, "words", min_count=options.min_count, size=options.vocabulary_size)
    config = small_config(vocabulary, options) if options.question_encoder == "transformer" else None
    return QuestionReader(vocabulary, config)
