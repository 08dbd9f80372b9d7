"""Training a head that answers questions, from the options to the card."""

from collections.abc import Sequence

from ...backbones import Backbone
from ...datasets import AnnotatedImages, Question
from ...datasets.findings import count
from .. import app_training
from ..app_training import AppTraining, Splits, TrunkNeeds
from ..card import Card
from ..inputs import InputRecipe
from ..language_models import plain_config
from ..task import Task
from ..vocabulary import learn_vocabulary
from .answers import frequent_answers
from .head import READOUTS, AnswerHead
from .metrics import make_evaluator
from .opening import note_cut, note_unlearned, questions_of, require_answers
from .options import HeadOptions, TrainOptions
from .question_encoder import read_language_model, small_config
from .task import QuestionReader, build_task, settle_level


class AnswerTraining(AppTraining[TrainOptions]):
    """The pieces of a training that teaches answers."""

    app = "vqa"
    kind = "questions"

    def needs(self, options: TrainOptions) -> TrunkNeeds:
        """Return the one level that the head reads."""
        level = settle_level(options).level
        assert level is not None
        return TrunkNeeds((level,))

    def require(self, images: AnnotatedImages, options: TrainOptions) -> AnnotatedImages:
        """Return the split after a check that every image has questions, some of them with answers."""
        return require_answers(images)

    def build(self, backbone: Backbone, splits: Splits, inputs: InputRecipe, options: TrainOptions) -> Task:
        """Return the task, which gives the answers that are frequent in the training split."""
        head_options = settle_level(options)
        images = questions_of(splits["train"])
        answers = frequent_answers(images, head_options.answers)
        return build_task(
            backbone,
            make_evaluator(images, answers, select=options.select, readout=READOUTS[options.loss.name]),
            inputs=inputs,
            head=options.head,
            head_options=head_options,
            reader=_read_questions(images, head_options),
            loss=options.loss.name,
        )

    def describe(self, task: Task, splits: Splits, options: TrainOptions) -> tuple[str, str | None]:
        """Return the head's name, level and encoder, and how many questions and answers there are."""
        (level,) = task.head.levels
        questions = sum(map(len, questions_of(splits["train"])))
        learned = f"{count(questions, 'training question')}, {count(len(_head(task).answers), 'answer')}"
        return f"{options.head} ({level}, {options.head_options.question_encoder})", learned

    def note(self, task: Task, splits: Splits, options: TrainOptions) -> None:
        """Print how many questions aren't learned, and how many aren't read to their end."""
        head = _head(task)
        note_unlearned(questions_of(splits["train"]), head.answers)
        texts = [question.text for each in splits.values() for asked in questions_of(each) for question in asked]
        note_cut(texts, head.encoder.vocabulary, head.encoder.max_tokens)


TRAINING = AnswerTraining()


def run_training(options: TrainOptions) -> Card:
    """Fine-tune a trunk on images with questions; return the card of the best checkpoint on the validation split.

    Raises:
        UserError: For options, weights or data that can't be used; nothing was written over.
    """
    return app_training.run_training(TRAINING, options)


def _head(task: Task) -> AnswerHead:
    assert isinstance(task.head, AnswerHead)
    return task.head


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
