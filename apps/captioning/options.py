"""The options of the captioning commands; what all apps share is in ``apps/config.py``."""

from dataclasses import dataclass, field
from typing import Any, Literal

from ...backbones.errors import UserError
from ..config import (
    CheckedOptions,
    ModelEvaluationOptions,
    PredictionOptions,
    TrainingOptions,
    WholePictureOptions,
)
from ..option_checks import check_effect, check_range, refuse_balance
from ..vocabulary_names import VocabularyName

HeadName = Literal["lstm", "lstm_attention", "transformer"]

#: What a pretrained language model brings along itself.
_OF_OWN_DECODERS = ("width", "dropout", "vocabulary", "min_count", "vocabulary_size")
_PLACES_AT_ONCE = 2


@dataclass(kw_only=True)
class HeadOptions(CheckedOptions):
    """The captioning head."""

    levels: list[str] | None = None
    """What it reads: one or two maps such as c4 c5, or for lstm also embedding; unset: the trunk's deepest map."""
    width: int = 256
    """The channels of a cell, of a token and inside the decoder: a multiple of 4, and of the attention heads."""
    layers: int = 2
    """For transformer: the number of its layers."""
    attention_heads: int = 4
    """For transformer: the attention heads of each layer."""
    hidden: int = 512
    """For lstm and lstm_attention: the width of the LSTM's state."""
    dropout: float = 0.3
    """The probability of dropping a value between layers."""
    vocabulary: VocabularyName = "words"
    """words: those of the training captions. pieces: byte-level pieces of words, of which any text has some."""
    min_count: int = 3
    """For words: how often one has to occur in the training captions; rarer ones are never said."""
    vocabulary_size: int = 8000
    """How many tokens there are at most."""
    max_tokens: int = 40
    """The longest caption, in tokens; longer ones are cut, in training and when they are said."""
    language_model: str | None = None
    """For transformer: a pretrained language model with its own tokens, shaped like GPT-2, in place of a small decoder
    of random weights: a folder with config.json, model.safetensors and its tokenizer, or a name on the Hugging Face
    hub, such as distilgpt2."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(
            self,
            *("width", "layers", "attention_heads", "hidden", "min_count", "max_tokens"),
            least=1,
            group="head-options",
        )
        check_range(self, "vocabulary_size", least=300 if self.vocabulary == "pieces" else 5, group="head-options")
        check_range(self, "dropout", most=1, group="head-options")
        if self.dropout == 1:
            raise UserError("--head-options.dropout takes a number below 1: nothing would be left.")
        if self.levels is not None and not (1 <= len(set(self.levels)) == len(self.levels) <= _PLACES_AT_ONCE):
            raise UserError(
                f"--head-options.levels takes one level or two different ones, such as c4 c5, not {self.levels}."
            )
        if self.width % 4:
            raise UserError(
                f"--head-options.width takes a multiple of 4, not {self.width}: half of a place is told by the row, "
                "half by the column, each in sines and cosines."
            )


@dataclass(kw_only=True)
class LossOptions(CheckedOptions):
    """The training loss."""

    label_smoothing: float = 0.1
    """The share of each token that is spread over all tokens (Szegedy 2016)."""
    attention: float = 1.0
    """For lstm_attention: the weight of what makes it look at all of the picture over a caption (Xu 2015, equation
    14)."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "label_smoothing", most=1, group="loss")
        check_range(self, "attention", group="loss")


@dataclass(kw_only=True)
class GenerationOptions(CheckedOptions):
    """How captions are said."""

    beams: int | None = None
    """How many beginnings of a caption are kept at each token; 1: always the most probable one. Unset: as the model was
    trained, by default 3."""
    length_penalty: float | None = None
    """The power of the number of tokens by which a caption's log probability is divided; above 1: longer captions,
    below: shorter. For several beams. Unset: as the model was trained, by default 1."""

    no_repeat: int | None = None
    """No run of so many tokens is said twice in a caption, against going round in circles; 0: any may be. Unset: as the
    model was trained, by default 3 for words, and 0 for pieces of them, of which one long word may have as many."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "beams", least=1)
        check_range(self, "no_repeat")
        if self.length_penalty is not None and not -10 <= self.length_penalty <= 10:
            raise UserError(f"--length-penalty takes -10 to 10, not {self.length_penalty:g}.")
        check_length_penalty(self, self.beams)


def check_length_penalty(options: GenerationOptions, beams: int | None) -> None:
    """Refuse a length penalty that changes nothing.

    Args:
        options: What was asked for.
        beams: How many there are; nothing where only the model knows.

    Raises:
        UserError: If there is one beam, whose captions aren't compared with others.
    """
    if beams == 1 and options.length_penalty is not None:
        raise UserError(
            "--length-penalty has no effect with one beam, of which there is nothing to choose from. Leave it out, or "
            "keep several: --beams 3."
        )


def check_head(options: Any, head: HeadName) -> None:
    """Refuse options of the head and its loss that were set and change nothing, and widths that don't go together.

    Args:
        options: Those of training, with the groups ``head_options`` and ``loss``.
        head: Its name.

    Raises:
        UserError: Naming the first.
    """
    own = options.head_options
    is_transformer, is_pretrained = head == "transformer", own.language_model is not None
    check_effect(options, "head_options.language_model", has_effect=is_transformer, needs="--head transformer")
    for name in ("head_options.layers", "head_options.attention_heads"):
        check_effect(options, name, has_effect=is_transformer, needs="--head transformer")
    check_effect(options, "head_options.hidden", has_effect=not is_transformer, needs="--head lstm or lstm_attention")
    check_effect(options, "loss.attention", has_effect=head == "lstm_attention", needs="--head lstm_attention")
    if is_pretrained:
        _refuse_beside_language_model(options)
    learns_words = own.vocabulary == "words"
    check_effect(options, "head_options.min_count", has_effect=learns_words, needs="--head-options.vocabulary words")
    if is_transformer and not is_pretrained and own.width % own.attention_heads:
        raise UserError(
            f"--head-options.width {own.width} is no multiple of --head-options.attention-heads "
            f"{own.attention_heads}: each attention head takes an equal share of it."
        )
    if own.levels is not None and "embedding" in own.levels and (head != "lstm" or len(own.levels) > 1):
        raise UserError(
            f"--head {head} with --head-options.levels {' '.join(own.levels)}: only lstm reads the embedding, which is "
            "a vector without places, and reads it alone. Take maps, such as c5, or --head lstm with embedding."
        )


def _refuse_beside_language_model(options: Any) -> None:
    for name in (*_OF_OWN_DECODERS, "layers", "attention_heads"):
        needs = "a decoder of its own; --head-options.language-model brings that along"
        check_effect(options, f"head_options.{name}", has_effect=False, needs=needs)


@dataclass(kw_only=True)
class TrainOptions(GenerationOptions, TrainingOptions):
    """Fine-tune a trunk on images with captions."""

    head: HeadName = "transformer"
    """transformer: looks at all cells from each of its layers. lstm_attention: looks at the cells anew for each word
    (Show, Attend and Tell, Xu 2015). lstm: sees the picture once (Show and Tell, Vinyals 2015)."""
    resize: Literal["stretch", "pad"] = "stretch"
    """How a picture comes onto the canvas: stretch, or fit and pad. Both show all of it; a crop could cut off what is
    spoken of."""
    select: str | None = None
    """The metric of the validation split that chooses the checkpoint; unset: cider."""
    head_options: HeadOptions = field(default_factory=HeadOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    augment: WholePictureOptions = field(default_factory=WholePictureOptions)

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        refuse_balance(self.sampling)
        check_head(self, self.head)


@dataclass(kw_only=True)
class EvaluateOptions(GenerationOptions, ModelEvaluationOptions):
    """Evaluate a trained model."""

    tokenizer: Literal["own", "ptb"] = "own"
    """What cuts text into words for the figures: own, or ptb, the Java program of COCO's evaluation, if it is there."""
    also: list[Literal["meteor", "spice"]] | None = None
    """More figures, of Java programs: meteor, spice."""


@dataclass(kw_only=True)
class PredictOptions(GenerationOptions, PredictionOptions):
    """Say what images show, and draw where the model looked."""
