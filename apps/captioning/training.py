"""Training a captioner, from the options to the card."""

from collections.abc import Sequence

from ...backbones import Backbone
from ...datasets import AnnotatedImages
from ...datasets.findings import count
from .. import app_training
from ..app_training import AppTraining, Splits, TrunkNeeds
from ..card import Card
from ..inputs import InputRecipe
from ..task import Task
from ..trunk import deepest_level
from ..vocabulary import Vocabulary, learn_vocabulary
from .head import CaptionHead, build_head
from .metrics import make_evaluator
from .opening import captions_of, require_captions
from .options import HeadOptions, TrainOptions
from .task import build_task, channels_of


class CaptionTraining(AppTraining[TrainOptions]):
    """The pieces of a captioner's training."""

    app = "captioning"
    kind = "captions"

    def needs(self, options: TrainOptions) -> TrunkNeeds:
        """Return the levels that were asked for, or the trunk's deepest map."""
        return TrunkNeeds(tuple(options.head_options.levels or [deepest_level(options)]))

    def require(self, images: AnnotatedImages, options: TrainOptions) -> AnnotatedImages:
        """Return the split after a check that every image has a caption."""
        return require_captions(images)

    def build(self, backbone: Backbone, splits: Splits, inputs: InputRecipe, options: TrainOptions) -> Task:
        """Return the task, whose vocabulary are words of the training captions or those of a language model."""
        levels = self.needs(options).levels
        channels = channels_of(backbone, options.head, levels)
        images = captions_of(splits["train"])
        texts = _texts(splits["train"])
        head = build_head(
            options.head,
            levels,
            channels,
            _learn_words(texts, options.head_options),
            options.head_options,
            seen=texts,
            label_smoothing=options.loss.label_smoothing,
        )
        head.say_with(options)
        evaluator = make_evaluator(images, select=options.select)
        return build_task(backbone, head, evaluator, inputs=inputs, attention_weight=options.loss.attention)

    def describe(self, task: Task, splits: Splits, options: TrainOptions) -> tuple[str, str | None]:
        """Return the head's name and levels, and how many captions there are."""
        learned = count(len(_texts(splits["train"])), "training caption")
        return f"{options.head} ({', '.join(task.head.levels)})", learned

    def note(self, task: Task, splits: Splits, options: TrainOptions) -> None:
        """Print a line on the vocabulary, and on what of the captions isn't learned."""
        assert isinstance(task.head, CaptionHead)
        print(_describe_vocabulary(_texts(splits["train"]), task.head.vocabulary, options.head_options))


TRAINING = CaptionTraining()


def run_training(options: TrainOptions) -> Card:
    """Fine-tune a trunk on images with captions; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    return app_training.run_training(TRAINING, options)


def _texts(images: AnnotatedImages) -> list[str]:
    """Return all captions of a split."""
    return [text for captions in captions_of(images) for text in captions]


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
