"""Training a captioner, from the options to the card."""

from collections.abc import Sequence

import torch

from ...datasets.findings import count
from ..card import Card
from ..config import canvas_of
from ..data_check import check_data
from ..fit import fit, show_finished
from ..inputs import make_recipe
from ..run_folder import open_run
from ..trainer import describe_training
from ..training_data import make_fit_data
from ..trunk import build_trunk, deepest_level
from ..vocabulary import Vocabulary, learn_vocabulary
from .head import build_head
from .metrics import make_evaluator
from .opening import captions_of, open_for_training
from .options import HeadOptions, TrainOptions
from .task import build_task, channels_of


def run_training(options: TrainOptions) -> Card:
    """Fine-tune a trunk on images with captions; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    run = open_run("captioning", options)
    if options.resume and run.is_finished:
        return show_finished(run)
    torch.manual_seed(options.seed)
    levels = tuple(options.head_options.levels or [deepest_level(options)])
    backbone = build_trunk(options, levels)
    channels = channels_of(backbone, options.head, levels)
    splits = open_for_training(options, run.split)
    images = captions_of(splits["train"])
    texts = [text for captions in images for text in captions]
    vocabulary = _learn_words(texts, options.head_options)
    head = build_head(
        options.head,
        levels,
        channels,
        vocabulary,
        options.head_options,
        seen=texts,
        label_smoothing=options.loss.label_smoothing,
    )
    head.say_with(options)
    inputs = make_recipe(backbone.preprocessing, canvas_of(options.image_size), options.resize)
    identities = check_data(splits, options)
    evaluator = make_evaluator(images, select=options.select)
    task = build_task(backbone, head, evaluator, inputs=inputs, attention_weight=options.loss.attention)
    learned = count(len(texts), "training caption")
    print(describe_training(task, splits, options, head=f"{options.head} ({', '.join(levels)})", learned=learned))
    print(_describe_vocabulary(texts, head.vocabulary, options.head_options))
    data = make_fit_data(splits, identities, inputs, options, augment=options.augment)
    return fit(task, data, options, run)


def _learn_words(texts: Sequence[str], options: HeadOptions) -> Vocabulary | None:
    """Return the vocabulary of the training captions, or nothing where a language model brings its own."""
    if options.language_model is not None:
        return None
    return learn_vocabulary(texts, options.vocabulary, min_count=options.min_count, size=options.vocabulary_size)


def _describe_vocabulary(texts: Sequence[str], vocabulary: Vocabulary, options: HeadOptions) -> str:
    """Return a line on the tokens, and on what of the captions isn't learned: rare words, and ends of long captions."""
    tokens = vocabulary.encode(texts, max_tokens=options.max_tokens)
    notes = [f"{len(vocabulary):,} tokens ({vocabulary.kind.replace('_', ' ')})"]
    spoken = int(tokens.lengths.sum()) - 2 * len(texts)
    if vocabulary.unknown is not None and spoken:
        unknown = int((tokens.ids == vocabulary.unknown).sum())
        notes.append(f"{unknown / spoken:.1%} of the words are too rare to be learned")
    if cut := int(tokens.is_cut.sum()):
        notes.append(f"{count(cut, 'caption is', 'captions are')} cut to {options.max_tokens} tokens")
    return f"vocabulary {'; '.join(notes)}"
