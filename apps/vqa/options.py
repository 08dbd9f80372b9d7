"""The options of the visual question answering commands; what all apps share is in ``apps/config.py``."""

from dataclasses import dataclass, field
from typing import Literal

from ...backbones.errors import UserError
from ..config import (
    CheckedOptions,
    ModelEvaluationOptions,
    PredictionOptions,
    TrainingOptions,
    WholePictureOptions,
)
from ..option_checks import check_effect, check_range, refuse_balance

HeadName = Literal["product", "stacked_attention"]


@dataclass(kw_only=True)
class HeadOptions(CheckedOptions):
    """The question answering head."""

    level: str | None = None
    """What it reads of the trunk: a level such as c4, or for product also embedding; unset: the embedding for product,
    the deepest map for stacked_attention."""
    answers: int = 3000
    """The answers it can give: at most this many, the most frequent of the training questions (Antol 2015 took
    1000)."""
    question_encoder: Literal["lstm", "transformer"] = "lstm"
    """What reads the question: an LSTM over its words, or a transformer, small and untrained unless
    --head-options.language-model names one."""
    language_model: str | None = None
    """For transformer: a pretrained one, a folder or a name on the Hugging Face hub; it brings its own tokens."""
    train_language_model: bool = False
    """Whether the pretrained language model learns too, as fast as the head; it stays as it is otherwise."""
    width: int = 256
    """The length of the vectors in which picture and question meet; of the LSTM's state too. Antol 2015 took 1024 and
    512, for a quarter of a million questions."""
    embedding: int = 300
    """For lstm: the length of a word's vector."""
    layers: int = 2
    """Of the LSTM, or of the untrained transformer."""
    attention_heads: int = 4
    """Of each layer of the untrained transformer."""
    hops: int = 2
    """For stacked_attention: how often the question looks at the cells."""
    dropout: float = 0.3
    """The probability of dropping a value: of words, of what comes out of the fusion, and in the transformer."""
    min_count: int = 1
    """How often a word has to occur in the training questions to be known; all others are one unknown word."""
    vocabulary_size: int = 20_000
    """The number of words that are known, at most."""
    max_tokens: int = 30
    """The words or pieces of a question that are read; the rest of a longer one isn't."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        numbers = ("answers", "width", "embedding", "layers", "attention_heads", "hops", "min_count", "max_tokens")
        check_range(self, *numbers, least=1, group="head-options")
        check_range(self, "vocabulary_size", least=5, group="head-options")
        check_range(self, "dropout", most=1, group="head-options")
        if self.width % 4:
            raise UserError(f"--head-options.width takes a multiple of 4, not {self.width}.")
        if self.question_encoder == "transformer" and self.width % self.attention_heads:
            raise UserError(
                f"--head-options.width is divided among --head-options.attention-heads, and {self.width} isn't a "
                f"multiple of {self.attention_heads}."
            )


@dataclass(kw_only=True)
class LossOptions(CheckedOptions):
    """The training loss."""

    name: Literal["cross_entropy", "soft"] = "cross_entropy"
    """cross_entropy: of the answer that most people gave (Antol 2015). soft: a binary cross-entropy for each answer
    against the accuracy that it would get (Teney 2018), for questions that several people answered."""


@dataclass(kw_only=True)
class TrainOptions(TrainingOptions):
    """Fine-tune a trunk on images with questions and answers."""

    head: HeadName = "product"
    """product: the picture's vector times the question's (Antol 2015). stacked_attention: the question looks at the
    cells of a map (Yang 2016)."""
    resize: Literal["stretch", "pad"] = "stretch"
    """How evaluation brings a picture onto the canvas: stretch, or fit and pad. Both show all of it; a crop could cut
    off what is asked for."""
    select: str | None = None
    """The metric of the validation split that chooses the checkpoint; unset: vqa_accuracy."""
    head_options: HeadOptions = field(default_factory=HeadOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    augment: WholePictureOptions = field(default_factory=WholePictureOptions)

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        refuse_balance(self.sampling)
        asked = self.head_options
        attends, is_lstm = self.head == "stacked_attention", asked.question_encoder == "lstm"
        check_effect(self, "head_options.hops", has_effect=attends, needs="--head stacked_attention")
        lstm, transformer = (f"--head-options.question-encoder {name}" for name in ("lstm", "transformer"))
        check_effect(self, "head_options.embedding", has_effect=is_lstm, needs=lstm)
        names = ("head_options.attention_heads", "head_options.language_model")
        check_effect(self, *names, has_effect=not is_lstm, needs=transformer)
        is_given = asked.language_model is not None
        needs = "--head-options.language-model"
        check_effect(self, "head_options.train_language_model", has_effect=is_given, needs=needs)
        own = ("layers", "attention_heads", "min_count", "vocabulary_size")
        needs = "a head of its own words; --head-options.language-model brings its own"
        check_effect(self, *(f"head_options.{name}" for name in own), has_effect=not is_given, needs=needs)


@dataclass(kw_only=True)
class EvaluateOptions(ModelEvaluationOptions):
    """Evaluate a trained model."""

    wups: bool = False
    """Also how near wrong answers are in WordNet (WUPS, Malinowski & Fritz 2014), as for DAQUAR; WordNet has to be on
    this machine, and nltk (pip install 'onetrunk[wups]')."""


@dataclass(kw_only=True)
class PredictOptions(PredictionOptions):
    """Answer questions about images."""

    images: list[str] = field(default_factory=list)
    """Image files and folders of images."""
    question: list[str] = field(default_factory=list)
    """What is asked about every image, each question in quotes."""
    data: str | None = None
    """In place of both: a data set whose questions are answered, such as one without answers."""
    split: str = "all"
    """Of that: train, val, test, or all."""

    def __post_init__(self) -> None:
        """Refuse to answer nothing, and questions without words."""
        super().__post_init__()
        check_effect(self, "split", has_effect=self.data is not None, needs="--data")
        if self.data is not None and (self.images or self.question):
            raise UserError("--data brings images and questions of its own: leave out --images and --question.")
        if self.data is None and not (self.images and self.question):
            missing = " and ".join(f"--{name}" for name in ("images", "question") if not getattr(self, name))
            raise UserError(f"Missing: {missing}. Or answer the questions of a data set: --data DIR.")
        if not all(text.strip() for text in self.question):
            raise UserError('A question has no words. Ask something: --question "What is on the table?"')
