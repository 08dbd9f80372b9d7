"""The captioning heads: cells of the trunk's maps, and a decoder that says what they show."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...backbones.errors import UserError
from ...datasets import Context
from ...datasets.texts import clean_text
from ..grid import Cells, Grid, cell_counts
from ..task import Head
from ..vocabulary import Vocabulary
from .attention import AttentionLstmDecoder
from .generation import Generation, generate
from .language_model import build_decoder, open_language_model, plain_config
from .options import GenerationOptions, HeadName, HeadOptions, check_length_penalty
from .recurrent import LstmDecoder, RecurrentConfig
from .seen import caption_hashes, is_among
from .transformer import build_transformer

Output = dict[str, Any]
"""``cells``: the ``Cells`` of the batch. In evaluation also ``texts``: what is said of each picture; ``tokens``: int64
tensors, the same as tokens; ``seen``: bool ``[B]``, whether it is word for word a training caption; ``sizes``: the
height and width of each level's map."""

_IGNORED = -100
#: Of words a caption says no three in a row twice: "a red shirt and a red shirt and" goes on to the longest caption.
_NO_REPEAT = 3
_RECURRENT = {"lstm": LstmDecoder, "lstm_attention": AttentionLstmDecoder}


class CaptionHead(Head):
    """Says what a picture shows.

    Args:
        name: ``lstm``, ``lstm_attention`` or ``transformer``.
        levels: What it reads.
        in_channels: Of each.
        vocabulary: Of the decoder.
        decoder: Its forward takes ``encoder_hidden_states`` and a mask of them, and it can generate.
        options: What it was built from.
        seen: The captions that it is trained on, or how many different ones there are.
        label_smoothing: The share of each token that is spread over all tokens.
    """

    seen: Tensor

    def __init__(
        self,
        name: HeadName,
        levels: Sequence[str],
        in_channels: Sequence[int],
        vocabulary: Vocabulary,
        decoder: nn.Module,
        options: HeadOptions,
        *,
        seen: Sequence[str] | int = 0,
        label_smoothing: float = 0.0,
    ) -> None:
        """See the class."""
        super().__init__()
        self.name = name
        self.levels = tuple(levels)
        self.vocabulary = vocabulary
        self.options = options
        self.label_smoothing = label_smoothing
        self.decoder = decoder
        self.grid = Grid(self.levels, in_channels, _width(decoder), dropout=options.dropout)
        repeats = _NO_REPEAT if vocabulary.kind == "words" else 0
        self.generation = Generation(max_tokens=options.max_tokens, no_repeat=repeats)
        self._shows_attention = False
        known = torch.zeros(seen, dtype=torch.int64) if isinstance(seen, int) else torch.unique(caption_hashes(seen))
        self.register_buffer("seen", known)

    @property
    def has_attention(self) -> bool:
        """Whether the decoder looks at some cells more than at others for each word."""
        return self.name != "lstm"

    @property
    def shows_attention(self) -> bool:
        """Whether predictions say where the decoder looked for each word."""
        return self._shows_attention

    @shows_attention.setter
    def shows_attention(self, wanted: bool) -> None:
        if wanted and not self.has_attention:
            raise UserError(
                "--head lstm sees the picture once, before the first word, so there is nothing to draw of where it "
                "looks. A model of --head lstm_attention or transformer looks anew for each word."
            )
        self._shows_attention = wanted

    def say_with(self, options: GenerationOptions) -> None:
        """Set how captions are said, as far as the options do.

        Raises:
            UserError: For a length penalty where there is one beam.
        """
        penalty = options.length_penalty
        self.generation = replace(
            self.generation,
            beams=options.beams or self.generation.beams,
            length_penalty=self.generation.length_penalty if penalty is None else penalty,
            no_repeat=self.generation.no_repeat if options.no_repeat is None else options.no_repeat,
        )
        check_length_penalty(options, self.generation.beams)

    def forward(self, features: Mapping[str, Tensor], context: Context) -> Output:
        """Return the cells; in evaluation also what is said of each picture."""
        cells = self.grid(features, context)
        if self.training:
            return {"cells": cells}
        tokens = generate(self.decoder, cells, self.vocabulary, self.generation)
        texts = [clean_text(text) for text in self.vocabulary.decode([each.tolist() for each in tokens])]
        return {
            "cells": cells,
            "texts": texts,
            "tokens": tokens,
            "seen": is_among(caption_hashes(texts).to(self.seen.device), self.seen),
            "sizes": cell_counts(features, self.levels),
        }

    def loss(self, output: Output, context: Context, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return ``words``, the cross-entropy a token over all captions of the pictures, and maybe ``attention``.

        Each token is learned from the true ones before it. Padding and unknown words aren't learned. ``attention``, of
        lstm_attention, asks that each cell is looked at once in all over a caption (Xu 2015, equation 14), as a mean
        over the cells and captions where the paper adds up, because ``words`` is a mean too.
        """
        captions: list[Sequence[str]] = targets["captions"]
        device = output["cells"].values.device
        counts = torch.tensor([len(each) for each in captions], device=device)
        owners = torch.arange(len(captions), device=device).repeat_interleave(counts)
        cells = Cells(*(each.index_select(0, owners) for each in output["cells"]))
        texts = [text for each in captions for text in each]
        found = self.vocabulary.encode(texts, max_tokens=self.options.max_tokens)
        tokens, lengths = found.ids.to(device), found.lengths.to(device)
        if not texts:  # of pictures that nobody described nothing is learned
            return dict.fromkeys(self._parts, cells.values.sum())
        needs_attention = "attention" in self._parts
        answers = self._read(tokens[:, :-1], lengths, cells, needs_attention=needs_attention)
        parts = {"words": self._word_loss(answers.logits, tokens[:, 1:], lengths)}
        if needs_attention:
            parts["attention"] = _attention_loss(answers.cross_attentions[0][:, 0], lengths, cells.is_picture)
        return parts

    @property
    def _parts(self) -> tuple[str, ...]:
        return ("words", "attention") if self.name == "lstm_attention" else ("words",)

    def _read(self, tokens: Tensor, lengths: Tensor, cells: Cells, *, needs_attention: bool) -> Any:
        """Return what the decoder gives for texts without their last token."""
        is_text = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        return self.decoder(
            input_ids=tokens,
            attention_mask=is_text.long(),
            encoder_hidden_states=cells.values,
            encoder_attention_mask=cells.is_picture,
            output_attentions=needs_attention,
            use_cache=False,
        )

    def _word_loss(self, logits: Tensor, wanted: Tensor, lengths: Tensor) -> Tensor:
        is_learned = torch.arange(wanted.shape[1], device=wanted.device) < lengths[:, None] - 1
        if self.vocabulary.unknown is not None:
            is_learned = is_learned & (wanted != self.vocabulary.unknown)
        return cross_entropy(
            logits.float().flatten(0, 1),
            wanted.masked_fill(~is_learned, _IGNORED).flatten(),
            ignore_index=_IGNORED,
            label_smoothing=self.label_smoothing,
        )

    def predict(self, output: Output, context: Context) -> list[dict[str, Any]]:
        """Return for each picture its ``caption``.

        With ``shows_attention`` also its ``words``, and ``attention``: for each of them how much the decoder looked at
        each cell of the first level, a float32 array ``[words, h, w]``.
        """
        rows: list[dict[str, Any]] = [{"caption": text} for text in output["texts"]]
        if not self.shows_attention:
            return rows
        return [{**row, **self._look(output, place)} for place, row in enumerate(rows)]

    @torch.no_grad()
    def _look(self, output: Output, place: int) -> dict[str, Any]:
        """Return the words of a picture's caption and the attention for each: the mean over tokens, layers, heads."""
        spoken = output["tokens"][place]
        cells = Cells(*(each[place : place + 1] for each in output["cells"]))
        device = cells.values.device
        tokens = torch.cat([spoken.new_tensor([self.vocabulary.start]), spoken[:-1]])[None].to(device)
        lengths = torch.tensor([tokens.shape[1]], device=device)
        layers = self._read(tokens, lengths, cells, needs_attention=True).cross_attentions
        weights = torch.stack([each.float().mean(dim=1)[0] for each in layers]).mean(dim=0)
        height, width = output["sizes"][0]
        words = self.vocabulary.words(spoken.tolist())
        maps = [weights[list(tokens_of), : height * width].mean(dim=0).reshape(height, width) for _, tokens_of in words]
        return {"words": [word for word, _ in words], "attention": torch.stack(maps).cpu().numpy()}

    def description(self) -> dict[str, Any]:
        """Return plain values from which :func:`rebuild_head` makes the same head, but for its tensors."""
        return {
            "name": self.name,
            "levels": list(self.levels),
            "options": asdict(self.options),
            "vocabulary": self.vocabulary.to_dict(),
            "decoder": plain_config(self.decoder.config),
            "seen_count": len(self.seen),
        }


def build_head(
    name: HeadName,
    levels: Sequence[str],
    in_channels: Sequence[int],
    vocabulary: Vocabulary | None,
    options: HeadOptions,
    *,
    seen: Sequence[str] = (),
    label_smoothing: float = 0.0,
) -> CaptionHead:
    """Return a head to be trained, its decoder random or a pretrained language model.

    Args:
        name: ``lstm``, ``lstm_attention`` or ``transformer``.
        levels: What it reads.
        in_channels: Of each.
        vocabulary: Learned from the training captions; a language model brings its own.
        options: Widths, dropout, language model.
        seen: The training captions.
        label_smoothing: The share of each token that is spread over all tokens.

    Raises:
        UserError: For a language model that can't be used.
    """
    decoder: nn.Module
    if options.language_model is not None:
        decoder, vocabulary = open_language_model(options.language_model, max_tokens=options.max_tokens)
    else:
        assert vocabulary is not None
        decoder = _new_decoder(name, vocabulary, options)
    return CaptionHead(
        name, levels, in_channels, vocabulary, decoder, options, seen=seen, label_smoothing=label_smoothing
    )


def rebuild_head(description: Mapping[str, Any], in_channels: Sequence[int]) -> CaptionHead:
    """Return the head that ``CaptionHead.description`` describes, with random weights; nothing is fetched."""
    name, config = description["name"], description["decoder"]
    decoder = _RECURRENT[name](RecurrentConfig(**config)) if name in _RECURRENT else build_decoder(config)
    return CaptionHead(
        name,
        description["levels"],
        in_channels,
        Vocabulary.from_dict(description["vocabulary"]),
        decoder,
        HeadOptions(**description["options"]),
        seen=description["seen_count"],
    )


def _new_decoder(name: HeadName, vocabulary: Vocabulary, options: HeadOptions) -> nn.Module:
    if name == "transformer":
        return build_transformer(options, vocabulary)
    config = RecurrentConfig(
        vocab_size=len(vocabulary), width=options.width, hidden=options.hidden, dropout=options.dropout
    )
    return _RECURRENT[name](config)


def _width(decoder: nn.Module) -> int:
    """Return the channels of the cells that a decoder reads."""
    config: Any = decoder.config
    return int(config.width if isinstance(config, RecurrentConfig) else config.hidden_size)


def _attention_loss(weights: Tensor, lengths: Tensor, is_picture: Tensor) -> Tensor:
    """Return the mean square of what each cell's attention, added up over a caption, lacks to 1.

    Args:
        weights: ``[N, L, S]``, for each token where the decoder looked.
        lengths: int64 ``[N]``: of the texts, with start and end.
        is_picture: bool ``[N, S]``.
    """
    is_token = torch.arange(weights.shape[1], device=weights.device) < lengths[:, None] - 1
    lacking = (1 - (weights * is_token[..., None]).sum(dim=1)).square() * is_picture
    return (lacking.sum(dim=1) / is_picture.sum(dim=1)).mean()
